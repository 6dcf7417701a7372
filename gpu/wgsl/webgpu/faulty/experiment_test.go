//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package faulty_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/wgsl"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/faulty"
	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/experiment"
	spec "github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// distance is a stand-in for a learned one.
type distance struct{}

func (distance) Name() string { return "squared error" }
func (distance) Distance(x, y []float32, n, c, h, w int) ([]float64, error) {
	return metric.SquaredError(x, y, n, c, h, w)
}

// experimented runs two pictures for two tasks, without and with the information term,
// with a fault.
func (j *job) experimented(t *testing.T, f faulty.Fault, batch int) (files map[string]string, results []experiment.Result) {
	t.Helper()
	j.fault, j.devices = f, 0
	grid := experiment.Grid{Tasks: []string{"sr4", "box"}, Methods: []string{"dps"}, CMI: []experiment.Term{experiment.Without, experiment.With}, Names: []string{"a", "b"}, Samples: 1}
	dir := t.TempDir()
	folder, err := experiment.Open(dir, experiment.Settings{"steps": "2"}, grid)
	require.NoError(t, err)
	place, err := sdk.NewPlace(t.Context(), j.open)
	require.NoError(t, err)
	spec := spec.Default()
	spec.Steps, spec.Seed = 2, 3
	spec.CMI.MinAlphaBar, spec.CMI.Lanczos = 0, 1
	r := experiment.Runner{Place: place, Spec: spec, Perceptual: distance{}, Batch: batch,
		Truth: func(image int) (picture.Image, error) {
			p := picture.Image{C: 3, H: 16, W: 16}
			for k := range 3 * 16 * 16 {
				p.Pix = append(p.Pix, float32(0.9*math.Sin(float64(k%16)/(2+float64(image)))))
			}
			return p, nil
		}}
	require.NoError(t, r.Run(context.Background(), folder))
	require.NoError(t, folder.Close())
	place.Close()
	files = map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" || d.Name() == "timings.jsonl" {
			return err
		}
		data, err := os.ReadFile(path)
		files[path[len(dir):]] = string(data)
		return err
	}))
	for lines := json.NewDecoder(bytes.NewReader([]byte(files["/results.jsonl"]))); lines.More(); {
		var one experiment.Result
		require.NoError(t, lines.Decode(&one))
		results = append(results, one)
	}
	require.Len(t, results, grid.Len())
	return files, results
}

// An experiment that loses its device ends with the bytes of one that did not, wherever
// the loss comes; one that goes on on the processor ends with the same to rounding.
func TestExperiment(t *testing.T) {
	j := &job{adapter: newAdapter(t)}
	for batch, losses := range map[int]int{1: 4, 2: 2} {
		want, wantResults := j.experimented(t, faulty.Fault{Call: -1}, batch)
		require.Equal(t, 1, j.devices)
		calls := j.calls
		j.second = func() (compute.Device, error) { return wgsl.New(j.adapter.use(), wgsl.Options{}) }
		for part := range losses {
			call := (2*part + 1) * calls / (2 * losses)
			got, _ := j.experimented(t, faulty.Fault{Call: call, Kind: compute.ErrLost}, batch)
			require.Equal(t, 2, j.devices, "lost at call %d of %d", call, calls)
			require.Equal(t, want, got, "lost at call %d of %d", call, calls)
		}
		if batch > 1 {
			continue
		}
		j.second = func() (compute.Device, error) { return cpu.New(2), nil }
		_, got := j.experimented(t, faulty.Fault{Call: calls / 2, Kind: compute.ErrMemory}, batch)
		for i := range got {
			assert.InDelta(t, *wantResults[i].PSNR, *got[i].PSNR, 0.01, "%+v", got[i].Cell)
			assert.Equal(t, wantResults[i].Passes, got[i].Passes)
		}
	}
}
