package wgsl

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// everyPass runs every kind of pass of the embedded prior.
func everyPass(t *testing.T, d compute.Device, images int) {
	file, err := faces64.Open()
	require.NoError(t, err)
	defer file.Close()
	m, err := unet.Load(d, file, nil)
	require.NoError(t, err)
	defer m.Close()
	ws := compute.NewWorkspace(d)
	defer ws.Free()
	point, err := m.At(ws.New(images, 3, 64, 64), make([]int, images))
	require.NoError(t, err)
	_, err = point.VJP(ws.New(images, 6, 64, 64))
	require.NoError(t, err)
	v := ws.New(images, 3, 64, 64)
	_, err = point.JVP(v)
	require.NoError(t, err)
	_, err = point.Second(v, v)
	require.NoError(t, err)
	_, err = point.Second(v, ws.New(images, 3, 64, 64))
	require.NoError(t, err)
	cache := point.(prior.TangentCache)
	_, err = cache.JVPCached(0, v)
	require.NoError(t, err)
	_, err = cache.SecondCached([][]float64{make([]float64, images)})
	require.NoError(t, err)
	require.NoError(t, ws.Err())
}

// Every shader that the device makes is WGSL to a new naga and to Tint, the
// compiler of Chromium; and to the native driver's compiler (naga 0.13), those for
// drivers with f16 and subgroups apart, which that one has not.
func TestCompilers(t *testing.T) {
	dir := t.TempDir()
	all := shaders(t)
	require.Greater(t, len(all), 80)
	files := slices.Sorted(maps.Keys(all))
	for i, label := range files {
		kernel, _, _ := strings.Cut(label, " ")
		_, entry, _ := strings.Cut(kernel, ".")
		files[i] = filepath.Join(dir, fmt.Sprintf("%04d_%s.wgsl", i, entry))
		require.NoError(t, os.WriteFile(files[i], []byte(all[label]), 0o644))
	}
	t.Logf("%d shaders", len(files))
	const tools = "../../.tools/"
	naga := func(version string, takes func(text string) (string, bool)) func(t *testing.T) {
		return func(t *testing.T) {
			program := tools + "naga-" + version + "/bin/naga"
			if _, err := os.Stat(program); err != nil {
				t.Skipf("naga %s is missing (make shader-tools; needs cargo)", version)
			}
			taken := 0
			for _, f := range files {
				text, err := os.ReadFile(f)
				require.NoError(t, err)
				own, ok := takes(string(text))
				if !ok {
					continue
				}
				if own != string(text) {
					f = filepath.Join(t.TempDir(), filepath.Base(f))
					require.NoError(t, os.WriteFile(f, []byte(own), 0o644))
				}
				taken++
				out, err := exec.Command(program, f).CombinedOutput()
				require.NoError(t, err, "%s\n%s", out, own)
			}
			t.Logf("%d shaders", taken)
			assert.Greater(t, taken, 80)
		}
	}
	t.Run("naga 0.13", naga("0.13", func(text string) (string, bool) { return text, !strings.Contains(text, "enable ") }))
	// It has subgroups, but not yet the directive that turns them on.
	t.Run("naga 28", naga("28", func(text string) (string, bool) {
		return strings.ReplaceAll(text, "enable subgroups;\n", ""), true
	}))
	t.Run("Tint", func(t *testing.T) {
		if _, err := os.Stat(tools + "dawn/node_modules/webgpu"); err != nil {
			t.Skip("Dawn is missing (make shader-tools; needs npm)")
		}
		node, err := exec.LookPath("node")
		if err != nil {
			t.Skip("node is missing: it runs Dawn (apt-get install nodejs)")
		}
		check, err := filepath.Abs("testdata/tint.mjs")
		require.NoError(t, err)
		c := exec.Command(node, check)
		c.Dir = tools + "dawn"
		c.Stdin = strings.NewReader(strings.Join(files, "\n"))
		var out, errs bytes.Buffer
		c.Stdout, c.Stderr = &out, &errs
		require.NoError(t, c.Run(), "%s%s", out.String(), errs.String())
		assert.Contains(t, out.String(), fmt.Sprintf("%d shaders", len(files)))
	})
}
