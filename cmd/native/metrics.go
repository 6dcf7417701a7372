package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
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
	fl.StringVar(&f.lpips, "lpips", "", "torchvision weights `FILE` of the network that LPIPS runs on")
	fl.StringVar(&f.network, "lpips-net", "alex", "network of --lpips: "+strings.Join(lpips.Names(), ", "))
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

func metrics(c *cobra.Command, restored, truth string, f *metricsFlags) (err error) {
	if c.Flags().Changed("lpips-net") && f.lpips == "" {
		return fmt.Errorf("--lpips-net %s needs --lpips FILE with its torchvision weights", f.network)
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

	bar := newProgress(c.ErrOrStderr(), len(names))
	for _, name := range names {
		if err := c.Context().Err(); err != nil {
			return err
		}
		pictures, err := interruptible(c.Context(), func() ([]picture.Image, error) { return openTogether(folders, name) })
		if err != nil {
			return err
		}
		if err := cmp.add(name, pictures); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		bar.run("metrics")(1)
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

// openTogether opens a picture of each folder, on [0, 1] and of equal size.
func openTogether(folders []map[string]string, name string) ([]picture.Image, error) {
	var all []picture.Image
	for _, folder := range folders {
		p, err := picture.Open(folder[name])
		if err != nil {
			return nil, err
		}
		if len(all) > 0 && (p.H != all[0].H || p.W != all[0].W) {
			return nil, fmt.Errorf("%s is %d×%d and %s is %d×%d (W×H): pictures of a pair have one size", all[0].Name, all[0].W, all[0].H, p.Name, p.W, p.H)
		}
		p.Pix = metric.Unit(p.Pix)
		all = append(all, p)
	}
	return all, nil
}
