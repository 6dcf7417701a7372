package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// The factor of calibrate makes the intervals hold 90 % of the pictures that it was found on;
// the command goes on where it was stopped, and adds to its file.
func TestCalibrate(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	copyFile(t, face, filepath.Join(dir, "01.png"))
	copyFile(t, face2, filepath.Join(dir, "02.png"))
	file := filepath.Join(t.TempDir(), "c.json")
	calibrate := func(args ...string) (stdout string) {
		t.Helper()
		code, stdout, stderr := tool(t.Context(), append([]string{"calibrate", dir, "--steps", "3", "--samples", "3", "--out", out, "-o", file}, args...)...)
		require.Zero(t, code, stderr)
		return stdout
	}
	assert.Regexp(t, `^box, pathwise, 3 steps, σ_y 0.05: the 90 % intervals of 3 samples hold [\d.]+ % of 2 pictures; factor [\d.]+\nfactors: `, calibrate("--task", "box"))
	first, err := os.Stat(filepath.Join(out, "box", "01.sample3.png"))
	require.NoError(t, err)
	before := read(t, file)
	calibrate("--task", "box")
	again, err := os.Stat(filepath.Join(out, "box", "01.sample3.png"))
	require.NoError(t, err)
	assert.True(t, os.SameFile(first, again), "nothing is sampled again")
	assert.Equal(t, before, read(t, file))
	calibrate("--task", "sr4,blur", "--method", "diffpir", "--seed", "2")
	var all []calibration
	require.NoError(t, json.Unmarshal(read(t, file), &all))
	require.Len(t, all, 3)
	assert.Equal(t, [3]string{"box pathwise", "sr4 diffpir", "blur diffpir"}, [3]string{all[0].Task + " " + all[0].Method, all[1].Task + " " + all[1].Method, all[2].Task + " " + all[2].Method})
	assert.Equal(t, [3]int{2, 3, 2 * 3 * 64 * 64}, [3]int{all[0].Pictures, all[0].Samples, all[0].Values})
	assert.Empty(t, all[1].Options)
	assert.Len(t, all[0].Held, 2)

	scaled := t.TempDir()
	code, stdout, stderr := tool(t.Context(), "restore", face, face2, "--task", "box", "--steps", "3", "--samples", "3", "--calibration", file, "--json", "--out", scaled)
	require.Zero(t, code, stderr)
	within := 0.0
	for _, line := range strings.Split(strings.TrimSpace(stdout), "\n") {
		var m manifest
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		assert.Equal(t, all[0].Factor, m.Certainty.Factor)
		within += *m.Certainty.Within / 2
	}
	assert.InDelta(t, .9, within, 1e-3)
	assert.Greater(t, within, .9)

	code, stdout, stderr = tool(t.Context(), "posterior", filepath.Join(out, "box"), "--calibration", file, "--out", scaled)
	require.Zero(t, code, stderr)
	assert.Contains(t, stdout, "90 %: 90.0 [")
	assert.Contains(t, stdout, "the factor was found on 2 of these pictures")
	code, stdout, stderr = tool(t.Context(), "posterior", scaled, "--out", scaled)
	require.Zero(t, code, stderr)
	assert.Contains(t, stdout, "90 %: 90.0 [")
	assert.Contains(t, stdout, "the factor was found on 2 of these pictures")

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"calibrate", dir, "--task", "matrix", "-o", file}, `--task is "matrix", known are sr4`},
		{[]string{"calibrate", dir, "--samples", "1", "-o", file}, "--samples is 1, at least 2"},
		{[]string{"calibrate", dir, "-o", face}, "is there and no calibration to add to"},
		{[]string{"calibrate", t.TempDir(), "-o", file}, "no pictures"},
		{[]string{"calibrate", dir, "--steps", "1", "-o", file, "--out", t.TempDir()}, "--steps is 1"},
		{[]string{"calibrate", dir, "--steps", "4", "--samples", "3", "--task", "box", "-o", file, "--out", out}, `was made with --steps "3", here it is "4"`},
		{[]string{"posterior", dir}, "holds no samples of pictures with their manifests"},
		{[]string{"posterior", out + "/box", "--calibration", face}, "is no calibration"},
		{[]string{"posterior", out + "/box", "--strata", "0"}, "--strata 0"},
		{[]string{"posterior", out + "/box", "--lpips-net", "vgg"}, "needs --lpips FILE"},
	} {
		code, _, stderr := tool(t.Context(), c.args...)
		assert.Equal(t, exitUsage, code, stderr)
		assert.Contains(t, stderr, c.want)
	}
	require.NoError(t, os.Truncate(filepath.Join(out, "box", "02.sample2.npy"), 50))
	code, _, stderr = tool(t.Context(), "posterior", filepath.Join(out, "box"))
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "02.sample2.npy not the file that was written")
}

// drawFolder writes what restore --samples would of Gaussian pictures, whose samples have another
// multiple of the truth's standard deviation.
func drawFolder(t *testing.T, spread float64) string {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(5, 0))
	out := outputFlags{out: dir}
	for k := range 6 {
		name := fmt.Sprintf("%02d", k)
		m := manifest{Command: "restore", Number: k + 1, Prior: "faces64", Results: map[string]string{}, Certainty: &certaintyOf{Samples: 4, Factor: 1, From: "none"},
			Options: map[string]string{"task": "sr4", "method": "dps", "steps": "3", "sigma-y": "0.05", "format": "png"}}
		files := []string{name + ".truth.npy", name + ".npy"}
		for k := 1; k < 4; k++ {
			files = append(files, sampleName(name, k)+".npy")
		}
		for i, file := range files {
			p := picture.Image{C: 3, H: 64, W: 64, Pix: make([]float32, 3*64*64)}
			for at := range p.Pix {
				p.Pix[at] = float32(.05 * float64(1+at%5) * rng.NormFloat64())
				if i > 0 {
					p.Pix[at] *= float32(spread)
				}
			}
			require.NoError(t, p.SaveNPY(filepath.Join(dir, file)))
		}
		c := restoreCommand()
		c.SetOut(new(strings.Builder))
		require.NoError(t, out.finish(c, m, name, files, nil))
	}
	return dir
}

// Exact samples are found exact by every measure; samples that are too narrow by every one too.
func TestPosterior(t *testing.T) {
	judge := func(spread float64) (found judged) {
		out := t.TempDir()
		code, stdout, stderr := tool(t.Context(), "posterior", drawFolder(t, spread), "--json", "--directions", "500", "--out", out)
		require.Zero(t, code, stderr)
		require.NoError(t, json.Unmarshal([]byte(stdout), &found))
		for _, plot := range []string{"ranks.svg", "coverage.svg"} {
			assert.Contains(t, string(read(t, out, plot)), "</svg>")
		}
		return found
	}
	exact, narrow := judge(1), judge(.6)
	assert.Equal(t, "sr4, dps, 3 steps, σ_y 0.05", exact.Run, "flags that the manifests lack have their defaults")
	assert.Equal(t, [2]int{6, 4}, [2]int{exact.Pictures, exact.Samples})
	assert.InDelta(t, 1, exact.Squared.Value, .02)
	assert.InDelta(t, 1, exact.Perceived.Value, .02)
	assert.InDelta(t, .5, exact.Coverage[0].Value, .01)
	assert.InDelta(t, .9, exact.Coverage[1].Value, .01)
	for _, s := range exact.Strata {
		assert.Len(t, s.Share, 2)
	}
	assert.InDelta(t, .4, exact.Extremes.Value, .05)
	assert.InDelta(t, .4, exact.Wanted, 1e-12)
	sum := 0
	for _, n := range exact.Ranks {
		sum += n
		assert.InDelta(t, 600, n, 120)
	}
	assert.Equal(t, 6*500, sum)
	assert.Less(t, *exact.Squared.Low, exact.Squared.Value)

	assert.Less(t, *narrow.Squared.High, .7)
	assert.Less(t, *narrow.Perceived.High, .95)
	assert.Less(t, narrow.Coverage[1].Value, .8)
	assert.Greater(t, narrow.Extremes.Value, .5)
	assert.Greater(t, narrow.Energy.Value, exact.Energy.Value)

	dir := drawFolder(t, 1)
	text := read(t, dir, "03.json")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "03.json"), []byte(strings.Replace(string(text), `"steps": "3"`, `"steps": "4"`, 1)), 0o644))
	code, _, stderr := tool(t.Context(), "posterior", dir)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "holds results of several runs")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "00.json"), []byte(strings.Replace(string(read(t, dir, "00.json")), `"00.truth.npy"`, `"00.other.npy"`, 1)), 0o644))
	require.NoError(t, os.Rename(filepath.Join(dir, "00.truth.npy"), filepath.Join(dir, "00.other.npy")))
	code, _, stderr = tool(t.Context(), "posterior", dir)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "00.json: the truth is not known")
}

// The built-in factors are of the priors that are built in, and found where no file is named.
func TestBuiltInCalibrations(t *testing.T) {
	all, err := readCalibrations(builtInCalibrations)
	require.NoError(t, err)
	assert.Len(t, all, 20, "both priors, five tasks, dps and pathwise")
	for i, one := range all {
		require.Contains(t, builtInHashes, one.Name)
		assert.Equal(t, builtInHashes[one.Name](), one.Prior, "%v: calibrate anew", one)
		found, ok, err := findCalibration(t.Context(), "", one)
		require.NoError(t, err)
		assert.True(t, ok)
		assert.Equal(t, all[i], found, "one of a kind")
	}
	code, stdout, stderr := tool(t.Context(), "restore", face, "--method", "pathwise", "--steps", "25", "--task", "box", "--samples", "2", "--out", t.TempDir())
	require.Zero(t, code, stderr)
	assert.Contains(t, stdout, "; intervals × 0.83, built in; ")
	assert.NotContains(t, stderr, "note: no factor")
}
