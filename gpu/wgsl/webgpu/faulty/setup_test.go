//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package faulty_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/wgsl"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/faulty"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/native"
	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// adapter is a driver that outlives the devices on it and keeps what they have
// compiled, so that many devices can be opened quickly.
type adapter struct {
	webgpu.GPU
	compiled map[string]webgpu.Pipeline
}

func newAdapter(t *testing.T) *adapter {
	g, err := native.Open()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return &adapter{g, map[string]webgpu.Pipeline{}}
}

// use is one device's use of the adapter.
type use struct {
	*adapter
	buffers map[webgpu.Buffer]bool
	groups  map[webgpu.BindGroup]bool
}

func (a *adapter) use() *use {
	return &use{a, map[webgpu.Buffer]bool{}, map[webgpu.BindGroup]bool{}}
}

func (u *use) CreatePipeline(label, wgsl, entry string, bindings []webgpu.Binding) (webgpu.Pipeline, error) {
	key := fmt.Sprint(entry, bindings, wgsl)
	if p, ok := u.compiled[key]; ok {
		return p, nil
	}
	p, err := u.GPU.CreatePipeline(label, wgsl, entry, bindings)
	if err == nil {
		u.compiled[key] = p
	}
	return p, err
}

func (u *use) CreateBuffer(bytes int, kind webgpu.Usage) (webgpu.Buffer, error) {
	b, err := u.GPU.CreateBuffer(bytes, kind)
	if err == nil {
		u.buffers[b] = true
	}
	return b, err
}

func (u *use) DestroyBuffer(b webgpu.Buffer) {
	delete(u.buffers, b)
	u.GPU.DestroyBuffer(b)
}

func (u *use) CreateBindGroup(p webgpu.Pipeline, ranges []webgpu.Range) (webgpu.BindGroup, error) {
	g, err := u.GPU.CreateBindGroup(p, ranges)
	if err == nil {
		u.groups[g] = true
	}
	return g, err
}

func (u *use) DestroyBindGroup(g webgpu.BindGroup) {
	delete(u.groups, g)
	u.GPU.DestroyBindGroup(g)
}

// Close releases what the device had, and nothing more.
func (u *use) Close() error {
	err := u.Wait()
	for g := range u.groups {
		u.GPU.DestroyBindGroup(g)
	}
	for b := range u.buffers {
		u.GPU.DestroyBuffer(b)
	}
	return err
}

// job is a small restoration: 4× super-resolution on the trained 16×16 network with
// the information term, in two steps.
type job struct {
	adapter *adapter
	o       sdk.Options
	y       []float32
	fault   faulty.Fault
	second  func() (compute.Device, error) // the device after a loss
	devices int
	calls   int // of the first device's driver
}

func (j *job) open(_ context.Context, loss sdk.Loss) (prior.Model, func(), error) {
	j.devices++
	var d compute.Device
	var err error
	var first *faulty.GPU
	if loss.Cause == nil {
		first = faulty.New(j.adapter.use(), j.fault)
		d, err = wgsl.New(first, wgsl.Options{})
	} else if d, err = j.second(); d == nil && err == nil {
		return nil, nil, loss.Cause
	}
	if err != nil {
		return nil, nil, err
	}
	m, err := network(d)
	if err != nil {
		d.Close()
		return nil, nil, err
	}
	return m, func() {
		m.Close()
		if first != nil {
			j.calls = first.Calls()
		}
		d.Close()
	}, nil
}

func network(d compute.Device) (prior.Model, error) {
	const folder = "../../../../testdata/golden/tiny16/"
	override, err := os.ReadFile(folder + "config.json")
	if err != nil {
		return nil, err
	}
	file, err := checkpoint.Open(folder + "model.pt")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return unet.Load(d, file, override)
}

func (j *job) problem(m prior.Model) (sdk.Problem, func(), error) {
	c, h, w := m.Image()
	op, err := measure.ForTask("sr4", m.Device(), c, h, w, measure.Inputs{})
	if err != nil {
		return sdk.Problem{}, nil, err
	}
	return sdk.Problem{Prior: m, Operator: op, Y: j.y, N: 1, SigmaY: 0.05}, op.Close, nil
}

// run restores with a fault.
func (j *job) run(f faulty.Fault) ([]float32, error) {
	j.fault, j.devices = f, 0
	ctx := context.Background()
	place, err := sdk.NewPlace(ctx, j.open)
	if err != nil {
		return nil, err
	}
	x, err := place.Restore(ctx, j.problem, j.o)
	place.Close()
	return x, err
}

// newJob returns a job with its picture from the processor and, where no fault comes,
// from the adapter.
func newJob(t *testing.T) (j *job, processor, undisturbed []float32) {
	j = &job{adapter: newAdapter(t), y: make([]float32, 3*4*4)}
	for i := range j.y {
		j.y[i] = float32(math.Sin(float64(i)))
	}
	p := cpu.New(2)
	t.Cleanup(func() { p.Close() })
	m, err := network(p)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	j.o, err = sdk.Defaults(m, "sr4", 2)
	require.NoError(t, err)
	term := cmi.Defaults()
	term.MinAlphaBar, term.Lanczos = 0, 1
	j.o.Method, j.o.CMI, j.o.Seed = guide.DPS{Scale: 0.5}, &term, 5
	problem, release, err := j.problem(m)
	require.NoError(t, err)
	defer release()
	processor, err = sdk.Restore(context.Background(), problem, j.o)
	require.NoError(t, err)
	undisturbed, err = j.run(faulty.Fault{Call: -1})
	require.NoError(t, err)
	require.Equal(t, 1, j.devices)
	return j, processor, undisturbed
}

// psnr of two pictures on [−1, 1], in dB.
func psnr(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		sum += math.Pow(float64(a[i]-b[i])/2, 2)
	}
	return -10 * math.Log10(sum/float64(len(a)))
}

var errInvalid = errors.New("validation failed")
