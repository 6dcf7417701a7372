package measure_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// A batch whose images have operators of their own is each of them on its image,
// to the bit, whatever the number of directions an image.
func TestPerImage(t *testing.T) {
	dev := device(t)
	for _, task := range []string{"inpaint", "motion", "sr4"} {
		rng := rand.New(rand.NewPCG(1, 1))
		one := func() measure.Operator {
			op, err := measure.ForTask(task, dev, 3, 16, 16, measure.Inputs{Rand: rng})
			require.NoError(t, err)
			return op
		}
		ops := []measure.Operator{one(), one(), one()}
		made, err := measure.NewPerImage(ops...)
		require.NoError(t, err)
		defer made.Close()
		batch, first := made.(measure.Linear), ops[0].(measure.Linear)
		ws := compute.NewWorkspace(dev)
		defer ws.Free()
		assert.Equal(t, measure.Exact(first), measure.Exact(batch), task)
		assert.GreaterOrEqual(t, batch.LargestEigenvalue(), measure.Of(batch, 2).LargestEigenvalue(), task)
		for i := range 6 {
			assert.Same(t, ops[i%3], measure.Of(batch, i), task)
		}

		const n = 6
		for name, run := range map[string]func(op measure.Linear, dst, src compute.Tensor){
			"Apply":   measure.Linear.Apply,
			"Adjoint": measure.Linear.Adjoint,
			"Power":   func(op measure.Linear, dst, src compute.Tensor) { measure.Power(op, dst, src, 0.3, 0.01, -0.5) },
			"VJP":     func(op measure.Linear, dst, src compute.Tensor) { measure.VJP(op, dst, dst, src) },
			"PseudoInverse": func(op measure.Linear, dst, src compute.Tensor) {
				require.NoError(t, measure.PseudoInverse(ws, op, dst, src, 0.1))
			},
			"Lift": func(op measure.Linear, dst, src compute.Tensor) {
				if !measure.Lift(op, dst, src) {
					op.Adjoint(dst, src)
				}
			},
		} {
			from, to := batch.Out, batch.In
			switch name {
			case "Apply":
				from, to = batch.In, batch.Out
			case "Power":
				to = batch.Out
			}
			src, _ := random(dev, seeded(), n, from)
			got, want := poisoned(dev, n, to), poisoned(dev, n, to)
			run(batch, got, src)
			for i := range n {
				run(measure.Of(batch, i), want.Images(i, i+1), src.Images(i, i+1))
			}
			assert.Equal(t, read(t, dev, want), read(t, dev, got), "%s: %s", task, name)
		}
		mean := 0.0
		for i := range 3 {
			mean += measure.LogDet(measure.Of(batch, i), 0.3, 0.01) / 3
		}
		assert.InDelta(t, mean, measure.LogDet(batch, 0.3, 0.01), 1e-9)
	}
	_, err := measure.NewPerImage()
	require.Error(t, err)
	a, err := measure.NewIdentity(dev, 3, 16, 16)
	require.NoError(t, err)
	b, err := measure.NewIdentity(dev, 3, 16, 8)
	require.NoError(t, err)
	_, err = measure.NewPerImage(a, b)
	require.ErrorContains(t, err, "shapes of one batch must agree")
}

// A batch of nonlinear operators is each of them on its image; a mixture is refused.
func TestPerImageNonlinear(t *testing.T) {
	dev := device(t)
	phase := func() measure.Differentiable {
		op, err := measure.NewPhaseRetrieval(dev, 1, 4, 4, 2)
		require.NoError(t, err)
		return op
	}
	one := phase()
	defer one.Close()
	batch, err := measure.NewPerImage(phase(), phase())
	require.NoError(t, err)
	defer batch.Close()
	_, linear := batch.(measure.Linear)
	assert.False(t, linear)
	x, _ := random(dev, seeded(), 2, one.In)
	y, want := poisoned(dev, 2, one.Out), poisoned(dev, 2, one.Out)
	batch.Apply(y, x)
	one.Apply(want, x)
	assert.Equal(t, read(t, dev, want), read(t, dev, y))
	back, all := poisoned(dev, 2, one.In), poisoned(dev, 2, one.In)
	measure.VJP(batch, back, x, y)
	one.VJP(all, x, y)
	assert.Equal(t, read(t, dev, all), read(t, dev, back))

	identity, err := measure.NewIdentity(dev, 1, 4, 4)
	require.NoError(t, err)
	_, err = measure.NewPerImage(identity, phase())
	require.ErrorContains(t, err, "shapes of one batch must agree")
}
