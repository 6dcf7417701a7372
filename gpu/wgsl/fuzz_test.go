package wgsl

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/internal/fuzztest"
)

// FuzzRemember reads a file of trials: a device goes on with a variant of its own, whatever
// the file holds.
func FuzzRemember(f *testing.F) {
	d, err := New(newListing(false), Options{})
	require.NoError(f, err)
	f.Cleanup(func() { d.Close() })
	possible := d.variants[3]
	k := class{kernel: 3, in: 64, out: 64, height: 128, width: 128, images: 2}
	key, err := d.trialsKey()
	require.NoError(f, err)
	f.Add([]byte(`{"key": "` + key + `", "fastest": {"` + k.String() + `": "` + possible[0].name() + `"}}`))
	f.Add([]byte(`{"key": "` + key + `", "fastest": {"": null}}`))
	f.Add([]byte(`{"KEY": "` + key + `", "fastest": null, "path": "/etc/passwd"}`))
	path := filepath.Join(f.TempDir(), "webgpu-"+key+".json")
	f.Fuzz(func(t *testing.T, text []byte) {
		require.NoError(t, os.WriteFile(path, text, 0o644))
		_ = fuzztest.Check(t, 1<<20+256*len(text), func() error {
			s := &stored{path: path, Key: key, Fastest: map[string]string{}}
			s.load()
			if s.path != path || s.Key != key {
				t.Fatal("the file changed what belongs to the device")
			}
			if v := s.find(k, possible); v != nil && v.name() != s.Fastest[k.String()] {
				t.Fatalf("%s is not what was found", v.name())
			}
			return nil
		})
	})
}
