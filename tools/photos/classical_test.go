package main

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint/photos64"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/metric/lpips"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

const testC, testH, testW = 2, 24, 32

// texture has details of period 8.
func texture() []float32 {
	return drawn(func(c, y, x float64) float64 {
		return 0.4*math.Sin(math.Pi*y/4+c) + 0.4*math.Cos(math.Pi*x/4) + 0.1*c
	})
}

func drawn(f func(c, y, x float64) float64) (out []float32) {
	for i := range testC * testH * testW {
		out = append(out, float32(f(float64(i/(testH*testW)), float64(i/testW%testH), float64(i%testW))))
	}
	return out
}

// noisy adds noise of σ.
func noisy(x []float32, sigma float64) (out []float32) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, v := range x {
		out = append(out, v+float32(sigma*rng.NormFloat64()))
	}
	return out
}

func rms(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		sum += float64(a[i]-b[i]) * float64(a[i]-b[i])
	}
	return math.Sqrt(sum / float64(len(a)))
}

// applied returns A x.
func applied(t *testing.T, op measure.Linear, dev compute.Device, x []float32) []float32 {
	t.Helper()
	y, err := measure.Measure(dev, op, x, make([]float32, size(op.Out())), 0)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

func size(c, h, w int) int { return c * h * w }

func TestWiener(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	kernel, err := measure.GaussianKernel(7, 0.8)
	if err != nil {
		t.Fatal(err)
	}
	op, err := measure.NewBlur(dev, testC, testH, testW, kernel, compute.Reflect)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	random := noisy(make([]float32, testC*testH*testW), 0.5)
	if e := rms(wiener(applied(t, op, dev, random), testC, testH, testW, kernel, 1e-5), random); e > 0.01 {
		t.Errorf("without noise the blur is undone up to %.4f, 0.01 is wanted, borders included", e)
	}
	x := drawn(func(c, y, x float64) float64 { return math.Copysign(0.7, math.Hypot(y-10, x-14)-8+c) })
	y := noisy(applied(t, op, dev, x), 0.05)
	got := rms(wiener(y, testC, testH, testW, kernel, 0.05), x)
	if before := rms(y, x); got > 0.94*before {
		t.Errorf("the error is %.4f with noise, of %.4f before", got, before)
	}
	// Of noise alone there is nothing to restore.
	if e := rms(wiener(noisy(make([]float32, len(x)), 0.05), testC, testH, testW, kernel, 0.05), make([]float32, len(x))); e > 0.02 {
		t.Errorf("noise of 0.05 leaves %.4f", e)
	}
}

// A hole in a polynomial of third degree is filled exactly, which no mean of neighbours does.
func TestBiharmonic(t *testing.T) {
	x := drawn(func(c, y, x float64) float64 {
		y, x = y/testH-0.5, x/testW-0.5
		return 4*x*x*x - 3*y*y*x + y*y - c*x
	})
	known, y := make([]float32, testH*testW), append([]float32(nil), x...)
	for i := range known {
		known[i] = 1
		if row, col := i/testW, i%testW; row >= 6 && row < 15 && col >= 10 && col < 21 || (row == 3 || row == 20) && col > 3 && col < 28 {
			known[i], y[i], y[testH*testW+i] = 0, 9, 9
		}
	}
	got, err := biharmonic(y, known, testC, testH, testW)
	if err != nil {
		t.Fatal(err)
	}
	if e := rms(got, x); e > 1e-4 {
		t.Errorf("the holes are filled up to %.5f", e)
	}
}

func TestNonLocalMeans(t *testing.T) {
	x := texture()
	if e := rms(nonLocalMeans(noisy(x, 0.1), testC, testH, testW, 0.1), x); e > 0.06 {
		t.Errorf("of noise of 0.1 on a repeated texture %.4f is left", e)
	}
	// A step is no noise: each side is the mean of its own pixels.
	step := drawn(func(c, y, x float64) float64 { return math.Copysign(0.5, x-11.5) })
	if e := rms(nonLocalMeans(noisy(step, 0.05), testC, testH, testW, 0.05), step); e > 0.02 {
		t.Errorf("of noise of 0.05 on a step %.4f is left", e)
	}
}

// Each task's classical restoration is nearer to a photograph than plain interpolation.
func TestWays(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	file, err := photos64.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b := bench{h: 64, w: 64, spec: job.Default(), out: t.TempDir()}
	b.spec.Method, b.spec.Steps = "diffpir", 2
	if b.base, err = unet.Load(dev, file, nil); err != nil {
		t.Fatal(err)
	}
	defer b.base.Close()
	if b.like, err = lpips.Like(dev); err != nil {
		t.Fatal(err)
	}
	defer b.like.Close()
	faces, err := filepath.Glob("../../testdata/faces/*.png")
	if err != nil || len(faces) == 0 {
		t.Fatalf("no picture in testdata/faces: %v", err)
	}
	truth, err := b.open(faces[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range []string{"blur", "sr2", "sr4", "inpaint50", "denoise"} {
		var plain, classical figures
		for way, to := range map[string]*figures{"interpolated": &plain, "classical": &classical} {
			if err := b.add(to, way, task, truth); err != nil {
				t.Fatal(task, way, err)
			}
		}
		if classical.psnr <= plain.psnr {
			t.Errorf("%s: %.2f dB classical, %.2f dB interpolated", task, classical.psnr, plain.psnr)
		}
	}
	if err := b.add(&figures{}, "tilse", "blur", truth); err == nil {
		t.Error("a way that there is not is no error")
	}
}
