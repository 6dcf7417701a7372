package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/metric/fid"
	"github.com/cmi-diffusion/cmi/sdk/metric/lpips"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

type metricsFlags struct {
	lpips, network, inception, device string
	second, reference, save           string
	common, json, csv                 bool
	seed                              uint64
}

func metricsCommand() *cobra.Command {
	var f metricsFlags
	c := &cobra.Command{
		Use:   "metrics RESTORED TRUTH",
		Short: "Compare two folders of pictures: PSNR, SSIM, LPIPS, FID",
		Long: `metrics pairs the pictures of two folders by name (without the extension) and prints PSNR (dB), SSIM
and a perceptual distance of each pair, their means, and the Fréchet distance between the folders.

LPIPS v0.1 needs torchvision's weights (--lpips FILE --lpips-net NET), FID the Inception network
pt_inception-2015-12-05-….pth (--inception FILE). Without them both are computed on the SqueezeNet
that is built in and are called lpips-like and FID-like: good for comparing methods with each other,
not with published numbers. Fréchet distances of few pictures are large and rough in any case.

With --second, a folder of other samples for the same measurements, it also prints the
exchangeability ratio: the distance between samples over their distance to the truth, with its 95 %
bootstrap interval. It is 1 for a sampler of the exact posterior, below 1 for an over-confident one
and above 1 for one that is too diffuse.`,
		Example: `  cmi-native metrics restored truth
  cmi-native metrics restored truth --lpips alexnet.pth --lpips-net alex --csv > pairs.csv
  cmi-native metrics restored truth --inception pt_inception.pth --save-statistics restored.npz
  cmi-native metrics restored truth --inception pt_inception.pth --statistics ffhq.npz
  cmi-native metrics seed1 truth --second seed2`,
		Args: arguments(2, 2),
		RunE: func(c *cobra.Command, args []string) error { return metrics(c, args[0], args[1], &f) },
	}
	fl := c.Flags()
	f.addLPIPS(c)
	fl.StringVar(&f.inception, "inception", "", "weights `FILE` of the FID's Inception v3")
	fl.StringVar(&f.reference, "statistics", "", "npz `FILE` with mu and sigma: the FID is against it instead of TRUTH")
	fl.StringVar(&f.save, "save-statistics", "", "npz `FILE` for the mean and covariance of RESTORED's features")
	fl.StringVar(&f.second, "second", "", "`DIR` of second samples for the same measurements, for the exchangeability ratio")
	fl.Uint64Var(&f.seed, "seed", 0, "seed of the bootstrap")
	fl.BoolVar(&f.common, "common", false, "leave out pictures that are not in every folder")
	fl.BoolVar(&f.json, "json", false, "print one JSON object")
	fl.BoolVar(&f.csv, "csv", false, "print the pairs as CSV")
	fl.StringVar(&f.device, "device", "cpu", "where to compute: "+strings.Join(keys(devices), ", "))
	return c
}

// addLPIPS adds the flags of commands that take a perceptual distance.
func (f *metricsFlags) addLPIPS(c *cobra.Command) {
	c.Flags().StringVar(&f.lpips, "lpips", "", "torchvision weights `FILE` of the network that LPIPS runs on; without, an LPIPS-like distance")
	c.Flags().StringVar(&f.network, "lpips-net", "alex", "network of --lpips: "+strings.Join(lpips.Names(), ", "))
}

// checkLPIPS refuses a network without weights.
func (f *metricsFlags) checkLPIPS(c *cobra.Command) error {
	if f.lpips == "" && c.Flags().Changed("lpips-net") {
		return fmt.Errorf("--lpips-net %s needs --lpips FILE with its torchvision weights", f.network)
	}
	return nil
}

func metrics(c *cobra.Command, restored, truth string, f *metricsFlags) (err error) {
	if err := f.checkLPIPS(c); err != nil {
		return err
	}
	if f.json && f.csv {
		return errors.New("--json and --csv: give one of them")
	}
	dirs := []string{restored, truth}
	if f.second != "" {
		dirs = append(dirs, f.second)
	}
	folders, names, err := pairUp(dirs, f.common)
	if err != nil {
		return err
	}
	if f.save != "" && len(names) < 2 {
		return fmt.Errorf("--save-statistics: statistics of %d picture, at least 2 are wanted", len(names))
	}
	if f.save != "" {
		if err := writable(filepath.Dir(f.save)); err != nil {
			return fmt.Errorf("--save-statistics %s: %w", f.save, err)
		}
		if info, err := os.Stat(f.save); err == nil && info.IsDir() {
			return fmt.Errorf("--save-statistics %s is a folder, a file is wanted", f.save)
		}
	}
	var reference *fid.Statistics
	if f.reference != "" {
		if reference, err = fid.OpenStatistics(f.reference); err != nil {
			return fmt.Errorf("--statistics: %w", err)
		}
	}
	dev, err := openDevice(c.Context(), f.device)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, failed(dev.Close())) }()
	cmp, closeNetworks, err := f.load(dev)
	if err != nil {
		return err
	}
	defer closeNetworks()
	cmp.reference = reference

	plan, memory, err := cmp.work(c.Context(), folders, names)
	if err != nil {
		return err
	}
	limit := debug.SetMemoryLimit(-1) // garbage must not take more than was found to be free
	debug.SetMemoryLimit(min(limit, memory+1<<29))
	defer debug.SetMemoryLimit(limit)
	all := 0
	for _, w := range plan {
		all += w.passes(len(dirs))
	}
	bar := newProgress(c.ErrOrStderr(), all)
	for i, name := range names {
		if err := cmp.compare(c.Context(), folders, name, plan[i], bar.run("metrics")); err != nil {
			return err
		}
	}
	bar.finish()
	report, own, err := cmp.finish(f.seed)
	if err != nil {
		return failed(err)
	}
	if f.save != "" {
		if err := own.Save(f.save); err != nil {
			return failed(err)
		}
	}
	write := report.table
	if f.json {
		write = report.json
	} else if f.csv {
		write = report.csv
	}
	return failed(write(c.OutOrStdout()))
}

// load prepares the networks that the flags name, or the one that is built in.
func (f *metricsFlags) load(dev compute.Device) (cmp *comparer, close func(), err error) {
	cmp = &comparer{}
	if f.lpips == "" {
		cmp.perceptual, err = lpips.Like(dev)
	} else {
		cmp.perceptual, err = withCheckpoint(f.lpips, func(file *checkpoint.File) (*lpips.Metric, error) {
			return lpips.Load(dev, f.network, file)
		})
	}
	if err != nil {
		return nil, nil, err
	}
	cmp.features, cmp.frechet = cmp.perceptual, "FID-like ("+cmp.perceptual.Backbone()+")"
	if f.inception == "" {
		return cmp, cmp.perceptual.Close, nil
	}
	net, err := withCheckpoint(f.inception, func(file *checkpoint.File) (*fid.Inception, error) {
		return fid.LoadInception(dev, file)
	})
	if err != nil {
		cmp.perceptual.Close()
		return nil, nil, err
	}
	cmp.features, cmp.frechet = net, "FID"
	return cmp, func() { cmp.perceptual.Close(); net.Close() }, nil
}

// loadOnCPU loads the metrics on the processor, which can't be lost: on a device of it that is there, or on one
// that close releases, too.
func (f *metricsFlags) loadOnCPU(ctx context.Context, there compute.Device) (cmp *comparer, close func() error, err error) {
	dev, release := there, func() error { return nil }
	if dev == nil || dev.Info().Name != "cpu" {
		if dev, err = openDevice(ctx, "cpu"); err != nil {
			return nil, nil, err
		}
		release = dev.Close
	}
	cmp, unload, err := f.load(dev)
	if err != nil {
		return nil, nil, errors.Join(err, release())
	}
	return cmp, func() error { unload(); return release() }, nil
}

// withCheckpoint loads a network from a file.
func withCheckpoint[T any](path string, load func(*checkpoint.File) (T, error)) (network T, err error) {
	file, err := checkpoint.Open(path)
	if err != nil {
		return network, err
	}
	defer file.Close()
	return load(file)
}

// pictureTypes are the extensions of the files that are compared.
var pictureTypes = []string{".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp"}

// pairUp lists the pictures of folders, as paths by name without extension, and the
// names in alphabetic order, which must be the same in all unless common is set.
func pairUp(dirs []string, common bool) (folders []map[string]string, names []string, err error) {
	count := map[string]int{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, nil, err
		}
		folder := map[string]string{}
		for _, e := range entries {
			ext := filepath.Ext(e.Name())
			if e.IsDir() || !slices.Contains(pictureTypes, strings.ToLower(ext)) || strings.HasPrefix(e.Name(), ".") {
				continue
			}
			name := strings.TrimSuffix(e.Name(), ext)
			if other, ok := folder[name]; ok {
				return nil, nil, fmt.Errorf("%s and %s have the same name: keep one", other, filepath.Join(dir, e.Name()))
			}
			folder[name] = filepath.Join(dir, e.Name())
		}
		results := maps.Clone(folder)
		maps.DeleteFunc(results, func(name, _ string) bool { return besideResults(folder, name) })
		for name := range results {
			count[name]++
		}
		folder = results
		if len(folder) == 0 {
			return nil, nil, fmt.Errorf("%s: no pictures (%s)", dir, strings.Join(pictureTypes, ", "))
		}
		folders = append(folders, folder)
	}
	var alone []string
	for _, name := range keys(count) {
		if count[name] == len(dirs) {
			names = append(names, name)
			continue
		}
		for _, folder := range folders {
			if path, ok := folder[name]; ok {
				alone = append(alone, path)
				break
			}
		}
	}
	switch {
	case len(names) == 0:
		return nil, nil, fmt.Errorf("no picture of %s has a partner of the same name in %s", dirs[0], strings.Join(dirs[1:], " and "))
	case len(alone) > 0 && !common:
		more := ""
		if len(alone) > 5 {
			more = ", …"
		}
		return nil, nil, fmt.Errorf("without a partner of the same name (%d): %s%s; remove them or leave them out with --common",
			len(alone), strings.Join(alone[:min(5, len(alone))], ", "), more)
	}
	return folders, names, nil
}

// beside are the names of pictures that restore writes beside a result.
var beside = regexp.MustCompile(`^(.*)\.(measurement|mask|truth|mean|std|width90|sample\d+)$`)

// besideResults says whether a picture in a folder of restore's results is none of them: a
// measurement or whatever else stands beside its picture, or a grid.
func besideResults(folder map[string]string, name string) bool {
	if parts := beside.FindStringSubmatch(name); parts != nil && folder[parts[1]] != "" {
		return true
	}
	if name != "restored" && name != "certainty" {
		return false
	}
	for other := range folder {
		if strings.HasSuffix(other, ".measurement") {
			return true
		}
	}
	return false
}

// work is the comparison of pictures in units of the network's tiles, for progress: opening one
// and PSNR with SSIM are as much as an eighth of the tiles of one.
type work struct{ tiles, open int }

// passes returns all units where so many pictures are compared: of three, each pair in the network.
func (w work) passes(pictures int) int {
	pairs := pictures * (pictures - 1) / 2
	return w.tiles*pairs + w.open*(pictures+1)
}

// work reads the headers of all pictures. It refuses those of a pair that are unequal, and what
// memory can't hold; most is what the largest pair takes.
func (c *comparer) work(ctx context.Context, folders []map[string]string, names []string) (all []work, most int64, err error) {
	all = make([]work, len(names))
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		all[i].tiles = 1
		var first picture.Header
		var memory, held int64
		for k, folder := range folders {
			path := folder[name]
			if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
				continue // a pipe is read once
			}
			h, err := picture.OpenHeader(path)
			if err != nil {
				return nil, 0, err
			}
			if k == 0 {
				first = h
			} else if first.H > 0 && (h.H != first.H || h.W != first.W) {
				return nil, 0, unequal(folders[0][name], first.H, first.W, path, h.H, h.W)
			}
			memory = max(memory, held+h.Memory)
			held += 3 * 4 * int64(h.H*h.W)
			all[i].tiles = lpips.Tiles(h.H, h.W)
		}
		memory = max(memory, held+c.perceptual.Memory(first.H, first.W))
		if free := compute.HostMemory(); free > 0 && memory > free {
			return nil, 0, fmt.Errorf("%s: comparing pictures of %d×%d takes %d MiB of memory, %d MiB are free: make them smaller first", name, first.W, first.H, memory>>20, free>>20)
		}
		all[i].open = all[i].tiles / 8
		most = max(most, memory)
	}
	return all, most, nil
}

// compare opens and measures the pictures of a name. done is told of the units of work.
func (c *comparer) compare(ctx context.Context, folders []map[string]string, name string, w work, done func(passes int)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	passes := 0
	count := func(n int) {
		passes += n
		done(passes)
	}
	var pictures []picture.Image
	for _, folder := range folders {
		p, err := interruptible(ctx, func() (picture.Image, error) { return openUnit(folder[name]) })
		if err != nil {
			return err
		}
		if len(pictures) > 0 && (p.H != pictures[0].H || p.W != pictures[0].W) {
			return unequal(pictures[0].Name, pictures[0].H, pictures[0].W, p.Name, p.H, p.W)
		}
		pictures = append(pictures, p)
		count(w.open)
	}
	c.perceptual.Watch(ctx.Err, func() { count(1) })
	defer c.perceptual.Watch(nil, nil)
	if err := c.add(ctx, name, pictures, func() { count(w.open) }); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func unequal(a string, ah, aw int, b string, bh, bw int) error {
	return fmt.Errorf("%s is %d×%d and %s is %d×%d (W×H): pictures of a pair have one size", a, aw, ah, b, bw, bh)
}

// openUnit opens a picture on [0, 1].
func openUnit(path string) (picture.Image, error) {
	p, err := picture.Open(path)
	for i := 0; i < len(p.Pix); i += p.W { // in place, but for a row
		copy(p.Pix[i:], metric.Unit(p.Pix[i:i+p.W]))
	}
	return p, err
}
