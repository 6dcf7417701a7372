package cmi_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// The exact trace against the closed form, from nearly clean to nearly pure noise.
func TestTraceIsTheGradient(t *testing.T) {
	for _, alphaBar := range []float64{0.95, 0.7, 0.3, 0.1, 0.01} {
		p := newProblem(t, size{6, 8, 5}, alphaBar, 4)
		got, information := p.gradient(t, p.denoiser(t), options(cmi.Trace, 0, 1), nil)
		for i := range got {
			wantI, want := p.exact(t, i)
			assert.LessOrEqual(t, relative(got[i], want), 1e-4, "gradient at alpha-bar %v, image %d", alphaBar, i)
			assert.InEpsilon(t, wantI, information[i], 1e-4, "information at alpha-bar %v, image %d", alphaBar, i)
		}
	}
}

// Each estimator's mean over all patterns of ±1, which is its expectation, is the
// gradient: no factor, preconditioner or noise level may be wrong. The two-trace
// probe lives in image space, the others' in measurement space.
func TestEstimatorsAreUnbiased(t *testing.T) {
	const dim, rows = 7, 4
	for name, c := range map[string]struct {
		o      cmi.Options
		values int
	}{
		"probe":              {options(cmi.Probe, rows, 1<<rows), rows},
		"probe, steps spare": {options(cmi.Probe, rows+3, 1<<rows), rows},
		"two directions":     {options(cmi.TwoDirection, 0, 1<<rows), rows},
		"two traces":         {options(cmi.TwoTrace, 0, 1<<dim), dim},
	} {
		for _, alphaBar := range []float64{0.7, 0.2} {
			p := newProblem(t, size{5, dim, rows}, alphaBar, 1)
			got, _ := p.gradient(t, p.denoiser(t), c.o, func(k int, z []float32) {
				require.Len(t, z, c.values, name)
				signs(k, z)
			})
			_, want := p.exact(t, 0)
			assert.LessOrEqual(t, relative(got[0], want), 2e-4, "%s at alpha-bar %v", name, alphaBar)
		}
	}
}

// The dense estimators take the symmetric part of a Jacobian that is not symmetric,
// and, as the golden vectors do, no variance for a negative one.
func TestDenseEstimatorsOfIndefiniteJacobian(t *testing.T) {
	dev := device(t)
	const rows, cols = 4, 6
	a := randomMatrix(rows, cols, 1)
	op := denseOperator(t, dev, a)
	l := krylov.Level{AlphaBar: 0.4, SigmaY: 0.3}
	for seed := range uint64(4) {
		j := randomMatrix(cols, cols, 20+seed)
		positive := mat.DenseCopyOf(j)
		for i := range cols {
			positive.Set(i, i, j.At(i, i)+2)
		}
		for _, c := range []struct {
			e      cmi.Estimator
			j      *mat.Dense
			probes int
		}{{cmi.Trace, j, 1}, {cmi.TwoDirection, j, 1 << rows}, {cmi.Trace, positive, 1}, {cmi.TwoTrace, positive, 1 << cols}} {
			g, _, err := newTerm(t, dev, op, 1, options(c.e, 0, c.probes)).Gradient(linear(t, dev, c.j, 1), l, signs)
			require.NoError(t, err)
			var s, want mat.Dense
			s.Product(a, c.j, a.T())
			s.Scale(l.C(), &s)
			inverse := function(t, symmetric(&s), func(e float64) float64 { return 1 / (max(e, 0) + l.SigmaY*l.SigmaY) })
			want.Product(a.T(), inverse, a)
			diagonal := make([]float64, cols) // ½ c E v ⊙ w
			for i := range diagonal {
				diagonal[i] = 0.5 * l.C() * want.At(i, i)
			}
			assert.LessOrEqual(t, relative(split(t, dev, g)[0], diagonal), 1e-4, "%s, seed %d", c.e, seed)
		}
	}
}

// One pattern alone is not the gradient: the test above averages something.
func TestProbesDiffer(t *testing.T) {
	p := newProblem(t, size{5, 7, 4}, 0.2, 1)
	_, want := p.exact(t, 0)
	for _, e := range []cmi.Estimator{cmi.Probe, cmi.TwoDirection, cmi.TwoTrace} {
		got, _ := p.gradient(t, p.denoiser(t), options(e, 4, 1), signs)
		assert.Greater(t, relative(got[0], want), 0.05, e)
	}
}

// The same with random probes, many images of one point as independent draws: the
// mean approaches the gradient as 1/√N.
func TestRandomProbesConverge(t *testing.T) {
	p := newProblem(t, size{6, 16, 10}, 0.3, 1)
	_, want := p.exact(t, 0)
	const n = 600
	d := p.denoiser(t, make([]int, n)...)
	got, _ := p.gradient(t, d, options(cmi.Probe, 10, 1), func(_ int, z []float32) { random(4, z) })
	spread := 0.0
	for _, g := range got {
		spread += math.Pow(floats.Distance(g, want, 2), 2) / n
	}
	standardError := math.Sqrt(spread/n) / floats.Norm(want, 2)
	assert.Less(t, standardError, 0.05, "enough probes to tell a factor of two")
	assert.LessOrEqual(t, relative(mean(got), want), 2*standardError)
}

// E[v vᵀ] = AᵀS⁻¹A where the solver is exact.
func TestDirectionsHaveTheCovariance(t *testing.T) {
	const rows = 4
	p := newProblem(t, size{5, 7, rows}, 0.3, 1)
	n := 1 << rows
	z := make([]float32, n*rows)
	for k := range n {
		signs(k, z[k*rows:(k+1)*rows])
	}
	v, err := newTerm(t, p.dev, p.op, n, options(cmi.Probe, rows, 1)).Direction(p.denoiser(t, make([]int, n)...), p.level, z)
	require.NoError(t, err)
	var sum mat.SymDense
	for i, d := range split(t, p.dev, v) {
		if i == 0 {
			sum = *mat.NewSymDense(len(d), nil)
		}
		sum.SymRankOne(&sum, 1/float64(n), mat.NewVecDense(len(d), d))
	}
	var s, inverse, want mat.Dense
	s.Product(p.A, p.locals[0].Covariance(), p.A.T())
	for i := range rows {
		s.Set(i, i, s.At(i, i)+p.SigmaY*p.SigmaY)
	}
	require.NoError(t, inverse.Inverse(&s))
	want.Product(p.A.T(), &inverse, p.A)
	assert.LessOrEqual(t, relative(mat.DenseCopyOf(&sum).RawMatrix().Data, want.RawMatrix().Data), 1e-4)
}

// Without Lanczos steps v = Aᵀ P^(−½) z, to the bit, and no JVP is spent.
func TestNoLanczosStepIsIsotropic(t *testing.T) {
	p := newProblem(t, size{5, 7, 4}, 0.3, 3)
	d := p.denoiser(t)
	z := make([]float32, 3*4)
	random(1, z)
	got, err := newTerm(t, p.dev, p.op, 3, options(cmi.Probe, 0, 1)).Direction(d, p.level, z)
	require.NoError(t, err)
	assert.Zero(t, d.jvps)

	ws := compute.NewWorkspace(p.dev)
	defer ws.Free()
	dual, want := ws.FromHost(z, 3, 1, 1, 4), ws.New(3, 1, 1, 7)
	require.NoError(t, ws.Err())
	measure.Power(p.op, dual, dual, 1-p.level.AlphaBar, p.SigmaY*p.SigmaY, -0.5)
	p.op.Adjoint(want, dual)
	assert.Equal(t, split(t, p.dev, want), split(t, p.dev, got))
}

// The expectation over all 2^9 patterns: its bias falls with the depth K and is
// gone at the rank.
func TestBiasShrinksWithDepth(t *testing.T) {
	const rows = 9
	p := newProblem(t, size{12, 16, rows}, 0.3, 1)
	_, want := p.exact(t, 0)
	const n = 1 << rows
	at := make([]int, n)
	bias := map[int]float64{}
	for _, k := range []int{0, 1, 2, 3, 5, rows} {
		got, _ := p.gradient(t, p.denoiser(t, at...), options(cmi.Probe, k, 1), func(_ int, z []float32) {
			for i := range n {
				signs(i, z[i*rows:(i+1)*rows])
			}
		})
		bias[k] = relative(mean(got), want)
	}
	t.Log(bias)
	assert.Less(t, bias[2], 0.8*bias[0])
	assert.Less(t, bias[3], bias[2])
	assert.Less(t, bias[5], 0.5*bias[3])
	assert.LessOrEqual(t, bias[rows], 2e-4)
}

// differences returns the comparison form of the jet: D²x̂0[v, v] as the central
// difference of Jacobian-vector products, (J(x + hv) − J(x − hv)) v/2h, with an
// error of order h²‖v‖⁴. It costs two passes more than a jet and loses half of the
// digits, which is why the product takes the jet; it shares no formula with it.
func differences(t *testing.T, p *problem, x, v []float64, h float64) []float64 {
	t.Helper()
	jvp := func(sign float64) []float64 {
		moved := append([]float64(nil), x...)
		floats.AddScaled(moved, sign*h, v)
		l, err := p.Prior.At(moved, p.level.AlphaBar)
		require.NoError(t, err)
		return l.TweedieJVP(nil, v)
	}
	d := jvp(1)
	floats.Sub(d, jvp(-1))
	floats.Scale(1/(2*h), d)
	return d
}

// One probe's gradient is ½ c D²x̂0[v, v] of its direction v, by differences.
func TestGradientOfOneProbeByDifferences(t *testing.T) {
	for _, k := range []int{0, 2, 4} {
		p := newProblem(t, size{5, 7, 4}, 0.3, 3)
		z := make([]float32, 3*4)
		random(2, z)
		v, err := newTerm(t, p.dev, p.op, 3, options(cmi.Probe, k, 1)).Direction(p.denoiser(t), p.level, z)
		require.NoError(t, err)
		got, _ := p.gradient(t, p.denoiser(t), options(cmi.Probe, k, 1), func(_ int, dst []float32) { copy(dst, z) })
		for i, v := range split(t, p.dev, v) {
			want := differences(t, p, p.points[i], v, 1e-3/floats.Norm(v, 2))
			floats.Scale(0.5*p.level.C(), want)
			assert.LessOrEqual(t, relative(got[i], want), 1e-4, "K = %d, image %d", k, i)
		}
	}
}

// The gradient is even in the probe.
func TestProbeSignDoesNotMatter(t *testing.T) {
	p := newProblem(t, size{5, 7, 4}, 0.3, 3)
	for _, e := range []cmi.Estimator{cmi.Probe, cmi.TwoDirection, cmi.TwoTrace} {
		var got [2][][]float64
		for i, sign := range []float32{1, -1} {
			got[i], _ = p.gradient(t, p.denoiser(t), options(e, 3, 2), func(k int, z []float32) {
				random(uint64(k), z)
				for i := range z {
					z[i] *= sign
				}
			})
		}
		assert.Equal(t, got[0], got[1], e)
	}
}

// Three images together are three alone, to the bit.
func TestImagesAreIndependent(t *testing.T) {
	p := newProblem(t, size{5, 7, 4}, 0.3, 3)
	for _, o := range []cmi.Options{
		options(cmi.Probe, 0, 1), options(cmi.Probe, 3, 2), options(cmi.Probe, 7, 1),
		options(cmi.Trace, 0, 1), options(cmi.TwoDirection, 0, 2), options(cmi.TwoTrace, 0, 2),
	} {
		name := fmt.Sprintf("%s, K = %d", o.Estimator, o.Lanczos)
		probe := func(image int) func(int, []float32) {
			return func(k int, z []float32) { random(uint64(10*k+image), z) }
		}
		got, information := p.gradient(t, p.denoiser(t), o, func(k int, z []float32) {
			for i := range 3 {
				probe(i)(k, z[i*len(z)/3:(i+1)*len(z)/3])
			}
		})
		for i := range 3 {
			alone, info := p.gradient(t, p.denoiser(t, i), o, probe(i))
			assert.Equal(t, alone[0], got[i], name)
			assert.Equal(t, info[0], information[i], name)
		}
	}
}

// The passes that the documentation promises: K JVPs and one jet for each probe. The
// dense estimators take a JVP for each measurement, two-trace one for each pixel too.
func TestCost(t *testing.T) {
	p := newProblem(t, size{5, 7, 4}, 0.3, 3)
	for _, c := range []struct {
		o             cmi.Options
		jvps, seconds int // of each image
	}{
		{options(cmi.Probe, 0, 1), 0, 1}, {options(cmi.Probe, 2, 1), 2, 1}, {options(cmi.Probe, 3, 4), 12, 4},
		{options(cmi.Trace, 0, 1), 4, 4}, {options(cmi.TwoDirection, 0, 3), 4, 3}, {options(cmi.TwoTrace, 0, 3), 4 + 7, 3},
	} {
		d := p.denoiser(t)
		same := 0
		d.second = func(i int, dst, v, w []float64) { same++ }
		_, _ = p.gradient(t, d, c.o, signs)
		assert.Equal(t, [2]int{3 * c.jvps, 3 * c.seconds}, [2]int{d.jvps, d.seconds}, "%+v", c.o)
		assert.Equal(t, d.seconds, same)
	}
}

// Images that are measured differently get what each gets alone, also where they
// have different numbers of measurements or share fewer operators than there are images.
func TestDenseEstimatorsPerImage(t *testing.T) {
	p := newProblem(t, size{6, 8, 8}, 0.3, 3)
	masks := [][]float32{{1, 1, 1, 1, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 1, 1, 1}}
	mask := func(image int) measure.Linear {
		op, err := measure.NewMask(p.dev, 1, 1, 8, masks[image%2])
		require.NoError(t, err)
		return op
	}
	batch, err := measure.NewPerImage(mask(0), mask(1))
	require.NoError(t, err)
	both := batch.(measure.Linear)
	defer both.Close()
	for _, e := range []cmi.Estimator{cmi.Trace, cmi.TwoDirection, cmi.TwoTrace} {
		p.op = both
		batch, information := p.gradient(t, p.denoiser(t), options(e, 0, 2), func(_ int, z []float32) { signs(-1, z) })
		for i := range batch {
			p.op = mask(i)
			defer p.op.Close()
			alone, nats := p.gradient(t, p.denoiser(t, i), options(e, 0, 2), func(_ int, z []float32) { signs(-1, z) })
			assert.LessOrEqual(t, relative(batch[i], alone[0]), 1e-5, "%s, image %d", e, i)
			assert.InDelta(t, nats[0], information[i], 1e-6, "%s, image %d", e, i)
		}
	}
	got := covariances(t, p.dev, both, p.denoiser(t), p.level)
	assert.Equal(t, []int{0, 1, 2, 3}, got[2].Measured)
	assert.Equal(t, []int{5, 6, 7}, got[1].Measured)
}
