// Command photos measures what the prior of photographs restores by tiles, beside the same
// prior on cut windows that know nothing of each other, beside plain interpolation and beside
// what is classical for the task. It writes the rows of docs/results-photos.md and the
// pictures.
//
//	go run ./tools/photos -prior photos64 -height 192 -width 256 -out out/photos PICTURE…
//
// Each picture is cut to the shape of the wanted size, a multiple of 64, and scaled to it.
// Each window is measured and restored alone where windows are cut; kernels and masks are
// the whole picture's in both.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/photos64"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/metric/lpips"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/tiles"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

func main() {
	var b bench
	name := flag.String("prior", "photos64", "photos64, faces64 or a checkpoint")
	flag.IntVar(&b.h, "height", 192, "of the cut pictures")
	flag.IntVar(&b.w, "width", 256, "of the cut pictures")
	flag.IntVar(&b.spec.Steps, "steps", 20, "reverse steps")
	flag.StringVar(&b.spec.Method, "method", "ddrm-mean", "sampling method")
	tasks := flag.String("tasks", "blur,sr2,sr4,inpaint50,denoise", "tasks")
	ways := flag.String("ways", "interpolated,classical,cut windows,tiles,truth", "ways to restore them")
	flag.StringVar(&b.out, "out", "out/photos", "folder for the pictures")
	flag.Parse()
	if err := b.run(*name, strings.Split(*tasks, ","), strings.Split(*ways, ","), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "photos:", err)
		os.Exit(1)
	}
}

type bench struct {
	h, w int
	spec job.Spec
	out  string
	base *unet.Model
	like *lpips.Metric
}

// figures are sums over pictures.
type figures struct {
	psnr, ssim, lpips, seams, seconds float64
	passes                            int
}

func (b *bench) run(name string, tasks, ways, paths []string) error {
	open := map[string]func() (*checkpoint.File, error){"photos64": photos64.Open, "faces64": faces64.Open}[name]
	if open == nil {
		open = func() (*checkpoint.File, error) { return checkpoint.Open(name) }
	}
	file, err := open()
	if err != nil {
		return err
	}
	defer file.Close()
	dev := cpu.New(0)
	defer dev.Close()
	if b.base, err = unet.Load(dev, file, nil); err != nil {
		return err
	}
	defer b.base.Close()
	if b.like, err = lpips.Like(dev); err != nil {
		return err
	}
	defer b.like.Close()
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	settings := job.Default()
	settings.Steps, settings.Method = b.spec.Steps, b.spec.Method
	b.spec = settings
	if _, h, w := b.base.Image(); b.h%h != 0 || b.w%w != 0 || len(paths) == 0 {
		return fmt.Errorf("%d pictures of %d×%d: at least one is wanted, and multiples of %d×%d", len(paths), b.w, b.h, w, h)
	}
	fmt.Println("| task | how | PSNR | SSIM | LPIPS-like | seams | passes | s |")
	fmt.Println("|---|---|---:|---:|---:|---:|---:|---:|")
	for _, task := range tasks {
		sums := map[string]*figures{}
		for i, path := range paths {
			truth, err := b.open(path, i)
			if err != nil {
				return err
			}
			for _, way := range ways {
				if sums[way] == nil {
					sums[way] = &figures{}
				}
				if err := b.add(sums[way], way, task, truth); err != nil {
					return fmt.Errorf("%s, %s, %s: %w", task, way, path, err)
				}
			}
		}
		n := float64(len(paths))
		for _, way := range ways {
			if s := sums[way]; way == "truth" {
				fmt.Printf("| %s | %s | | | | %.2f | | |\n", task, way, s.seams/n)
			} else {
				fmt.Printf("| %s | %s | %.2f | %.3f | %.3f | %.2f | %d | %.1f |\n", task, way, s.psnr/n, s.ssim/n, s.lpips/n, s.seams/n, s.passes/len(paths), s.seconds/n)
			}
		}
	}
	return nil
}

// open opens a picture and brings it to the size.
func (b *bench) open(path string, number int) (job.Image, error) {
	p, err := picture.Open(path)
	if err != nil {
		return job.Image{}, err
	}
	if p.H < b.h || p.W < b.w {
		return job.Image{}, fmt.Errorf("%s is %d×%d, at least %d×%d is wanted", path, p.W, p.H, b.w, b.h)
	}
	if p, err = picture.Fit(p, b.h, b.w, picture.Crop); err != nil {
		return job.Image{}, err
	}
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	return job.Image{C: 3, H: b.h, W: b.w, Pix: p.Pix, Name: name, Number: uint64(number)}, nil
}

// window cuts a window out of an image and of its mask.
func window(m job.Image, y0, x0, h, w int) job.Image {
	cut := func(pix []float32, planes int) (out []float32) {
		for c := range planes {
			for y := range h {
				out = append(out, pix[(c*m.H+y0+y)*m.W+x0:][:w]...)
			}
		}
		return out
	}
	one := m
	one.H, one.W, one.Pix = h, w, cut(m.Pix, m.C)
	if m.Mask != nil {
		one.Mask = cut(m.Mask, 1)
	}
	return one
}

// add restores an image in one way and adds the figures.
func (b *bench) add(to *figures, way, task string, truth job.Image) error {
	spec, given := b.spec, truth
	switch spec.Task = task; task {
	case "blur": // the picture's kernel also for windows
		kernel, err := measure.GaussianKernel(61*min(b.h, b.w)/256/2*2+1, 5*float64(min(b.h, b.w))/256)
		if err != nil {
			return err
		}
		spec.Task, given.Kernel = "kernel", &kernel
	case "inpaint50":
		rng := diffusion.Stream{Seed: spec.Seed, Image: truth.Number, Purpose: diffusion.Degradation}.Rand()
		mask, err := measure.RandomMask(b.h, b.w, 0.5, rng)
		if err != nil {
			return err
		}
		spec.Task, given.Mask = "mask", mask
	}
	began, got, passes := time.Now(), truth, 0
	var err error
	switch way {
	case "interpolated":
		got, err = b.measured(spec, given, func(j *job.Job) ([]float32, error) { return b.interpolate(j.Measurements[0]) })
	case "classical":
		got, err = b.measured(spec, given, b.classical)
	case "cut windows":
		got, passes, err = b.cut(spec, given)
	case "tiles":
		got, passes, err = b.tiles(spec, given)
	case "truth":
	default:
		err = fmt.Errorf("there is no way %q: take interpolated, classical, cut windows, tiles or truth", way)
	}
	if err != nil {
		return err
	}
	to.seconds += time.Since(began).Seconds()
	to.passes += passes
	to.seams += b.seams(got)
	if way == "truth" {
		return nil
	}
	x, y := metric.Unit(got.Pix), metric.Unit(truth.Pix)
	psnr, err := metric.PSNR(x, y, 1, 3, b.h, b.w)
	if err != nil {
		return err
	}
	ssim, err := metric.SSIM(x, y, 1, 3, b.h, b.w)
	if err != nil {
		return err
	}
	far, err := b.like.Distance(got.Pix, truth.Pix, 1, 3, b.h, b.w)
	if err != nil {
		return err
	}
	to.psnr, to.ssim, to.lpips = to.psnr+psnr[0], to.ssim+ssim[0], to.lpips+far[0]
	p := picture.Image{C: 3, H: b.h, W: b.w, Pix: got.Pix}
	return p.SavePNG(filepath.Join(b.out, fmt.Sprintf("%s.%s.%s.png", truth.Name, task, strings.Fields(way)[0])))
}

func (b *bench) tiled() (*tiles.Model, error) {
	return tiles.New(b.base, b.h, b.w, tiles.Options{Seed: b.spec.Seed, AtOnce: 32})
}

// tiles restores the whole picture.
func (b *bench) tiles(spec job.Spec, given job.Image) (got job.Image, passes int, err error) {
	m, err := b.tiled()
	if err != nil {
		return got, 0, err
	}
	defer m.Close()
	return b.restore(m, spec, given)
}

// cut measures and restores each window alone.
func (b *bench) cut(spec job.Spec, given job.Image) (got job.Image, passes int, err error) {
	_, h, w := b.base.Image()
	got = given
	got.Pix = make([]float32, len(given.Pix))
	for y := 0; y < b.h; y += h {
		for x := 0; x < b.w; x += w {
			one := window(given, y, x, h, w)
			one.Number = given.Number<<16 | uint64(y/h<<8|x/w)
			restored, n, err := b.restore(b.base, spec, one)
			if err != nil {
				return got, 0, err
			}
			passes += n
			for row := range 3 * h {
				copy(got.Pix[(row/h*b.h+y+row%h)*b.w+x:][:w], restored.Pix[row*w:])
			}
		}
	}
	return got, passes, nil
}

func (b *bench) restore(m prior.Model, spec job.Spec, given job.Image) (job.Image, int, error) {
	j, err := job.New(m, spec, given)
	if err != nil {
		return job.Image{}, 0, err
	}
	restored, err := j.Run(context.Background(), sdk.PlaceOf(m))
	if err != nil {
		return job.Image{}, 0, err
	}
	return restored[0], j.Plan.Passes(), nil
}

// measured measures an image and restores it from that in a way that needs no prior.
func (b *bench) measured(spec job.Spec, given job.Image, way func(*job.Job) ([]float32, error)) (got job.Image, err error) {
	m, err := b.tiled()
	if err != nil {
		return got, err
	}
	defer m.Close()
	j, err := job.New(m, spec, given)
	if err != nil {
		return got, err
	}
	got = given
	got.Pix, err = way(j)
	return got, err
}

// interpolate scales a small measurement by the Catmull–Rom kernel, gives missing pixels the
// mean of their known neighbours, each weighted by exp(−d²/2), and takes others as they are.
func (b *bench) interpolate(y job.Measurement) ([]float32, error) {
	if y.H != b.h || y.W != b.w {
		p, err := picture.Fit(picture.Image{C: 3, H: y.H, W: y.W, Pix: y.Y}, b.h, b.w, picture.Resize)
		return p.Pix, err
	}
	if y.Known == nil {
		return y.Y, nil
	}
	pix := make([]float32, len(y.Y))
	const reach = 4
	for i := range pix {
		c, r, q := i/(b.h*b.w), i/b.w%b.h, i%b.w
		sum, weight := 0.0, 0.0
		for u := max(r-reach, 0); u <= min(r+reach, b.h-1); u++ {
			for v := max(q-reach, 0); v <= min(q+reach, b.w-1); v++ {
				near := math.Exp(-float64((u-r)*(u-r)+(v-q)*(v-q))/2) * float64(y.Known[u*b.w+v])
				sum, weight = sum+near*float64(y.Y[(c*b.h+u)*b.w+v]), weight+near
			}
		}
		if y.Known[i%(b.h*b.w)] != 0 {
			pix[i] = y.Y[i]
		} else if weight > 0 {
			pix[i] = float32(sum / weight)
		}
	}
	return pix, nil
}

// classical restores a measurement as its task is restored without a learned prior. What
// interpolates the measurement's noise has it removed before or after, whichever serves.
func (b *bench) classical(j *job.Job) ([]float32, error) {
	y, sigma := j.Measurements[0], j.Spec.SigmaY
	switch {
	case j.Spec.Task == "kernel":
		return wiener(y.Y, y.C, y.H, y.W, *y.Inputs.Kernel, sigma), nil
	case y.Known != nil:
		filled, err := biharmonic(y.Y, y.Known, y.C, y.H, y.W)
		if err != nil {
			return nil, err
		}
		return nonLocalMeans(filled, y.C, y.H, y.W, sigma), nil
	case j.Spec.Task == "denoise":
		return nonLocalMeans(y.Y, y.C, y.H, y.W, sigma), nil
	}
	y.Y = nonLocalMeans(y.Y, y.C, y.H, y.W, sigma)
	return b.interpolate(y)
}

// seams is the mean |difference| of neighbours across the borders of the cut windows over
// that within them: what a seam there adds.
func (b *bench) seams(m job.Image) float64 {
	_, h, w := b.base.Image()
	var sum, count [2]float64 // within, across
	note := func(i, j int, across bool) {
		k := 0
		if across {
			k = 1
		}
		sum[k], count[k] = sum[k]+math.Abs(float64(m.Pix[i]-m.Pix[j])), count[k]+1
	}
	for i := range m.Pix {
		y, x := i/b.w%b.h, i%b.w
		if x > 0 {
			note(i, i-1, x%w == 0)
		}
		if y > 0 {
			note(i, i-b.w, y%h == 0)
		}
	}
	return sum[1] / count[1] / (sum[0] / count[0])
}
