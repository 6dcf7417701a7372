// Package golden compares this implementation with vectors made by a reference
// implementation in PyTorch: networks and their derivatives, schedules,
// operators, the information term, whole trajectories, metrics.
//
// A folder of vectors may lack parts; what is there is checked. The vectors'
// layout and bounds are described in testdata/golden/README.md.
package golden

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
)

// Options choose among the cases.
type Options struct {
	Quick bool // about a tenth of the work, for slow devices
	Full  bool // also the released networks' full sizes: gigabytes of memory and minutes
}

// Cases lists the checks of a folder of vectors.
func Cases(dir fs.FS, o Options) ([]computetest.Case, error) {
	var all []computetest.Case
	for _, part := range []func(fs.FS, Options) ([]computetest.Case, error){
		scheduleCases, metricCases, operatorCases, networkCases, formatCases, informationCases, trajectoryCases, fullCases,
	} {
		cases, err := part(dir, o)
		if err != nil {
			return nil, err
		}
		all = append(all, cases...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no golden vectors here: schedule.safetensors, metrics.safetensors, operators.safetensors, unet/, formats/, information/, trajectories/, methods/ or full/ are wanted")
	}
	return all, nil
}

// vectors is a safetensors file of the folder, read whole.
type vectors struct {
	*checkpoint.File
	name string
}

// open reads a file of the folder; ok is false where there is none.
func open(dir fs.FS, name string) (v *vectors, ok bool, err error) {
	f, err := openCheckpoint(dir, name)
	if isMissing(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return &vectors{f, name}, true, nil
}

func openCheckpoint(dir fs.FS, name string) (*checkpoint.File, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return checkpoint.Read(bytes.NewReader(data), int64(len(data)), name)
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// shape of a tensor, padded in front with ones to four dimensions.
func (v *vectors) shape(name string) ([4]int, error) {
	info, ok := v.Info(name)
	if !ok || len(info.Shape) > 4 {
		return [4]int{}, fmt.Errorf("%s: tensor %s of at most four dimensions is wanted", v.name, name)
	}
	s := [4]int{1, 1, 1, 1}
	copy(s[4-len(info.Shape):], info.Shape)
	return s, nil
}

// values of a float32 tensor of any shape.
func (v *vectors) values(name string) ([]float32, error) {
	info, ok := v.Info(name)
	if !ok {
		return nil, fmt.Errorf("%s: no tensor %s", v.name, name)
	}
	return v.Floats(name, info.Shape...)
}

func (v *vectors) has(name string) bool {
	_, ok := v.Info(name)
	return ok
}

// load puts a tensor on a device.
func (v *vectors) load(ws *compute.Workspace, name string) (compute.Tensor, error) {
	s, err := v.shape(name)
	if err != nil {
		return compute.Tensor{}, err
	}
	values, err := v.values(name)
	if err != nil {
		return compute.Tensor{}, err
	}
	return ws.FromHost(values, s[0], s[1], s[2], s[3]), ws.Err()
}

// compare returns the relative error of a device tensor against a vector.
func (v *vectors) compare(dev compute.Device, got compute.Tensor, name string) (float64, error) {
	host, err := compute.ToHost(dev, got)
	if err != nil {
		return 0, err
	}
	return v.error(host, name)
}

// error returns the relative error of values against a vector.
func (v *vectors) error(got []float32, name string) (float64, error) {
	want, err := v.values(name)
	if err != nil {
		return 0, err
	}
	return relative(got, want), nil
}

func relative[A, B float32 | float64](got []A, want []B) float64 {
	return computetest.RelativeError(widen(got), widen(want))
}

func widen[F float32 | float64](v []F) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

// check returns a case that needs a device.
func check(group, name string, bound float64, run func(ctx context.Context, dev compute.Device) (float64, error)) computetest.Case {
	return computetest.Case{Group: group, Name: name, Bound: bound, Run: run}
}

// unjudged returns a case of vectors that nothing here can be compared with: a failure, as
// they were made to be judged by.
func unjudged(group, name, why string) computetest.Case {
	return check(group, name, 0, func(context.Context, compute.Device) (float64, error) { return 0, errors.New(why) })
}

// folders lists the sub-folders of a folder; none where it is missing.
func folders(dir fs.FS, name string) []string {
	entries, err := fs.ReadDir(dir, name)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	return out
}
