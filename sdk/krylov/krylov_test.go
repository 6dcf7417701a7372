package krylov_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// jacobian is a denoiser with any matrix for J, whose D²x̂0[v, v] is v as the
// combination of the directions of JVPCached.
type jacobian struct {
	prior.Denoiser
	dev           compute.Device
	ws            *compute.Workspace
	out           compute.Tensor
	j             *mat.Dense
	cached, plain int
	directions    []compute.Tensor // of JVPCached
}

func (d *jacobian) JVP(v compute.Tensor) (compute.Tensor, error) {
	d.plain++
	return d.apply(v)
}

func (d *jacobian) JVPCached(k int, v compute.Tensor) (compute.Tensor, error) {
	if k != len(d.directions) {
		return v, fmt.Errorf("direction %d after %d", k, len(d.directions))
	}
	d.cached++
	direction := d.ws.Like(v)
	d.dev.Combine(direction, compute.Times(1, v))
	d.directions = append(d.directions, direction)
	return d.apply(v)
}

func (d *jacobian) apply(v compute.Tensor) (compute.Tensor, error) {
	host, err := compute.ToHost(d.dev, v)
	if err != nil {
		return v, err
	}
	var jv mat.VecDense
	jv.MulVec(d.j, mat.NewVecDense(len(host), wide(host)))
	d.dev.Write(d.out, narrow(jv.RawVector().Data))
	return d.out, nil
}

func (d *jacobian) SecondAlong(_ compute.Tensor, coef [][]float64) (compute.Tensor, error) {
	d.dev.Combine(d.out, compute.Times(0, d.out))
	for k, c := range coef {
		d.dev.Combine(d.out, compute.Times(1, d.out), compute.Term{X: d.directions[k], Coef: c})
	}
	return d.out, nil
}

func wide(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

func narrow(v []float64) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}

// With as many steps as measurements Solve is AᵀS⁻¹r and InverseRoot's square is AᵀS⁻¹A,
// both are the combinations of the JVPs' directions that Second is taken along, and the
// cache is used where it is asked for.
func TestSolve(t *testing.T) {
	const rows, cols = 5, 8
	dev := cpu.New(1)
	defer dev.Close()
	rng := rand.New(rand.NewPCG(4, 2))
	random := func(r, c int) *mat.Dense {
		m := mat.NewDense(r, c, nil)
		for i := range m.RawMatrix().Data {
			m.RawMatrix().Data[i] = rng.NormFloat64() / math.Sqrt(float64(c))
		}
		return m
	}
	a, root := random(rows, cols), random(cols, cols)
	j := new(mat.Dense)
	j.Mul(root, root.T())
	op, err := measure.NewDense(dev, a)
	require.NoError(t, err)
	defer op.Close()
	l := krylov.Level{AlphaBar: 0.4, SigmaY: 0.3}
	var s, inverse mat.Dense
	s.Product(a, j, a.T())
	s.Scale(l.C(), &s)
	for i := range rows {
		s.Set(i, i, s.At(i, i)+l.S2())
	}
	require.NoError(t, inverse.Inverse(&s))

	ws := compute.NewWorkspace(dev)
	defer ws.Free()
	space := krylov.New(dev, ws, op, 1, rows)
	d := &jacobian{dev: dev, ws: ws, out: ws.New(1, 1, 1, cols), j: j}
	r := make([]float32, rows)
	for i := range r {
		r[i] = float32(rng.NormFloat64())
	}
	residual := ws.FromHost(r, 1, 1, 1, rows)
	require.NoError(t, ws.Err())
	var solved, want mat.VecDense
	solved.MulVec(&inverse, mat.NewVecDense(rows, wide(r)))
	want.MulVec(a.T(), &solved)

	w, err := space.Solve(d, l, residual, false)
	require.NoError(t, err)
	assert.Equal(t, [2]int{rows, 0}, [2]int{d.plain, d.cached})
	equal(t, dev, want.RawVector().Data, w)
	dev.Write(residual, r)
	w, err = space.Solve(d, l, residual, true)
	require.NoError(t, err)
	assert.Equal(t, [2]int{rows, rows}, [2]int{d.plain, d.cached})
	equal(t, dev, want.RawVector().Data, w)
	along, err := space.Second(d)
	require.NoError(t, err)
	equal(t, dev, want.RawVector().Data, along)

	sum := mat.NewDense(cols, cols, nil)
	for pattern := range 1 << rows {
		z := make([]float32, rows)
		for i := range z {
			z[i] = float32(2*(pattern>>i&1) - 1)
		}
		dev.Write(residual, z)
		d.directions = nil
		v, variance, err := space.InverseRoot(d, l, residual, []float64{math.Sqrt(rows)})
		require.NoError(t, err)
		assert.Positive(t, variance[0])
		host, err := compute.ToHost(dev, v)
		require.NoError(t, err)
		sum.RankOne(sum, 1./(1<<rows), mat.NewVecDense(cols, wide(host)), mat.NewVecDense(cols, wide(host)))
	}
	var exact mat.Dense
	exact.Product(a.T(), &inverse, a)
	assert.True(t, mat.EqualApprox(&exact, sum, 1e-4*mat.Norm(&exact, 2)))
}

func equal(t *testing.T, dev compute.Device, want []float64, got compute.Tensor) {
	t.Helper()
	host, err := compute.ToHost(dev, got)
	require.NoError(t, err)
	assert.InDeltaSlice(t, want, wide(host), 1e-4*mat.Norm(mat.NewVecDense(len(want), want), 2))
}
