package wgsl

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// counting counts what trials wait for.
type counting struct {
	*listing
	waits int
}

func (c *counting) Wait() error { c.waits++; return nil }

// tried takes a convolution large enough for a trial on a new device, and says which
// variant it got and whether by a trial.
func tried(t *testing.T, folder string, change func(*listing)) (d *Device, k class, name string, byTrial bool) {
	t.Helper()
	gpu := &counting{listing: newListing(false)}
	if change != nil {
		change(gpu.listing)
	}
	d, err := New(gpu, Options{})
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	d.tiles = false
	if folder != "" {
		d.Remember(folder)
	}
	w, err := d.PrepareConv(compute.ConvShape{Out: 64, In: 64, Kernel: 3}, make([]float32, 64*64*9), nil)
	require.NoError(t, err)
	x, err := compute.New(d, 2, 64, 128, 128)
	require.NoError(t, err)
	y, err := compute.New(d, 2, 64, 128, 128)
	require.NoError(t, err)
	d.Conv(y, x, w, compute.ConvMode{})
	require.NoError(t, d.Err())
	require.Len(t, d.tuned, 1)
	for k, v := range d.tuned {
		return d, k, v.name(), gpu.waits > 0
	}
	return
}

// A second device takes what the first has found, without a trial.
func TestRemember(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new", "cache")
	d, k, first, byTrial := tried(t, folder, nil)
	assert.True(t, byTrial)
	_, _, second, byTrial := tried(t, folder, nil)
	assert.False(t, byTrial)
	assert.Equal(t, first, second)
	for _, v := range d.variants[3] { // whatever the trial says
		d.trials.add(k, v)
		_, _, name, byTrial := tried(t, folder, nil)
		assert.False(t, byTrial)
		assert.Equal(t, v.name(), name)
	}
	_, _, _, byTrial = tried(t, "", nil)
	assert.True(t, byTrial, "nothing is remembered unless asked for")
	_, _, _, byTrial = tried(t, folder, func(l *listing) { l.info.Driver = "another version" })
	assert.True(t, byTrial)
	_, _, _, byTrial = tried(t, folder, func(l *listing) { l.info.Memory = 8 << 30 })
	assert.False(t, byTrial, "memory is not part of the adapter's name")
	files, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Len(t, files, 2, "a file for each driver and no other")
}

// Devices that remember at once don't lose each other's results.
func TestRememberTogether(t *testing.T) {
	folder := t.TempDir()
	a, k, _, _ := tried(t, folder, nil)
	b, _, _, _ := tried(t, folder, nil)
	others := []class{k, k}
	others[0].in, others[1].in = 7, 8
	a.trials.add(others[0], a.variants[3][1])
	b.trials.add(others[1], b.variants[3][2])
	c, _, _, _ := tried(t, folder, nil)
	assert.Equal(t, c.variants[3][1], c.trials.find(others[0], c.variants[3]))
	assert.Equal(t, c.variants[3][2], c.trials.find(others[1], c.variants[3]))
}

// A file that is no good is as good as none, and is mended.
func TestRememberDamaged(t *testing.T) {
	folder := t.TempDir()
	tried(t, folder, nil)
	files, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, files, 1)
	path := filepath.Join(folder, files[0].Name())
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for name, text := range map[string][]byte{
		"empty":           {},
		"cut":             good[:len(good)-4],
		"not JSON":        []byte("\x00\xff"),
		"another type":    []byte(`[1, 2]`),
		"null":            []byte(`null`),
		"other kernels":   []byte(`{"key": "0123", "fastest": {}}`),
		"unknown variant": []byte(`{"key": "` + files[0].Name()[7:23] + `", "fastest": {"3×3 64→64 on 2×128×128": "none"}}`),
		"far too long":    append(slices.Repeat([]byte(" "), mostTrials), good...),
	} {
		require.NoError(t, os.WriteFile(path, text, 0o644))
		_, _, _, byTrial := tried(t, folder, nil)
		assert.True(t, byTrial, name)
		_, _, _, byTrial = tried(t, folder, nil)
		assert.False(t, byTrial, "%s: mended", name)
	}
}

// Where nothing can be written, trials go on as they did.
func TestRememberNowhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	for _, folder := range []string{file, filepath.Join(file, "below"), "/dev/null/cmi"} {
		_, _, _, byTrial := tried(t, folder, nil)
		assert.True(t, byTrial)
	}
	folder := t.TempDir()
	d, _, _, _ := tried(t, folder, nil)
	path := d.trials.(*stored).path
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.MkdirAll(filepath.Join(path, "in the way"), 0o755))
	_, _, _, byTrial := tried(t, folder, nil)
	assert.True(t, byTrial)
	files, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Len(t, files, 1, "nothing is left behind")
}
