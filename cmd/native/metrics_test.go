package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"image"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/examples/faces"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
)

// noisyFaces writes n example faces with noise and returns their folder.
func noisyFaces(t *testing.T, n int, sigma float64, seed uint64) string {
	t.Helper()
	dir := t.TempDir()
	pictures, err := faces.Load(n)
	require.NoError(t, err)
	for i, p := range pictures {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		for k := range p.Pix {
			p.Pix[k] += float32(sigma * rng.NormFloat64())
		}
		require.NoError(t, p.SavePNG(filepath.Join(dir, fmt.Sprintf("face%d.png", i))))
	}
	return dir
}

func measureFolders(t *testing.T, args ...string) report {
	t.Helper()
	code, out, errs := tool(t.Context(), append([]string{"metrics", "--json"}, args...)...)
	require.Zero(t, code, errs)
	var r report
	require.NoError(t, json.Unmarshal([]byte(out), &r), out)
	return r
}

func TestMetrics(t *testing.T) {
	truth, good, bad := noisyFaces(t, 4, 0, 0), noisyFaces(t, 4, .05, 1), noisyFaces(t, 4, .3, 2)
	g, b := measureFolders(t, good, truth), measureFolders(t, bad, truth, "--second", noisyFaces(t, 4, .3, 3))
	require.Equal(t, "lpips-like (SqueezeNet v1.1)", g.Perceptual)
	require.Equal(t, "FID-like (SqueezeNet v1.1)", g.Frechet)
	require.Len(t, g.Images, 4)
	require.Equal(t, "face0", g.Images[0].Name)
	require.Greater(t, *g.Mean.PSNR, *b.Mean.PSNR)
	require.Greater(t, g.Mean.SSIM, b.Mean.SSIM)
	require.Less(t, g.Mean.Perceptual, b.Mean.Perceptual)
	require.Less(t, *g.Distance, *b.Distance)
	require.Empty(t, g.Exchangeability)
	require.Len(t, b.Exchangeability, 2)
	require.InDelta(t, 2, b.Exchangeability[0].Ratio, .1, "noise on the truth, seen in squared error")
	require.Less(t, b.Exchangeability[1].Ratio, 1.2, "and not in the perceptual distance")

	same := measureFolders(t, truth, truth)
	require.Nil(t, same.Mean.PSNR, "infinite")
	require.InDelta(t, 1, same.Mean.SSIM, 1e-9)
	require.Zero(t, same.Mean.Perceptual)
	require.InDelta(t, 0, *same.Distance, 1e-6**b.Distance)

	code, out, _ := tool(t.Context(), "metrics", truth, truth)
	require.Zero(t, code)
	require.Contains(t, out, "mean     ∞          1.0000  0.0000")
	require.Contains(t, out, "FID-like (SqueezeNet v1.1) of 4 pictures")
	code, out, _ = tool(t.Context(), "metrics", good, truth, "--csv")
	require.Zero(t, code)
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 5)
	require.Equal(t, []string{"name", "PSNR", "SSIM", "lpips-like (SqueezeNet v1.1)"}, rows[0])
}

func TestMetricsWithStatistics(t *testing.T) {
	truth, restored := noisyFaces(t, 4, 0, 0), noisyFaces(t, 4, .2, 1)
	file := filepath.Join(t.TempDir(), "truth.npz")
	want := measureFolders(t, restored, truth)
	measureFolders(t, truth, truth, "--save-statistics", file)
	got := measureFolders(t, restored, truth, "--statistics", file)
	require.InEpsilon(t, *want.Distance, *got.Distance, 1e-6)
}

func TestMetricsBadInput(t *testing.T) {
	truth, restored, fewer := noisyFaces(t, 3, 0, 0), noisyFaces(t, 3, .1, 1), noisyFaces(t, 2, .1, 2)
	empty, twins := t.TempDir(), noisyFaces(t, 2, 0, 0)
	require.NoError(t, os.WriteFile(filepath.Join(empty, "notes.txt"), []byte("no picture"), 0o644))
	data, err := os.ReadFile(filepath.Join(twins, "face0.png"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(twins, "face0.jpg"), data, 0o644))
	small := t.TempDir()
	for i := range 3 {
		data, err := os.ReadFile(grey(t, 40, 30))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(small, fmt.Sprintf("face%d.png", i)), data, 0o644))
	}
	for want, args := range map[string][]string{
		"without a partner of the same name (1): " + filepath.Join(truth, "face2.png"): {fewer, truth},
		"no such file":                             {filepath.Join(empty, "none"), truth},
		"no pictures (.png":                        {empty, truth},
		"have the same name: keep one":             {twins, truth},
		"is 40×30 and":                             {small, truth},
		"--lpips-net vgg needs --lpips FILE":       {restored, truth, "--lpips-net", "vgg"},
		`unknown network "resnet": known are`:      {restored, truth, "--lpips", "../../testdata/golden/tiny16/model.pt", "--lpips-net", "resnet"},
		"LPIPS on AlexNet: checkpoint":             {restored, truth, "--lpips", "../../testdata/golden/tiny16/model.pt"},
		"Inception v3: checkpoint":                 {restored, truth, "--inception", "../../testdata/golden/tiny16/model.pt"},
		"an npz file with mu and sigma":            {restored, truth, "--statistics", face},
		"--json and --csv: give one":               {restored, truth, "--json", "--csv"},
		"unknown device":                           {restored, truth, "--device", "abacus"},
		"cmi-native metrics RESTORED TRUTH":        {restored},
		"--save-statistics " + empty + "/no/x.npz": {restored, truth, "--save-statistics", empty + "/no/x.npz"},
		"is a folder, a file is wanted":            {restored, truth, "--save-statistics", empty},
	} {
		code, out, errs := tool(t.Context(), append([]string{"metrics"}, args...)...)
		require.Equal(t, exitUsage, code, want)
		require.Contains(t, errs, want)
		require.Equal(t, 1, strings.Count(errs, "\n"), errs)
		require.Empty(t, out)
	}
	r := measureFolders(t, fewer, truth, "--common")
	require.Len(t, r.Images, 2)
}

// Names that a spreadsheet would take for formulas are texts.
func TestInert(t *testing.T) {
	for in, want := range map[string]string{"face": "face", "": "", "=1+1": "'=1+1", "@x": "'@x", "-2": "'-2"} {
		require.Equal(t, want, inert(in))
	}
}

// restore's own folder can be compared as it is.
func TestMetricsOfResults(t *testing.T) {
	out, truth := t.TempDir(), t.TempDir()
	copyFile(t, face, filepath.Join(truth, "01.png"))
	code, _, stderr := tool(t.Context(), "restore", face, "--task", "inpaint", "--steps", "2", "--out", out)
	require.Zero(t, code, stderr)
	code, stdout, stderr := tool(t.Context(), "metrics", out, truth, "--csv")
	require.Zero(t, code, stderr)
	require.Equal(t, 2, strings.Count(stdout, "\n"), stdout)
}

// bareHeader is a PNG of that size without its pixels.
func bareHeader(t *testing.T, path string, w, h int) {
	t.Helper()
	ihdr := binary.BigEndian.AppendUint32([]byte("IHDR"), uint32(w))
	ihdr = append(binary.BigEndian.AppendUint32(ihdr, uint32(h)), 8, 2, 0, 0, 0)
	file := binary.BigEndian.AppendUint32([]byte("\x89PNG\r\n\x1a\n"), uint32(len(ihdr)-4))
	file = binary.BigEndian.AppendUint32(append(file, ihdr...), crc32.ChecksumIEEE(ihdr))
	require.NoError(t, os.WriteFile(path, file, 0o644))
}

// A large pair falls into parts, which are all told of; between two of them and before every
// convolution the comparison can be stopped.
func TestMetricsOfLargePictures(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	noise := image.NewGray(image.Rect(0, 0, 11000, 40)) // 18 tiles
	for i := range noise.Pix {
		noise.Pix[i] = byte(rng.IntN(256))
	}
	var file bytes.Buffer
	require.NoError(t, png.Encode(&file, noise))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x.png"), file.Bytes(), 0o644))
	folders := []map[string]string{{"x": filepath.Join(dir, "x.png")}, {"x": filepath.Join(dir, "x.png")}, {"x": filepath.Join(dir, "x.png")}}
	dev := cpu.New(0)
	defer func() { require.NoError(t, dev.Close()) }()
	c, closeNetworks, err := (&metricsFlags{}).load(dev)
	require.NoError(t, err)
	defer closeNetworks()
	plan, memory, err := c.work(t.Context(), folders, []string{"x"})
	require.NoError(t, err)
	require.Equal(t, []work{{tiles: 18, open: 2}}, plan)
	require.Greater(t, memory, int64(3*12*11000*40))
	for _, pictures := range []int{2, 3} {
		last := 0
		require.NoError(t, c.compare(t.Context(), folders[:pictures], "x", plan[0], func(passes int) {
			require.GreaterOrEqual(t, passes, last)
			last = passes
		}))
		require.Equal(t, plan[0].passes(pictures), last)
	}
	ctx, cancel := context.WithCancel(t.Context())
	last, reached := 0, plan[0].open*3+2
	err = c.compare(ctx, folders[:2], "x", plan[0], func(passes int) {
		if last = passes; passes == reached {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, reached, last, "nothing is done after the stop")
}

// Pictures of unequal size are found before any is compared.
func TestMetricsLooksAtAllHeaders(t *testing.T) {
	a, b := noisyFaces(t, 2, 0, 0), noisyFaces(t, 2, 0, 0)
	bareHeader(t, filepath.Join(a, "z.png"), 70, 80)
	bareHeader(t, filepath.Join(b, "z.png"), 80, 70)
	code, out, errs := tool(t.Context(), "metrics", a, b)
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "is 70×80 and")
	require.Empty(t, out)
}
