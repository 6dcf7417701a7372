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
			op, err := measure.ForTask(task, dev, 3, 16, 16, rng)
			require.NoError(t, err)
			return op
		}
		ops := []measure.Operator{one(), one(), one()}
		batch, err := measure.NewPerImage(ops...)
		require.NoError(t, err)
		defer batch.Close()
		_, lifts := ops[0].(measure.Lifter)
		_, batchLifts := batch.(measure.Lifter)
		assert.Equal(t, lifts, batchLifts, task)
		assert.Equal(t, ops[0].Exact(), batch.Exact(), task)
		assert.GreaterOrEqual(t, batch.LargestEigenvalue(), ops[2].LargestEigenvalue(), task)

		const n = 6
		for name, run := range map[string]func(op measure.Operator, dst, src compute.Tensor){
			"Apply":   measure.Operator.Apply,
			"Adjoint": measure.Operator.Adjoint,
			"Power":   func(op measure.Operator, dst, src compute.Tensor) { op.Power(dst, src, 0.3, 0.01, -0.5) },
			"PseudoInverse": func(op measure.Operator, dst, src compute.Tensor) {
				require.NoError(t, op.PseudoInverse(dst, src, 0.1))
			},
			"Lift": func(op measure.Operator, dst, src compute.Tensor) {
				if l, ok := op.(measure.Lifter); ok {
					l.Lift(dst, src)
				} else {
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
				run(ops[i%3], want.Images(i, i+1), src.Images(i, i+1))
			}
			assert.Equal(t, read(t, dev, want), read(t, dev, got), "%s: %s", task, name)
		}
		assert.InDelta(t, (ops[0].LogDet(0.3, 0.01)+ops[1].LogDet(0.3, 0.01)+ops[2].LogDet(0.3, 0.01))/3, batch.LogDet(0.3, 0.01), 1e-9)
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
