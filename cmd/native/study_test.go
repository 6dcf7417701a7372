package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/experiment"
	"github.com/cmi-diffusion/cmi/sdk/job"
)

// The signs' part tunes, reports and goes on; it refuses pictures that the tuning sees, and settings
// that are not those of the folder.
func TestStudy(t *testing.T) {
	out := t.TempDir()
	args := []string{"study", "--images", "../../testdata/faces", "--part", "signs", "--limit", "2", "--states", "2", "--methods", "dps", "--tasks", "sr4",
		"--tuning-tasks", "sr4", "--tuning-faces", "2", "--caps", "0.25", "--windows", "0.03", "--steps", "3", "--out", out}
	code, first, stderr := tool(t.Context(), args...)
	require.Zero(t, code, stderr)
	assert.Contains(t, stderr, "tuning: 12 runs")
	assert.Contains(t, stderr, "report: 16 runs")
	assert.Contains(t, first, "| `dps` | +∇I, at most 0.25 of the guidance, ᾱ ≥ 0.03 | −∇I, at most 0.25 of the guidance, ᾱ ≥ 0.03 |")
	for _, choice := range cmi.Choices {
		assert.Contains(t, first, "| sr4 | `dps` | "+string(choice)+" |")
	}
	text, err := os.ReadFile(filepath.Join(out, "signs.md"))
	require.NoError(t, err)
	assert.Equal(t, first, string(text)+"\n")

	results := filepath.Join(out, "report", "results.jsonl")
	whole, err := os.ReadFile(results)
	require.NoError(t, err)
	lines := strings.SplitAfter(string(whole), "\n")
	require.NoError(t, os.WriteFile(results, []byte(strings.Join(lines[:5], "")), 0o666)) // as a run that was stopped
	code, again, stderr := tool(t.Context(), args...)
	require.Zero(t, code, stderr)
	assert.Contains(t, stderr, "report: 16 runs")
	assert.Contains(t, stderr, "5 runs are there")
	assert.Equal(t, first, again)
	code, again, stderr = tool(t.Context(), append(args, "--report-only")...)
	require.Zero(t, code, stderr)
	assert.Equal(t, first, again)

	for says, more := range map[string][]string{
		"--steps":                       {"--steps", "4"},
		"is the built-in face 01.png":   {"--images", "../../examples/faces"},
		`--part is "all"`:               {"--part", "all"},
		"--states is 3, 2 to --limit 2": {"--states", "3"},
		"unknown method":                {"--methods", "ddrm"},
		"information term has nothing":  {"--methods", "daps"},
		"positive numbers are wanted":   {"--caps", "0"},
		"--tuning-faces is 9":           {"--tuning-faces", "9"},
	} {
		code, _, stderr := tool(t.Context(), append(args, more...)...)
		assert.NotZero(t, code, says)
		if says == "--steps" {
			says = "other settings: steps is 3 there and 4 here"
		}
		assert.Contains(t, stderr, says)
	}
}

// Lines that a stopped run has written are not computed again; a half one is cut; other settings are
// refused.
func TestStudyLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.jsonl")
	settings := experiment.Settings{"seed": "1"}
	l, err := openLines[float64](path, settings)
	require.NoError(t, err)
	require.NoError(t, l.add("a", 1.5))
	require.NoError(t, l.file.Close())
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString(`{"key":"b","row":`)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	l, err = openLines[float64](path, settings)
	require.NoError(t, err)
	assert.Equal(t, map[string]float64{"a": 1.5}, l.done)
	require.NoError(t, l.add("b", 2))
	require.NoError(t, l.file.Close())
	l, err = openLines[float64](path, settings)
	require.NoError(t, err)
	assert.Equal(t, map[string]float64{"a": 1.5, "b": 2}, l.done)
	require.NoError(t, l.file.Close())
	_, err = openLines[float64](path, experiment.Settings{"seed": "2"})
	assert.ErrorContains(t, err, "results of other settings")
}

// The parts on states run on the built-in prior and on mixtures, and go on.
func TestStudyStates(t *testing.T) {
	if testing.Short() {
		t.Skip("minutes of one core")
	}
	out := t.TempDir()
	args := []string{"study", "--images", "../../testdata/faces", "--part", "why", "--mixtures", "2", "--limit", "2", "--states", "2", "--methods", "dps", "--steps", "3", "--out", out}
	code, first, stderr := tool(t.Context(), args...)
	require.Zero(t, code, stderr)
	assert.Contains(t, first, "| mixture | mixture | true | ")
	assert.Contains(t, first, "| learned | box | dps | ")
	assert.NotContains(t, first, "NaN")
	code, again, stderr := tool(t.Context(), args...)
	require.Zero(t, code, stderr)
	assert.Equal(t, first, again)
}

// A choice may stand behind --cmi as a word of its own, and says itself in the manifest and the
// progress; it and the weights that it sets exclude each other.
func TestChoiceFlag(t *testing.T) {
	assert.Equal(t, []string{"restore", "--cmi=spread", "a.png", "--cmi", "b.png", "--cmi"}, joinChoice([]string{"restore", "--cmi", "spread", "a.png", "--cmi", "b.png", "--cmi"}))
	assert.Equal(t, []string{"--", "--cmi", "off"}, joinChoice([]string{"--", "--cmi", "off"}))
	face := "../../examples/faces/01.png"
	for _, one := range []struct {
		args []string
		is   string
	}{
		{[]string{"--cmi", "spread"}, "spread"}, {[]string{"--cmi=paper"}, "paper"}, {[]string{"--cmi"}, "fidelity"},
		{[]string{"--cmi", "--eta", "-1"}, "custom"}, {[]string{"--cmi", "off"}, "false"}, {nil, "false"},
	} {
		out := t.TempDir()
		code, _, stderr := tool(t.Context(), append([]string{"restore", face, "--steps", "2", "--out", out}, one.args...)...)
		require.Zero(t, code, stderr)
		m, err := readManifest(filepath.Join(out, "01.json"))
		require.NoError(t, err)
		assert.Equal(t, one.is, m.Options["cmi"], one.args)
	}
	spec := job.Default()
	assert.Equal(t, "dps", armName(spec))
	spec.CMI.On = true
	assert.Equal(t, "dps+cmi (fidelity)", armName(spec))
	for says, args := range map[string][]string{
		"--eta and --cmi=paper: the choice sets it":               {"--cmi=paper", "--eta", "2"},
		"--trust-guidance and --cmi=spread: the choice sets it":   {"--cmi=spread", "--trust-guidance", "2"},
		`--cmi "sharp": paper, fidelity, spread or off is wanted`: {"--cmi=sharp"},
	} {
		code, _, stderr := tool(t.Context(), append([]string{"restore", face}, args...)...)
		assert.Equal(t, exitUsage, code)
		assert.Contains(t, stderr, says)
	}
}
