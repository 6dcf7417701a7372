package experiment

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// small is a grid of 32 runs.
var small = Grid{Tasks: []string{"box", "sr4"}, Methods: []string{"dps", "dsg"}, CMI: []Term{Without, With}, Names: []string{"a", "b"}, Samples: 2}

var settings = Settings{"--steps": "2", "--seed": "3"}

// brightness is a stand-in for a learned distance.
type brightness struct{}

func (brightness) Name() string     { return "brightness (none)" }
func (brightness) Backbone() string { return "none" }
func (brightness) Distance(x, y []float32, n, c, h, w int) ([]float64, error) {
	square, err := metric.SquaredError(x, y, n, c, h, w)
	for i := range square {
		square[i] = math.Sqrt(square[i])
	}
	return square, err
}

func (brightness) Features(x []float32, n, c, h, w int) ([]float32, int, error) {
	var mean float32
	for _, v := range x {
		mean += v / float32(len(x))
	}
	return []float32{mean, x[0]}, 2, nil
}

// tiny returns the trained 16×16 network of the golden vectors.
func tiny(t testing.TB) *unet.Model {
	t.Helper()
	const folder = "../../testdata/golden/tiny16/"
	dev := cpu.New(2)
	t.Cleanup(func() { assert.NoError(t, dev.Close()) })
	override, err := os.ReadFile(folder + "config.json")
	require.NoError(t, err)
	file, err := checkpoint.Open(folder + "model.pt")
	require.NoError(t, err)
	defer file.Close()
	m, err := unet.Load(dev, file, override)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m
}

// runner returns one on that network, two steps a run.
func runner(t testing.TB) *Runner {
	t.Helper()
	m := tiny(t)
	spec := job.Default()
	spec.Steps, spec.Seed = 2, 3
	spec.CMI.MinAlphaBar = 0
	return &Runner{Place: sdk.PlaceOf(m), Spec: spec, Perceptual: brightness{},
		Truth: func(image int) (picture.Image, error) {
			p := picture.Image{C: 3, H: 16, W: 16}
			for k := range 3 * 16 * 16 {
				p.Pix = append(p.Pix, float32(0.9*math.Sin(float64(k%16)/(2+float64(image)))*math.Cos(float64(k/16)/3)))
			}
			return p, nil
		}}
}

// tree reads all files of a folder whose bytes must not depend on how a run went.
func tree(t testing.TB, dir string) map[string]string {
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

// same compares two trees without printing pictures.
func same(t testing.TB, want, got map[string]string) {
	t.Helper()
	for name, data := range want {
		if got[name] != data {
			assert.Fail(t, "another file", "%s: %d bytes, wanted %d", name, len(got[name]), len(data))
		}
	}
	for name := range got {
		assert.Contains(t, want, name, "left behind")
	}
}

// passes returns how many network passes a run of a cell takes.
func passes(t testing.TB, r *Runner, c Cell) int {
	t.Helper()
	plan, err := c.Spec(r.Spec).Plan(r.Place.Prior(), 1)
	require.NoError(t, err)
	return plan.Passes()
}
