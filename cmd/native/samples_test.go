package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

const face2 = "../../examples/faces/02.png"

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	return data
}

func array(t *testing.T, path ...string) []float32 {
	t.Helper()
	p, err := picture.OpenArray(filepath.Join(path...), -1, 1)
	require.NoError(t, err)
	return p.Pix
}

// The first of several samples is the picture that restore makes by the same method without --samples, and no
// sample depends on the batch. Mean, standard deviation and intervals are those of the samples.
func TestSamples(t *testing.T) {
	plain, out, again := t.TempDir(), t.TempDir(), t.TempDir()
	restore := func(args ...string) (stdout, stderr string) {
		t.Helper()
		code, stdout, stderr := tool(t.Context(), append([]string{"restore", face, face2, "--task", "box", "--method", "dps", "--steps", "3", "--npy"}, args...)...)
		require.Zero(t, code, stderr)
		return stdout, stderr
	}
	restore("--out", plain)
	stdout, stderr := restore("--out", out, "--samples", "3", "--batch", "2")
	assert.Contains(t, stderr, "note: no factor is built in for box, dps, 3 steps")
	assert.Regexp(t, `01: PSNR .*; 3 samples: mean std [\d.]+, half of the variance in \d+ % of the pixels, \d+ % of it [a-z ]+, \d+ % in what is missing; their mean: [\d.]+ dB; \d+ % of the truth in the 90 % intervals\n`, stdout)
	assert.Contains(t, stdout, "certainty.png")
	restore("--out", again, "--samples", "3")
	var m manifest
	require.NoError(t, json.Unmarshal(read(t, out, "01.json"), &m))
	for file := range m.Results {
		assert.Equal(t, read(t, again, file), read(t, out, file), file)
	}
	for _, name := range []string{"01", "02"} {
		for _, ext := range []string{".png", ".npy", ".measurement.npy", ".mask.png"} {
			assert.Equal(t, read(t, plain, name+ext), read(t, out, name+ext), name+ext)
		}
	}
	assert.Len(t, m.Results, 18, "%v", m.Results) // 5 of restore, 2 · 2 samples, 3 maps and pictures, 4 arrays, the truth twice
	assert.Equal(t, read(t, out, "01.png"), read(t, plain, "01.png"))

	samples := [][]float32{array(t, out, "01.npy"), array(t, out, "01.sample2.npy"), array(t, out, "01.sample3.npy")}
	mean, std, low, high, truth := array(t, out, "01.mean.npy"), array(t, out, "01.std.npy"), array(t, out, "01.low90.npy"), array(t, out, "01.high90.npy"), array(t, out, "01.truth.npy")
	inside, meanStd := 0, 0.0
	for i := range mean {
		a, b, c := float64(samples[0][i]), float64(samples[1][i]), float64(samples[2][i])
		want := (a + b + c) / 3
		s := math.Sqrt(((a-want)*(a-want) + (b-want)*(b-want) + (c-want)*(c-want)) / 2)
		require.InDelta(t, want, mean[i], 1e-6)
		require.InDelta(t, s, std[i], 1e-6)
		half := 2.919986 * math.Sqrt(4./3) * s // Student's t, two degrees of freedom, 95 %
		require.InDelta(t, want-half, low[i], 1e-5)
		require.InDelta(t, want+half, high[i], 1e-5)
		if low[i] <= truth[i] && truth[i] <= high[i] {
			inside++
		}
	}
	for i := range 64 * 64 {
		sum := 0.0
		for c := range 3 {
			sum += float64(std[c*64*64+i]) * float64(std[c*64*64+i])
		}
		meanStd += math.Sqrt(sum/3) / (64 * 64)
	}
	require.NotNil(t, m.Certainty)
	assert.InDelta(t, float64(inside)/float64(len(mean)), *m.Certainty.Within, 1e-3)
	assert.InDelta(t, meanStd, m.Certainty.MeanStd, 1e-6)
	want, err := picture.Open(face)
	require.NoError(t, err)
	assert.Equal(t, want.Pix, truth)

	code, stdout, stderr := tool(t.Context(), "rerun", filepath.Join(out, "02.json"), "--out", t.TempDir())
	require.Zero(t, code, stderr)
	assert.Contains(t, stdout, "the same bytes: 02.high90.npy, ")
	stdout, _ = restore("--out", out, "--samples", "3", "--skip-existing")
	assert.Contains(t, stdout, "all 2 results are in")
	require.NoError(t, os.Remove(filepath.Join(out, "02.sample3.png")))
	stdout, _ = restore("--out", out, "--samples", "3", "--skip-existing", "--json")
	require.NoError(t, json.Unmarshal([]byte(stdout), &m), "one manifest alone: %s", stdout)
	assert.Equal(t, 2, m.Number)
	assert.Equal(t, read(t, again, "02.sample3.png"), read(t, out, "02.sample3.png"))

	code, stdout, stderr = tool(t.Context(), "metrics", out, plain)
	require.Zero(t, code, stderr)
	assert.Contains(t, stdout, "02")
	assert.NotContains(t, stdout, "sample2", "what stands beside a result is none")
}

// Where the truth is not known nothing is said of it.
func TestSamplesOfAMeasurement(t *testing.T) {
	first, out := t.TempDir(), t.TempDir()
	code, _, stderr := tool(t.Context(), "restore", face, "--steps", "2", "--out", first)
	require.Zero(t, code, stderr)
	code, stdout, stderr := tool(t.Context(), "restore", filepath.Join(first, "01.measurement.png"), "--measured", "--samples", "2", "--steps", "2", "--format", "png16", "--calibration", "none", "--out", out)
	require.Zero(t, code, stderr)
	assert.NotContains(t, stderr, "note: no factor")
	assert.Regexp(t, `^01.measurement: 2 samples: mean std [\d.]+, half of the variance in \d+ % of the pixels, \d+ % of it [a-z ]+\n`, stdout)
	assert.NoFileExists(t, filepath.Join(out, "01.measurement.truth.png"))
	assert.FileExists(t, filepath.Join(out, "01.measurement.sample2.png"))
}

// Pictures that windows cover keep their size in all files, and the share of what is missing counts
// the pixels without padding.
func TestSamplesOfAnotherSize(t *testing.T) {
	out := t.TempDir()
	code, stdout, stderr := tool(t.Context(), "restore", grey(t, 80, 60), "--tiles", "--task", "inpaint", "--samples", "2", "--steps", "2", "--method", "diffpir", "--npy", "--out", out)
	require.Zero(t, code, stderr)
	assert.Regexp(t, `grey: .* \d+ % in what is missing`, stdout)
	for _, file := range []string{"grey.mean.npy", "grey.std.npy", "grey.sample2.npy", "grey.truth.npy"} {
		p, err := picture.OpenArray(filepath.Join(out, file), -1, 1)
		require.NoError(t, err)
		assert.Equal(t, [3]int{3, 60, 80}, [3]int{p.C, p.H, p.W}, file)
	}
}

// Ctrl-C keeps the samples that are finished.
func TestInterruptBetweenSamples(t *testing.T) {
	out := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			if _, err := os.Stat(filepath.Join(out, "01.sample2.png")); err == nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	code, _, stderr := tool(ctx, "restore", face, "--steps", "50", "--samples", "4", "--calibration", "none", "--out", out)
	assert.Equal(t, exitInterrupted, code, stderr)
	assert.Contains(t, stderr, "finished pictures and samples are kept")
	assert.FileExists(t, filepath.Join(out, "01.png"))
	assert.NoFileExists(t, filepath.Join(out, "01.mean.png"))
	code, _, stderr = tool(t.Context(), "restore", face, "--steps", "2", "--samples", "4", "--out", out)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "is there already: --force")
}

// The factor of a calibration scales the intervals of what it was made for, and of nothing else.
func TestCalibrationFile(t *testing.T) {
	one := calibration{Name: "faces64", Prior: builtInHashes["faces64"](), Task: "sr4", Method: "dps", Steps: 2, SigmaY: .05, Alpha: .1, Factor: 2.5}
	file := func(all ...calibration) string {
		text, err := json.Marshal(all)
		require.NoError(t, err)
		return writeFile(t, "calibration.json", text)
	}
	restore := func(args ...string) (out string, code int, stderr string) {
		out = t.TempDir()
		code, _, stderr = tool(t.Context(), append([]string{"restore", face, "--method", "dps", "--steps", "2", "--samples", "2", "--npy", "--out", out}, args...)...)
		return out, code, stderr
	}
	asSampled, code, stderr := restore("--calibration", "none")
	require.Zero(t, code, stderr)
	other := one
	other.Task, other.Factor = "blur", 7
	path := file(other, one)
	scaled, code, stderr := restore("--calibration", path)
	require.Zero(t, code, stderr)
	for i, mean := range array(t, scaled, "01.mean.npy") {
		require.InDelta(t, 2.5*(array(t, asSampled, "01.high90.npy")[i]-mean), array(t, scaled, "01.high90.npy")[i]-mean, 1e-5)
		if i == 50 {
			break
		}
	}
	assert.Equal(t, read(t, asSampled, "01.std.png"), read(t, scaled, "01.std.png"))
	assert.NotEqual(t, read(t, asSampled, "01.width90.png"), read(t, scaled, "01.width90.png"))
	var m manifest
	require.NoError(t, json.Unmarshal(read(t, scaled, "01.json"), &m))
	assert.Equal(t, 2.5, m.Certainty.Factor)
	assert.Equal(t, path, m.Certainty.From)

	assert.Contains(t, m.Certainty.String(), "; intervals × 2.50, "+path+"; ")

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--calibration", path, "--sigma-y", "0.1"}, "has no factor for sr4, dps, 2 steps, σ_y 0.1 with this prior; it has: blur, dps, 2 steps, σ_y 0.05; sr4, dps, 2 steps, σ_y 0.05."},
		{[]string{"--calibration", path, "--dps-limit", "1"}, "has no factor for sr4, dps, 2 steps, σ_y 0.05, --dps-limit 1 with"},
		{[]string{"--calibration", path, "--noise", "poisson"}, "--noise poisson with"},
		{[]string{"--calibration", path, "--cmi"}, "--cmi fidelity with"},
		{[]string{"--calibration", path, "--prior", "photos64"}, "of another prior, faces64"},
		{[]string{"--calibration", face}, "is no calibration"},
		{[]string{"--calibration", writeFile(t, "c.json", []byte(`[{"factor": -1, "alpha": 0.1}]`))}, "is -1 for α = 0.1: a positive number"},
		{[]string{"--calibration", writeFile(t, "c.json", []byte(`[{"factor": 1, "alpha": 0.2}]`))}, "1 for α = 0.2: a positive number for 0.1"},
		{[]string{"--calibration", "none.json"}, "none.json"},
		{[]string{"--samples", "1", "--calibration", path}, "would do nothing: it needs --samples"},
		{[]string{"--samples", "0"}, "--samples is 0, 1 to 10000"},
	} {
		_, code, stderr := restore(c.args...)
		assert.Equal(t, exitUsage, code, stderr)
		assert.Contains(t, stderr, c.want)
	}
	seeded, code, stderr := restore("--calibration", path, "--seed", "4", "--batch", "2")
	require.Zero(t, code, stderr, "the seed changes no distribution")
	assert.FileExists(t, filepath.Join(seeded, "01.mean.png"))
}

// Where the variance is: in which part, in how many pixels, and how much of it is missing.
func TestWhere(t *testing.T) {
	std, known := make([]float32, 36), make([]float32, 36)
	for i := range known {
		known[i] = 1
	}
	std[5], std[4], known[4] = 3, 1, 0 // top right, 6×6
	var c certaintyOf
	c.where(std, known, 6, 6)
	assert.Equal(t, "top right", c.Ninth)
	for got, want := range map[*float64]float64{&c.InNinth: 1, &c.Half: 1. / 36, &c.MeanStd: 4. / 36, c.Missing: .1} {
		assert.InDelta(t, want, *got, 1e-9)
	}
	c = certaintyOf{}
	c.where(make([]float32, 4), nil, 2, 2)
	assert.Equal(t, "nowhere", c.Ninth)
	assert.Contains(t, (&certaintyOf{Samples: 2, Ninth: "nowhere"}).String(), "2 samples: mean std 0.000")
	colours := map[string]bool{}
	lightness := -1.0
	for i := range 11 { // evenly lighter
		h := heat(float64(i) / 10)
		l := .2126*float64(h.R) + .7152*float64(h.G) + .0722*float64(h.B)
		assert.Greater(t, l, lightness)
		lightness = l
		colours[fmt.Sprint(h)] = true
	}
	assert.Len(t, colours, 11)
}
