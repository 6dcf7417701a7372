package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/experiment"
)

// With this in the environment the test binary is the tool: a process to be killed.
const asTool = "CMI_NATIVE_AS_TOOL"

func init() {
	if os.Getenv(asTool) != "" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
}

// tiny returns an experiment of 16 runs, with one task that has two forms of methods.
func tiny(out string, more ...string) []string {
	return append([]string{"eval", "--limit", "2", "--steps", "3", "--tasks", "sr4,box", "--methods", "dps,pigdm", "--out", out}, more...)
}

func evalTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" || d.Name() == "timings.jsonl" {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(data)
		return err
	}))
	return files
}

func sameResults(t *testing.T, want map[string]string, dir string) {
	t.Helper()
	got := evalTree(t, dir)
	assert.Equal(t, len(want), len(got))
	for name, data := range want {
		assert.True(t, data == got[name], "%s differs", name)
	}
}

func TestEval(t *testing.T) {
	dir := t.TempDir()
	code, stdout, stderr := tool(context.Background(), tiny(dir)...)
	require.Zero(t, code, stderr)
	files := evalTree(t, dir)
	t.Run("results", func(t *testing.T) { evalResults(t, dir, stdout, files) })
	t.Run("killed", func(t *testing.T) { evalKilled(t, files) })
	t.Run("killed in batches", func(t *testing.T) { evalKilled(t, files, "--batch", "2") })
	t.Run("interrupted", func(t *testing.T) { evalInterrupted(t, files) })
	t.Run("one arm", func(t *testing.T) {
		code, stdout, stderr := tool(context.Background(), "eval", "--limit", "2", "--steps", "3", "--cmi", "on", "--tasks", "box", "--methods", "dps", "--out", t.TempDir())
		require.Zero(t, code, stderr)
		assert.NotContains(t, stdout, "changes")
		for _, line := range strings.Split(files["table.md"], "\n") { // the same as in the larger experiment
			if strings.HasPrefix(line, "| CMI+DPS") {
				entry := strings.TrimSpace(strings.Split(line, "|")[3])
				assert.Contains(t, stdout, entry)
				break
			}
		}
	})
}

func evalResults(t *testing.T, dir, stdout string, files map[string]string) {
	assert.Contains(t, stdout, "CMI+ΠGDM")
	assert.Contains(t, stdout, filepath.Join(dir, "report.html"))
	for _, name := range []string{"settings.json", "table.md", "table.csv", "report.html", "report/sr4.png", "images/truth/01.png", "images/box/measurement/02.png", "images/sr4/pigdm+cmi/02.png"} {
		assert.Contains(t, files, name)
	}
	assert.NotContains(t, files["table.md"], "(paper)")
	var made manifest
	require.NoError(t, json.Unmarshal([]byte(files["runs.jsonl"]), &made), "one line for all runs of one version, device and options")
	assert.Equal(t, []string{"eval", version(), "faces64", "3"}, []string{made.Command, made.Version, made.Prior, made.Options["steps"]})
	assert.Contains(t, made.Device, "cpu: ")
	lines := bufio.NewScanner(strings.NewReader(files["results.jsonl"]))
	count, psnr := 0, 0.0
	for ; lines.Scan(); count++ {
		var r experiment.Result
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r))
		assert.Equal(t, "lpips-like (SqueezeNet v1.1)", r.LPIPSName)
		assert.Len(t, r.Residual, 3)
		if r.Cell == (experiment.Cell{Task: "sr4", Method: "dps"}) {
			psnr += *r.PSNR / 2
		}
	}
	assert.Equal(t, 16, count)

	// metrics finds the same in the folders.
	code, out, stderr := tool(context.Background(), "metrics", filepath.Join(dir, "images/sr4/dps"), filepath.Join(dir, "images/truth"), "--json")
	require.Zero(t, code, stderr)
	var compared report
	require.NoError(t, json.Unmarshal([]byte(out), &compared))
	assert.InDelta(t, psnr, *compared.Mean.PSNR, 1e-9)

	// The same command again runs nothing; other settings are refused, by name.
	require.NoError(t, os.Remove(filepath.Join(dir, "table.md")))
	code, again, stderr := tool(context.Background(), tiny(dir, "--report-only")...)
	require.Zero(t, code, stderr)
	assert.Equal(t, stdout, again)
	assert.Equal(t, files, evalTree(t, dir))
	code, _, stderr = tool(context.Background(), tiny(dir, "--fallback", "cpu", "--quiet", "--log", "json")...) // may come later
	assert.Zero(t, code, stderr)
	for flag, value := range map[string]string{"--seed": "2", "--eta": "1", "--limit": "1", "--cmi": "on", "--samples": "2"} {
		code, _, stderr := tool(context.Background(), tiny(dir, flag, value)...)
		assert.Equal(t, exitUsage, code)
		if flag == "--limit" {
			flag = "pictures"
		}
		assert.Contains(t, stderr, flag+" is ")
	}
	assert.Equal(t, files, evalTree(t, dir))

	// What is damaged in a finished folder is said and mended.
	require.NoError(t, os.Remove(filepath.Join(dir, "images/truth/01.png")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "results.jsonl"), []byte("junk\n"+files["results.jsonl"]), 0o644))
	code, _, stderr = tool(context.Background(), tiny(dir)...)
	require.Zero(t, code, stderr)
	assert.Contains(t, stderr, "1 finished result(s) are damaged and are computed again; the first: "+filepath.Join(dir, "results.jsonl")+", line 1: ")
	assert.Contains(t, stderr, "1 truth(s) or measurement(s) are damaged and are written again; the first: open "+filepath.Join(dir, "images/truth/01.png"))
	require.NoError(t, os.Remove(filepath.Join(dir, "results.jsonl.damaged")))
	require.NoError(t, os.Remove(filepath.Join(dir, "images/truth/01.png")))
	code, _, stderr = tool(context.Background(), tiny(dir)...)
	require.Zero(t, code, stderr)
	assert.Equal(t, files, evalTree(t, dir))
}

// SIGKILL in mid-run, twice, then one picture at a time: the same bytes as without.
func evalKilled(t *testing.T, want map[string]string, more ...string) {
	dir := filepath.Join(t.TempDir(), "out")
	self, err := os.Executable()
	require.NoError(t, err)
	for _, lines := range []int{1, 6} {
		c := exec.Command(self, tiny(dir, more...)...)
		c.Env = append(os.Environ(), asTool+"=1")
		var stderr bytes.Buffer
		c.Stderr = &stderr
		require.NoError(t, c.Start())
		deadline := time.Now().Add(time.Minute)
		for {
			data, _ := os.ReadFile(filepath.Join(dir, "results.jsonl"))
			if bytes.Count(data, []byte("\n")) >= lines {
				break
			}
			require.True(t, time.Now().Before(deadline), "no result: %s", &stderr) // which is read where there is none only
			time.Sleep(time.Millisecond)
		}
		require.NoError(t, c.Process.Kill())
		assert.Error(t, c.Wait())
	}
	before, err := os.ReadFile(filepath.Join(dir, "results.jsonl"))
	require.NoError(t, err)
	require.Less(t, bytes.Count(before, []byte("\n")), 16, "killed in mid-run")
	code, _, stderr := tool(context.Background(), tiny(dir)...)
	require.Zero(t, code, stderr)
	sameResults(t, want, dir)
}

// Ctrl-C exits 130; the same command goes on.
func evalInterrupted(t *testing.T, want map[string]string) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for { // as soon as there is a result
			if info, err := os.Stat(filepath.Join(dir, "results.jsonl")); err == nil && info.Size() > 0 {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	code, _, stderr := tool(ctx, tiny(dir)...)
	assert.Equal(t, exitInterrupted, code, stderr)
	code, _, stderr = tool(context.Background(), tiny(dir)...)
	require.Zero(t, code, stderr)
	sameResults(t, want, dir)
}

// What was measured to do harm is said once, before the work.
func TestEvalCautions(t *testing.T) {
	for arms, times := range map[string]int{"fidelity": 1, "off,fidelity,paper": 2, "on": 0} {
		code, _, stderr := tool(context.Background(), "eval", "--estimate", "--methods", "dps,pathwise-mean", "--tasks", "sr4,box", "--limit", "3", "--cmi", arms)
		require.Zero(t, code, stderr)
		assert.Equal(t, times, strings.Count(stderr, "note: the information term's choice"), "%s: %s", arms, stderr)
	}
}

func TestEvalEstimate(t *testing.T) {
	code, stdout, stderr := tool(context.Background(), "eval", "--estimate", "--methods", "dps", "--limit", "3")
	require.Zero(t, code, stderr)
	assert.Contains(t, stdout, "CMI+DPS")
	assert.Regexp(t, `3 images × 5 tasks × 1 methods × 2 arm\(s\): .* passes, .* hours`, stdout)
}

// Bad input is found before any work, and leaves no file.
func TestEvalBadInput(t *testing.T) {
	told := writeFile(t, "config.json", []byte(`{"num_head_channels": 32, "image_size": 16, "use_new_attention_order": false, "noise_schedule": "linear", "diffusion_steps": 1000}`))
	notPictures, mixed := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(mixed, "a.png"), []byte("no picture"), 0o644))
	for name, c := range map[string]struct{ args, want []string }{
		"preset":           {[]string{"--preset", "paper"}, []string{"paper", "paper-ffhq"}},
		"task":             {[]string{"--tasks", "sr4,sharpen"}, []string{"sharpen", "sr4", "all"}},
		"a file's task":    {[]string{"--tasks", "mask"}, []string{"mask"}},
		"a nonlinear task": {[]string{"--tasks", "phase"}, []string{"phase", "known are all, s"}},
		"ddim":             {[]string{"--ddim", "NaN"}, []string{"--ddim is NaN"}},
		"method":           {[]string{"--methods", "dps,magic"}, []string{"magic", "dsg"}},
		"twice":            {[]string{"--methods", "dps,dps"}, []string{"dps", "twice"}},
		"arms":             {[]string{"--cmi", "maybe"}, []string{"maybe", "both"}},
		"samples":          {[]string{"--samples", "3"}, []string{"3 samples"}},
		"limit":            {[]string{"--limit", "9"}, []string{"9", "8"}},
		"batch":            {[]string{"--batch", "0"}, []string{"--batch is 0"}},
		"steps":            {[]string{"--steps", "2000"}, []string{"2000", "1000"}},
		"noise":            {[]string{"--sigma-y", "0"}, []string{"--sigma-y"}},
		"scale":            {[]string{"--scale", "2"}, []string{"--scale", "--methods"}},
		"no folder":        {[]string{"--images", "none"}, []string{"none"}},
		"no pictures":      {[]string{"--images", notPictures}, []string{notPictures}},
		"bad picture":      {[]string{"--images", mixed}, []string{"a.png"}},
		"no prior":         {[]string{"--preset", "paper-ffhq"}, []string{"--prior", "ffhq_10m.pt"}},
		"no prior 2":       {[]string{"--preset", "paper-imagenet"}, []string{"256x256_diffusion_uncond.pt"}},
		"no images":        {[]string{"--preset", "paper-ffhq", "--prior", "x.pt"}, []string{"--images"}},
		"no photographs":   {[]string{"--preset", "photos64"}, []string{"--images"}},
		"missing prior":    {[]string{"--preset", "paper-ffhq", "--prior", "x.pt", "--images", "../../testdata/faces"}, []string{"x.pt"}},
		"another prior":    {[]string{"--prior", "../../testdata/golden/tiny16/model.pt", "--prior-config", told}, []string{"16×16", "64×64"}},
		"lpips":            {[]string{"--lpips-net", "vgg"}, []string{"--lpips"}},
		"lpips file":       {[]string{"--lpips", "vgg16.pth"}, []string{"vgg16.pth"}},
		"statistics":       {[]string{"--statistics", "none.npz"}, []string{"none.npz"}},
		"nothing finished": {[]string{"--report-only"}, []string{"holds no results"}},
		"argument":         {[]string{"faces"}, []string{"faces"}},
	} {
		t.Run(name, func(t *testing.T) { refusedByEval(t, c.args, c.want) })
	}
}

// refusedByEval says that eval refuses flags before any work, in one line that says all that is wanted.
func refusedByEval(t *testing.T, args, want []string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	code, stdout, stderr := tool(context.Background(), append([]string{"eval", "--out", out}, args...)...)
	assert.Equal(t, exitUsage, code, stderr)
	assert.Empty(t, stdout)
	assert.Equal(t, 1, strings.Count(stderr, "\n"), "one line: %q", stderr)
	for _, w := range want {
		assert.Contains(t, stderr, w)
	}
	assert.NoDirExists(t, out)
}
