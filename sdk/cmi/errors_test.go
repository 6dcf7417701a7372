package cmi_test

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

var allEstimators = []cmi.Estimator{cmi.Probe, cmi.Trace, cmi.TwoDirection, cmi.TwoTrace}

// A Jacobian that is not finite is an error, whatever the estimator.
func TestJacobianThatIsNotFinite(t *testing.T) {
	dev := device(t)
	op := denseOperator(t, dev, randomMatrix(3, 5, 1))
	l := krylov.Level{AlphaBar: 0.5, SigmaY: 0.1}
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, e := range allEstimators {
			d := linear(t, dev, mat.NewDense(5, 5, nil), 2)
			d.jvp = func(image int, dst, v []float64) {
				copy(dst, v)
				if image == 1 {
					dst[2] = bad
				}
			}
			_, _, err := newTerm(t, dev, op, 2, options(e, 2, 1)).Gradient(d, l, signs)
			assert.Error(t, err, "%s with %v", e, bad)
		}
	}
}

// So is a second derivative that is not finite.
func TestGradientThatIsNotFinite(t *testing.T) {
	dev := device(t)
	op := denseOperator(t, dev, randomMatrix(3, 5, 1))
	for _, bad := range []float64{math.NaN(), math.Inf(1), 1e30} { // the last has a square beyond float32
		for _, e := range allEstimators {
			d := linear(t, dev, mat.NewDense(5, 5, []float64{1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1}), 2)
			d.second = func(image int, dst, _, _ []float64) {
				clear(dst)
				if image == 1 {
					dst[2] = bad
				}
			}
			o := options(e, 2, 1)
			gradient, _, err := newTerm(t, dev, op, 2, o).Gradient(d, krylov.Level{AlphaBar: 0.5, SigmaY: 0.1}, signs)
			require.NoError(t, err, e)
			norm, err := compute.Norms(dev, gradient)
			require.NoError(t, err, e)
			coef, _, err := o.Limit(1, norm, nil, []float64{1, 1})
			if bad == 1e30 {
				require.NoError(t, err, e)
				assert.Equal(t, []float64{1, 1}, coef)
				assert.Zero(t, norm[0], e)
				assert.Greater(t, norm[1], 1e25, e)
				continue
			}
			assert.ErrorContains(t, err, "not finite at image 1", "%s with %v", e, bad)
		}
	}
}

// failing is a denoiser whose methods fail after so many calls.
type failing struct {
	*host
	jvpsLeft, secondsLeft int
}

var errBroken = errors.New("the device is gone")

func (f *failing) JVP(v compute.Tensor) (compute.Tensor, error) {
	if f.jvpsLeft--; f.jvpsLeft < 0 {
		return compute.Tensor{}, errBroken
	}
	return f.host.JVP(v)
}

func (f *failing) Second(v, w compute.Tensor) (compute.Tensor, error) {
	if f.secondsLeft--; f.secondsLeft < 0 {
		return compute.Tensor{}, errBroken
	}
	return f.host.Second(v, w)
}

func (f *failing) JVPCached(_ int, v compute.Tensor) (compute.Tensor, error) { return f.JVP(v) }

func (f *failing) SecondAlong(v compute.Tensor, _ [][]float64) (compute.Tensor, error) {
	return f.Second(v, v)
}

func TestDenoiserErrorsAreReturned(t *testing.T) {
	p := newProblem(t, size{5, 7, 4}, 0.3, 1)
	for e, calls := range map[cmi.Estimator][2]int{cmi.Probe: {4, 2}, cmi.Trace: {1, 1}, cmi.TwoDirection: {1, 1}, cmi.TwoTrace: {2, 1}} {
		run := func(jvps, seconds int) error {
			_, _, err := newTerm(t, p.dev, p.op, 1, options(e, 2, 2)).Gradient(&failing{p.denoiser(t), jvps, seconds}, p.level, signs)
			return err
		}
		require.NoError(t, run(calls[0], calls[1]), e)
		for jvps := range calls[0] {
			assert.ErrorIs(t, run(jvps, calls[1]), errBroken, "%s after %d JVPs", e, jvps)
		}
		for seconds := range calls[1] {
			assert.ErrorIs(t, run(calls[0], seconds), errBroken, "%s after %d jets", e, seconds)
		}
	}
}

// blind measures nothing.
type blind struct {
	measure.Linear
	dev compute.Device
}

func (b blind) Scale(dst, z compute.Tensor, _ float64) { b.dev.Combine(dst, compute.Times(0, z)) }

func (blind) Measured() int { return 0 }

// Nothing measured: no information and no gradient, or an error, never a NaN.
func TestNothingMeasured(t *testing.T) {
	p := newProblem(t, size{5, 7, 4}, 0.3, 2)
	op := blind{p.op, p.dev}
	for _, k := range []int{0, 1, 3} {
		g, information, err := newTerm(t, p.dev, op, 2, options(cmi.Probe, k, 1)).Gradient(p.denoiser(t), p.level, signs)
		require.NoError(t, err)
		assert.Equal(t, [][]float64{make([]float64, 7), make([]float64, 7)}, split(t, p.dev, g), "K = %d", k)
		assert.Equal(t, []float64{0, 0}, information)
	}
	for _, e := range allEstimators[1:] {
		_, _, err := newTerm(t, p.dev, op, 2, options(e, 0, 1)).Gradient(p.denoiser(t), p.level, signs)
		assert.ErrorContains(t, err, "measures nothing", e)
	}
}

// Dense estimators refuse what they would need gigabytes for.
func TestDenseLimit(t *testing.T) {
	dev := device(t)
	large, err := measure.NewIdentity(dev, 1, 65, 64)
	require.NoError(t, err)
	defer large.Close()
	d := newHost(t, dev, 1)
	l := krylov.Level{AlphaBar: 0.5, SigmaY: 0.1}
	for _, e := range allEstimators[1:] {
		_, _, err := newTerm(t, dev, large, 1, options(e, 0, 1)).Gradient(d, l, signs)
		assert.ErrorContains(t, err, "use the probe estimator", e)
	}
	// Few measurements of many pixels: only the two traces are n × n.
	keep := make([]float32, 65*64)
	keep[7] = 1
	few, err := measure.NewMask(dev, 1, 65, 64, keep)
	require.NoError(t, err)
	defer few.Close()
	d.jvp = func(_ int, dst, v []float64) { copy(dst, v) }
	d.second = func(_ int, dst, v, w []float64) {}
	_, _, err = newTerm(t, dev, few, 1, options(cmi.TwoTrace, 0, 1)).Gradient(d, l, signs)
	assert.ErrorContains(t, err, "4160 pixels are too many")
	_, _, err = newTerm(t, dev, few, 1, options(cmi.Trace, 0, 1)).Gradient(d, l, signs)
	assert.NoError(t, err)
}

// ration is a device with room for so many arrays.
type ration struct {
	compute.Device
	left, live int
}

func (r *ration) Alloc(n int) (compute.Buffer, error) {
	if r.left--; r.left < 0 {
		return nil, errors.New("out of memory")
	}
	r.live++
	return r.Device.Alloc(n)
}

func (r *ration) Free(b compute.Buffer) {
	r.live--
	r.Device.Free(b)
}

// Too little memory is an error that frees what there was; Close frees everything.
func TestMemory(t *testing.T) {
	p := newProblem(t, size{5, 7, 4}, 0.3, 2)
	d := p.denoiser(t)
	for _, e := range allEstimators {
		done := false
		for room := range 100 {
			dev := &ration{Device: p.dev, left: room}
			term, err := cmi.New(dev, p.op, 2, options(e, 3, 2))
			if err == nil {
				_, _, err = term.Gradient(d, p.level, signs)
				term.Close()
			}
			assert.Zero(t, dev.live, "%s with room for %d arrays", e, room)
			if err == nil {
				done = true
				break
			}
			assert.ErrorContains(t, err, "out of memory", "%s with room for %d arrays", e, room)
		}
		assert.True(t, done, e)
	}
}
