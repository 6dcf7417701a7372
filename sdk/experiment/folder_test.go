package experiment

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
)

func TestJobsAreTheWholeGrid(t *testing.T) {
	seen := map[Job]bool{}
	image := 0
	for k := range small.Len() {
		j := small.Job(k)
		assert.False(t, seen[j], "%v twice", j)
		seen[j] = true
		assert.GreaterOrEqual(t, j.Image, image, "pictures are the outermost loop")
		image = j.Image
		assert.Equal(t, small.Names[j.Image], j.Name)
		assert.Contains(t, small.Cells(), j.Cell)
		assert.Contains(t, []int{1, 2}, j.Sample)
	}
	assert.Len(t, seen, 2*2*2*2*2)
}

func TestValidate(t *testing.T) {
	require.NoError(t, small.Validate())
	for want, change := range map[string]func(*Grid){
		"no task":        func(g *Grid) { g.Tasks = nil },
		`"dps" is named`: func(g *Grid) { g.Methods = []string{"dps", "dps"} },
		"no picture":     func(g *Grid) { g.Names = nil },
		"named twice":    func(g *Grid) { g.CMI = []Term{With, With} },
		"3 samples":      func(g *Grid) { g.Samples = 3 },
		"0 samples":      func(g *Grid) { g.Samples = 0 },
		`"x" is named`:   func(g *Grid) { g.Names = []string{"x", "y", "x"} },
		"no arm":         func(g *Grid) { g.CMI = nil },
	} {
		g := small
		change(&g)
		assert.ErrorContains(t, g.Validate(), want)
		_, err := Open(filepath.Join(t.TempDir(), "new"), settings, g)
		assert.ErrorContains(t, err, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	f, err := Open(dir, settings, small)
	require.NoError(t, err)

	_, err = Open(dir, settings, small)
	assert.ErrorContains(t, err, "in use")

	barred := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(barred, ".lock"), 0o755))
	_, err = Open(barred, settings, small)
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "in use")
	require.NoError(t, f.Close())

	_, err = Open(dir, Settings{"--steps": "3", "--seed": "3"}, small)
	assert.ErrorContains(t, err, "--steps is 2 there and 3 here")
	_, err = Open(dir, Settings{"--steps": "2", "--seed": "3", "--eta": "1"}, small)
	assert.ErrorContains(t, err, "--eta is not set there and 1 here")

	lines := filepath.Join(dir, "results.jsonl")
	foreign := `{"task":"box","method":"dps","cmi":false,"image":"z","sample":1}` + "\n"
	require.NoError(t, os.WriteFile(lines, []byte(foreign), 0o644))
	_, err = Open(dir, settings, small)
	assert.ErrorContains(t, err, "box dps z")
	require.NoError(t, os.WriteFile(lines, []byte("{}}\n"+foreign), 0o644))
	_, err = Open(dir, settings, small)
	assert.ErrorContains(t, err, "box dps z")
	unsigned := `{"task":"box","method":"dps","cmi":false,"image":"a","sample":1}` + "\n"
	for text, want := range map[string]string{unsigned: "was changed since", string(line(t, small.Job(0))): "a.png"} {
		require.NoError(t, os.WriteFile(lines, []byte(text), 0o644))
		f, err = Open(dir, settings, small)
		require.NoError(t, err)
		assert.Zero(t, f.Done())
		require.Len(t, f.Damaged(), 1)
		assert.Contains(t, f.Damaged()[0], want)
		require.NoError(t, f.Close())
	}

	require.NoError(t, os.Remove(filepath.Join(dir, "settings.json")))
	_, err = Open(dir, settings, small)
	assert.ErrorContains(t, err, "without settings.json")
	_, err = OpenFinished(t.TempDir(), settings, small)
	assert.ErrorContains(t, err, "holds no results")
	_, err = Open(filepath.Join(lines, "x"), settings, small)
	assert.Error(t, err)
}

// Whatever a power cut left in the last line is written again.
func TestBrokenLastLine(t *testing.T) {
	r, dir := runner(t), t.TempDir()
	complete(t, r, dir)
	want := tree(t, dir)
	path := filepath.Join(dir, "results.jsonl")
	data := []byte(want["results.jsonl"])
	for i := len(data) - 300; i < len(data)-1; i++ {
		data[i] = 0
	}
	require.NoError(t, os.WriteFile(path, data, 0o644))
	f, err := Open(dir, settings, small)
	require.NoError(t, err)
	assert.Equal(t, small.Len()-1, f.Done())
	require.NoError(t, r.Run(context.Background(), f))
	require.NoError(t, f.Close())
	same(t, want, tree(t, dir))
}

// What was changed since it was written is computed again, and nothing else: pictures that are
// gone, cut short or swapped, numbers that were edited.
func TestDamagedResults(t *testing.T) {
	r, dir := runner(t), t.TempDir()
	complete(t, r, dir)
	want := tree(t, dir)
	first, other := small.Job(1).picturePath(), small.Job(2).picturePath()
	for name, damage := range map[string]func() error{
		"gone":    func() error { return os.Remove(filepath.Join(dir, first)) },
		"cut":     func() error { return os.Truncate(filepath.Join(dir, first), 20) },
		"swapped": func() error { return os.WriteFile(filepath.Join(dir, first), []byte(want[other]), 0o644) },
		"without check": func() error {
			lines := strings.SplitAfter(want["results.jsonl"], "\n")
			lines[1] = regexp.MustCompile(`,"check":"\w+"`).ReplaceAllString(lines[1], "")
			return os.WriteFile(filepath.Join(dir, "results.jsonl"), []byte(strings.Join(lines, "")), 0o644)
		},
		"edited": func() error {
			lines := strings.SplitAfter(want["results.jsonl"], "\n")
			lines[1] = strings.Replace(lines[1], `"ssim":0.`, `"ssim":0.9`, 1)
			return os.WriteFile(filepath.Join(dir, "results.jsonl"), []byte(strings.Join(lines, "")), 0o644)
		},
	} {
		require.NoError(t, damage(), name)
		f, err := Open(dir, settings, small)
		require.NoError(t, err, name)
		assert.Len(t, f.Damaged(), 1, name)
		assert.Equal(t, 1, f.Done(), name)
		computed := 0
		r.OnStep = func(Job, sdk.Progress) { computed++ }
		require.NoError(t, r.Run(context.Background(), f), name)
		require.NoError(t, f.Close())
		assert.Equal(t, 2, computed, "%s: steps of one job", name)
		same(t, want, tree(t, dir))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "results.jsonl"), []byte(strings.Replace(want["results.jsonl"], `"mse":0.`, `"mse":0.0`, 1)), 0o644))
	_, err := OpenFinished(dir, settings, small)
	require.ErrorContains(t, err, "was changed since it was written")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "results.jsonl"), []byte(want["results.jsonl"]), 0o644))
	restored := filepath.Join(dir, small.Job(1).picturePath())
	require.NoError(t, os.Truncate(restored, 20))
	_, err = OpenFinished(dir, settings, small)
	require.ErrorContains(t, err, restored+" is not the picture that was written")
}

// Lines that are no results are computed again, wherever they stand and however many they were,
// and the file stays beside them as it was.
func TestUnreadableLines(t *testing.T) {
	r, dir := runner(t), t.TempDir()
	complete(t, r, dir)
	want := tree(t, dir)
	lines := strings.SplitAfter(want["results.jsonl"], "\n")
	last := len(lines) - 2
	for name, c := range map[string]struct {
		damage           func(lines []string)
		damaged, compute int
	}{
		"replaced":    {func(l []string) { l[1], l[4] = "junk\n", "{}\n" }, 2, 2},
		"inserted":    {func(l []string) { l[1] = "\n" + l[1] }, 1, 0},
		"joined":      {func(l []string) { l[2] = strings.TrimSuffix(l[2], "\n") }, 1, 2},
		"at the end":  {func(l []string) { l[last-1], l[last] = "junk\n", "junk\n" }, 1, 2}, // the last one may be a killed run's
		"behind all":  {func(l []string) { l[last] += "junk\njunk\n" }, 1, 0},
		"all of them": {func(l []string) { clear(l); l[0] = "junk\njunk\n" }, 1, small.Len()},
	} {
		text := slices.Clone(lines)
		c.damage(text)
		results := []byte(strings.Join(text, ""))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "results.jsonl"), results, 0o644), name)
		f, err := Open(dir, settings, small)
		require.NoError(t, err, name)
		assert.Len(t, f.Damaged(), c.damaged, name)
		assert.Contains(t, f.Damaged()[0], "results.jsonl, line ", name)
		computed := 0
		r.OnDone = func(Job) { computed++ }
		done, intact := f.Done(), len(f.intact)
		require.NoError(t, r.Run(context.Background(), f), name)
		require.NoError(t, f.Close())
		assert.Equal(t, small.Len()-done, computed, name)
		assert.Equal(t, c.compute, computed-intact, name)
		got := tree(t, dir)
		assert.Equal(t, string(results), got["results.jsonl.damaged"], name)
		delete(got, "results.jsonl.damaged")
		same(t, want, got)
		require.NoError(t, os.Remove(filepath.Join(dir, "results.jsonl.damaged")))
	}
}

// Truths and measurements that were changed are written again, and no result is computed for it.
func TestDamagedInputs(t *testing.T) {
	r, dir := runner(t), t.TempDir()
	complete(t, r, dir)
	want := tree(t, dir)
	truth, measured := truthPath("b"), measurementPath("sr4", "a")
	for name, damage := range map[string]func() error{
		"gone":    func() error { return os.Remove(filepath.Join(dir, truth)) },
		"cut":     func() error { return os.Truncate(filepath.Join(dir, measured), 20) },
		"swapped": func() error { return os.WriteFile(filepath.Join(dir, measured), []byte(want[truth]), 0o644) },
	} {
		require.NoError(t, damage(), name)
		_, err := OpenFinished(dir, settings, small)
		require.Error(t, err, "%s: a reader makes nothing again", name)
		f, err := Open(dir, settings, small)
		require.NoError(t, err, name)
		assert.Empty(t, f.Damaged(), name)
		assert.Len(t, f.DamagedInputs(), 1, name)
		assert.Equal(t, small.Len(), f.Done(), name)
		r.OnStep = func(Job, sdk.Progress) { assert.Fail(t, "a result is computed", name) }
		require.NoError(t, r.Run(context.Background(), f), name)
		require.NoError(t, f.Close())
		same(t, want, tree(t, dir))
	}
}

// A folder that is deleted under a run ends it.
func TestDeletedFolder(t *testing.T) {
	r, dir := runner(t), t.TempDir()
	f, err := Open(dir, settings, small)
	require.NoError(t, err)
	defer f.Close()
	r.OnDone = func(Job) { os.RemoveAll(dir) }
	require.ErrorContains(t, r.Run(context.Background(), f), "was deleted or replaced")
}

// A repair that is stopped before its first result loses nothing that is intact.
func TestStoppedRepair(t *testing.T) {
	r, dir := runner(t), t.TempDir()
	complete(t, r, dir)
	want := tree(t, dir)
	require.NoError(t, os.Truncate(filepath.Join(dir, small.Job(0).picturePath()), 20))
	f, err := Open(dir, settings, small)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, r.Run(ctx, f), context.Canceled)
	require.NoError(t, f.Close())
	got := tree(t, dir)
	assert.Len(t, got, len(want), "nothing is left behind")
	assert.Equal(t, want["results.jsonl"], got["results.jsonl"])

	computed := 0
	r.OnStep = func(Job, sdk.Progress) { computed++ }
	complete(t, r, dir)
	assert.Equal(t, 2, computed, "steps of one job")
	same(t, want, tree(t, dir))
}

// Files that results are appended to may be no links: what those point at would be cut.
func TestLinkedResults(t *testing.T) {
	for _, name := range []string{"results.jsonl", "timings.jsonl"} {
		r, dir := runner(t), t.TempDir()
		complete(t, r, dir)
		victim := filepath.Join(t.TempDir(), "victim")
		require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
		require.NoError(t, os.Symlink(victim, filepath.Join(dir, name)))
		_, err := Open(dir, settings, small)
		require.ErrorContains(t, err, name+" is there and no plain file")
		kept, err := os.ReadFile(victim)
		require.NoError(t, err)
		assert.Equal(t, "precious", string(kept))
	}
}
