package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/experiment"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// Results are replaced only where that is asked for; --skip-existing goes on after a stop, and
// only with the same options; two runs don't share a folder.
func TestExistingResults(t *testing.T) {
	out, other := t.TempDir(), filepath.Join(t.TempDir(), "02.png")
	copyFile(t, "../../examples/faces/02.png", other)
	restore := func(args ...string) (int, string, string) {
		return tool(t.Context(), append([]string{"restore", "--steps", "2", "--out", out}, args...)...)
	}
	code, stdout, stderr := restore(face)
	require.Zero(t, code, stderr)
	assert.Regexp(t, `^01: PSNR [\d.]+ dB  [\d.]+\npicture: `, stdout)
	first, err := os.Stat(filepath.Join(out, "01.png"))
	require.NoError(t, err)

	code, _, stderr = restore(face)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "01.json is there already: --force replaces it, --skip-existing")
	code, _, stderr = restore(face, "--skip-existing", "--task", "blur")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, `was made with --task "sr4", here it is "blur"`)

	require.NoError(t, os.Remove(filepath.Join(out, "01.json"))) // stopped before the manifest
	code, stdout, stderr = restore(face, other, "--skip-existing")
	require.Zero(t, code, stderr)
	assert.Contains(t, stdout, "01: PSNR")
	code, stdout, stderr = restore(face, other, "--skip-existing")
	require.Zero(t, code, stderr)
	assert.Contains(t, stdout, "all 2 results are in")
	require.NoError(t, os.Truncate(filepath.Join(out, "01.png"), 20)) // damaged
	code, stdout, stderr = restore(face, other, "--skip-existing", "--json")
	require.Zero(t, code, stderr)
	var only manifest
	require.NoError(t, json.Unmarshal([]byte(stdout), &only), "--json prints nothing else: %s", stdout)
	assert.Equal(t, 1, only.Number)
	code, _, stderr = restore(other, "--skip-existing")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, `the picture's number "2", here it is "1"`)
	namesake := filepath.Join(t.TempDir(), "01.png")
	copyFile(t, other, namesake)
	code, _, stderr = restore(namesake, "--skip-existing")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "01.json was made with the input")
	code, _, stderr = restore(face, "--force")
	require.Zero(t, code, stderr)
	again, err := os.Stat(filepath.Join(out, "01.png"))
	require.NoError(t, err)
	assert.False(t, os.SameFile(first, again))

	unlock, err := experiment.Lock(filepath.Join(out, ".lock"))
	require.NoError(t, err)
	code, _, stderr = restore(face, "--force")
	unlock()
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "is in use by another run")

	third := "../../examples/faces/03.png"
	grid := filepath.Join(out, "restored.png")
	drawn, err := os.ReadFile(grid)
	require.NoError(t, err)
	code, _, stderr = restore(third)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "restored.png is there already: --force replaces it")
	code, stdout, stderr = restore(third, "--skip-existing")
	require.Zero(t, code, stderr)
	assert.Contains(t, stdout, "restored.png is left as it was")
	same, err := os.ReadFile(grid)
	require.NoError(t, err)
	assert.Equal(t, drawn, same)
	require.NoError(t, os.Remove(grid))

	victim := writeFile(t, "victim", []byte("precious"))
	require.NoError(t, os.Link(victim, filepath.Join(out, "steps.jsonl")))
	code, _, stderr = restore("../../examples/faces/04.png", "--diagnostics")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "steps.jsonl is there already: --force replaces it")
	code, _, stderr = restore(face, "--force", "--diagnostics")
	require.Zero(t, code, stderr)
	require.NoError(t, os.Remove(filepath.Join(out, "steps.jsonl")))
	require.NoError(t, os.Symlink(victim, filepath.Join(out, "steps.jsonl")))
	code, _, stderr = restore(face, "--force", "--diagnostics")
	assert.NotZero(t, code)
	assert.Contains(t, stderr, "steps.jsonl is there and no plain file")
	kept, err := os.ReadFile(victim)
	require.NoError(t, err)
	assert.Equal(t, "precious", string(kept))

	missing := filepath.Join(t.TempDir(), "missing")
	require.NoError(t, os.Remove(filepath.Join(out, ".lock")))
	require.NoError(t, os.Symlink(missing, filepath.Join(out, ".lock")))
	code, _, stderr = restore(face, "--force")
	assert.NotZero(t, code)
	assert.Contains(t, stderr, ".lock is there and no plain file")
	assert.NoFileExists(t, missing)
}

// The grid of an earlier draw stays, too.
func TestExistingSamples(t *testing.T) {
	out := t.TempDir()
	sample := func(args ...string) (int, string, string) {
		return tool(t.Context(), append([]string{"sample", "--count", "1", "--steps", "2", "--out", out}, args...)...)
	}
	require.NoError(t, os.WriteFile(filepath.Join(out, "samples.png"), []byte("precious"), 0o600))
	code, _, stderr := sample()
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "samples.png is there already: --force replaces it")
	code, stdout, stderr := sample("--skip-existing")
	require.Zero(t, code, stderr)
	assert.Contains(t, stdout, "samples.png is left as it was")
	code, _, stderr = sample("--force")
	require.Zero(t, code, stderr)
	drawn, err := os.ReadFile(filepath.Join(out, "samples.png"))
	require.NoError(t, err)
	assert.NotEqual(t, "precious", string(drawn))
}

// A manifest makes its result again, to the byte; inputs that were changed are refused.
func TestRerun(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	input := filepath.Join(dir, "a.png")
	copyFile(t, face, input)
	code, stdout, stderr := tool(t.Context(), "restore", "../../examples/faces/02.png", input, "--task", "inpaint", "--steps", "2", "--seed", "9", "--cmi", "--window-from", "0.01", "--json", "--out", out)
	require.Zero(t, code, stderr)
	var m manifest
	line, _, _ := strings.Cut(stdout, "\n")
	require.NoError(t, json.Unmarshal([]byte(line), &m))
	assert.Equal(t, "restore", m.Command)
	assert.Equal(t, "9", m.Options["seed"])
	assert.Equal(t, "beta", m.Options["weighting"])
	assert.NotNil(t, m.PSNR)
	assert.Len(t, m.Results, 4)

	path := filepath.Join(out, "a.json")
	code, stdout, stderr = tool(t.Context(), "rerun", path, "--out", filepath.Join(dir, "again"))
	require.Zero(t, code, stderr)
	assert.Contains(t, stdout, "the same bytes: a.mask.png, a.measurement.npy, a.measurement.png, a.png")

	code, _, stderr = tool(t.Context(), "rerun", path, "--out", filepath.Join(dir, "again"))
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "--force replaces it")
	code, _, stderr = tool(t.Context(), "rerun", path, "--force", "--log", "json", "--out", filepath.Join(dir, "again"))
	require.Zero(t, code, stderr)
	code, _, stderr = tool(t.Context(), "rerun", path, "--force", "--out", out)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "holds the results to compare with")

	text, err := os.ReadFile(path)
	require.NoError(t, err)
	other := writeFile(t, "other.json", bytes.Replace(text, []byte(`"seed": "9"`), []byte(`"seed": "8"`), 1))
	code, _, stderr = tool(t.Context(), "rerun", other, "--out", filepath.Join(dir, "third"))
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "a.png differ from those of")
	copyFile(t, "../../examples/faces/03.png", input)
	code, _, stderr = tool(t.Context(), "rerun", path, "--out", filepath.Join(dir, "fourth"))
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "is not the file that it was")
	code, _, stderr = tool(t.Context(), "rerun", face)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "is no manifest")

	demo := writeFile(t, "demo.json", bytes.Replace(text, []byte(`"command": "restore"`), []byte(`"command": "demo"`), 1))
	code, _, stderr = tool(t.Context(), "rerun", demo)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, `its command is "demo", restore or sample is wanted`)

	samples := t.TempDir()
	code, _, stderr = tool(t.Context(), "sample", "--count", "2", "--steps", "2", "--out", samples)
	require.Zero(t, code, stderr)
	code, stdout, stderr = tool(t.Context(), "rerun", filepath.Join(samples, "sample002.json"), "--out", filepath.Join(dir, "sample"))
	require.Zero(t, code, stderr)
	assert.Contains(t, stdout, "the same bytes: sample002.png")
}

// A manifest has the hashes of the files that the operator was made from, and rerun and
// --skip-existing refuse other ones.
func TestRerunInputs(t *testing.T) {
	masks := t.TempDir()
	copyFile(t, grey(t, 64, 64), filepath.Join(masks, "01.png"))
	copyFile(t, grey(t, 64, 64), filepath.Join(masks, "02.png"))
	kernel := filepath.Join(t.TempDir(), "kernel.png")
	copyFile(t, grey(t, 5, 5), kernel)
	matrix := filepath.Join(t.TempDir(), "A.npy")
	a := make([]float32, 2*64*64)
	a[0], a[64*64+1] = 1, 1
	require.NoError(t, picture.SaveNPY(matrix, a, 2, 64*64))
	for _, c := range []struct{ flag, value, file, task string }{
		{"mask", masks, filepath.Join(masks, "01.png"), "mask"}, {"kernel", kernel, kernel, "kernel"}, {"operator", matrix, matrix, "matrix"},
	} {
		out, again := t.TempDir(), filepath.Join(t.TempDir(), "again")
		restore := []string{"restore", face, "--task", c.task, "--" + c.flag, c.value, "--steps", "2", "--out", out}
		code, _, stderr := tool(t.Context(), restore...)
		require.Zero(t, code, stderr)
		path := filepath.Join(out, "01.json")
		code, _, stderr = tool(t.Context(), "rerun", path, "--out", again)
		require.Zero(t, code, stderr)

		require.NoError(t, os.WriteFile(c.file, []byte("another"), 0o644))
		code, _, stderr = tool(t.Context(), "rerun", path, "--force", "--out", again)
		assert.Equal(t, exitUsage, code)
		assert.Contains(t, stderr, "its --"+c.flag+" "+c.file+" is not the file that it was")
		code, _, stderr = tool(t.Context(), append(restore, "--skip-existing")...)
		assert.Equal(t, exitUsage, code)
		assert.Contains(t, stderr, "was made with another file than --"+c.flag+" "+c.value)
	}
}

// What came from standard input is not kept: such a result can't be made again, nor left out for
// another input, which may be any.
func TestStandardInputIsNotKept(t *testing.T) {
	out := t.TempDir()
	restore := func(args ...string) (int, string, string) {
		input, err := os.Open(face)
		require.NoError(t, err)
		defer input.Close()
		before := os.Stdin
		os.Stdin = input
		defer func() { os.Stdin = before }()
		return tool(t.Context(), append([]string{"restore", "-", "--steps", "2", "--out", out}, args...)...)
	}
	code, _, stderr := restore("--skip-existing")
	require.Zero(t, code, stderr)
	code, _, stderr = restore("--skip-existing")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "--skip-existing can't tell whether it is of this input")
	code, _, stderr = tool(t.Context(), "rerun", filepath.Join(out, "stdin.json"), "--out", t.TempDir())
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "which is not kept: restore it from a file")
}

// A log of JSON has an object a line; a quiet run none of progress.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	m := &messages{to: &log, json: true}
	p := newProgress(m, 40)
	p.next = p.start
	p.run("face dps")(10)
	_, err := m.Write([]byte("a message\n"))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	require.Len(t, lines, 2)
	var first, second line
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &first))
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &second))
	assert.Equal(t, []any{"face dps", 10, 40, "a message"}, []any{first.Run, first.Passes, first.Of, second.Message})

	log.Reset()
	p = newProgress(&messages{to: &log, quiet: true}, 40)
	p.next = p.start
	p.run("face dps")(10)
	assert.Empty(t, log.String())

	code, _, stderr := tool(t.Context(), "info", "--log", "xml")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, `--log is "xml", text or json is wanted`)
	code, _, stderr = tool(t.Context(), "restore", "none.png", "--log", "json")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, `"message":"cmi-native: stat none.png`)
}
