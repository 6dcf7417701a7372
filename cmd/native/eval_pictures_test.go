package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/experiment"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

var hashedPictures = flag.Int("hash.pictures", picturesInHash+1, "pictures of TestSharedHashes")

// Processes that share a folder read every picture once between them, and again where a file has changed; the hash is that of
// one process by itself.
func TestSharedHashes(t *testing.T) {
	dir, shared := t.TempDir(), filepath.Join(t.TempDir(), "pictures")
	drawn := image.NewRGBA(image.Rect(0, 0, 32, 32))
	for i := range *hashedPictures {
		for k := range 32 {
			drawn.Set(k, i%32, color.RGBA{uint8(i), uint8(i >> 8), uint8(7 * k), 255})
		}
		var file bytes.Buffer
		require.NoError(t, png.Encode(&file, drawn))
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%07d.png", i)), file.Bytes(), 0o644))
	}
	read := 0
	fit := func(shared string, part experiment.Part) string {
		t.Helper()
		p, err := evalPictures(dir, 0)
		require.NoError(t, err)
		load := p.load
		p.load = func(i int) (picture.Image, error) { read++; return load(i) }
		read = 0
		start := time.Now()
		require.NoError(t, p.fit(context.Background(), 32, shared, part))
		t.Logf("%v of %d pictures: %d read, %v", part, *hashedPictures, read, time.Since(start).Round(time.Millisecond))
		return p.hash
	}
	want := fit("", experiment.Part{})
	assert.Equal(t, *hashedPictures, read)
	assert.Equal(t, want, fit(shared, experiment.Part{I: 2, N: 3}))
	assert.Equal(t, *hashedPictures, read)
	assert.Equal(t, want, fit(shared, experiment.Part{I: 3, N: 3}))
	assert.Zero(t, read)
	notes, err := filepath.Glob(filepath.Join(shared, "*"))
	require.NoError(t, err)
	require.Len(t, notes, (*hashedPictures+picturesInHash-1)/picturesInHash)
	require.NoError(t, os.Truncate(notes[0], 10)) // of a process that was killed on a file system without renames
	assert.Equal(t, want, fit(shared, experiment.Part{I: 1, N: 3}))
	assert.Equal(t, picturesInHash, read)

	changed := filepath.Join(dir, "0000003.png")
	drawn.Set(0, 0, color.RGBA{9, 9, 9, 255})
	require.NoError(t, picture.SavePNG(changed, drawn))
	require.NoError(t, os.Chtimes(changed, time.Time{}, time.Now().Add(time.Second)))
	assert.NotEqual(t, want, fit(shared, experiment.Part{I: 1, N: 3}))
	assert.Equal(t, picturesInHash, read)
}
