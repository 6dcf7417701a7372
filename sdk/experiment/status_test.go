package experiment

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
)

// What is done, running, stale, given up and left is counted in all folders of a run.
func TestStatus(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	r := runner(t)
	_, err := ReadStatus(t.Context(), []string{a})
	require.ErrorContains(t, err, "no run.json")
	require.NoError(t, r.RunShard(t.Context(), shards(t, a, small), Part{1, 4}))
	f := shards(t, b, small)
	ctx, cancel := context.WithCancel(t.Context())
	r.OnStep = func(Job, sdk.Progress) { cancel() }
	require.ErrorIs(t, r.RunShard(ctx, f, Part{2, 4}), context.Canceled)
	claim := func(k int) string {
		j := small.partJob(Part{3, 4}, k)
		require.NoError(t, os.MkdirAll(imageDir(b, j.Image), 0o755))
		c, err := f.claim(j)
		require.NoError(t, err)
		return c.path
	}
	claim(0)
	long := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(claim(2), long, long))

	s, err := ReadStatus(t.Context(), []string{a, b})
	require.NoError(t, err)
	assert.Equal(t, []int{32, 8, 1, 1, 1, 1}, []int{s.All, s.Done, s.Running, s.Stale, s.Stopped, s.States})
	assert.Equal(t, map[string]int{f.owner: 1}, s.Owners)
	assert.Equal(t, 8, s.Timed)
	assert.Positive(t, s.Seconds)
	assert.InDelta(t, s.Seconds, s.Left.Seconds(), 1e-6)

	other := t.TempDir()
	g := small
	g.Names = []string{"a"}
	shards(t, other, g)
	_, err = ReadStatus(t.Context(), []string{a, other})
	assert.ErrorContains(t, err, "different runs")
}

// What shards write is within the bound, whatever the pictures; parts are nearly equal.
func TestDisk(t *testing.T) {
	r, dir := runner(t), t.TempDir()
	require.NoError(t, r.RunShard(t.Context(), shards(t, dir, small), Part{1, 1}))
	files, bytes := int64(0), int64(0)
	require.NoError(t, filepath.WalkDir(filepath.Join(dir, "work"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		files, bytes = files+1, bytes+info.Size()
		return err
	}))
	bound := small.Disk(16, 2)
	assert.Equal(t, bound.Files, files)
	assert.Less(t, bytes, bound.Bytes)

	g := small
	g.Names = make([]string, 100)
	dear := func(c Cell) float64 {
		if c.CMI != Without {
			return 4
		}
		return 1
	}
	all := g.LargestPart(1, dear)
	assert.InDelta(t, 100*2*2*2*5, all, 1e-9)
	for _, n := range []int{2, 3, 7, 8, 16, 24, 40} {
		assert.InDelta(t, all/float64(n), g.LargestPart(n, dear), 30, "%d parts: ten jobs at most are dear instead of cheap", n)
	}
}
