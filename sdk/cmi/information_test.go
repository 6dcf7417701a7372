package cmi_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/cmi/dense"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// The probe estimator's information is that of an isotropic covariance: exact for
// one Gaussian, whatever the operator. Without a JVP it takes r² for the variance.
func TestInformationOfOneGaussian(t *testing.T) {
	for _, alphaBar := range []float64{0.9, 0.3, 0.01} {
		p := newProblem(t, size{1, 7, 4}, alphaBar, 1)
		want, gradient := p.exact(t, 0)
		for _, k := range []int{1, 4} {
			got, information := p.gradient(t, p.denoiser(t), options(cmi.Probe, k, 3), signs)
			assert.InEpsilon(t, want, information[0], 1e-4, "alpha-bar %v, K = %d", alphaBar, k)
			assert.InDeltaSlice(t, gradient, got[0], 1e-12, "a constant covariance has no gradient")
		}
		_, information := p.gradient(t, p.denoiser(t), options(cmi.Probe, 0, 1), signs)
		r2, s2 := 1-alphaBar, p.SigmaY*p.SigmaY
		assert.InEpsilon(t, (measure.LogDet(p.op, r2, s2)-measure.LogDet(p.op, 0, s2))/2, information[0], 1e-6)
	}
}

// On a mixture it is an estimate: right in order of magnitude, and it grows where
// the measurement is better.
func TestInformationOfMixture(t *testing.T) {
	p := newProblem(t, size{6, 8, 5}, 0.3, 4)
	at := func(sigma float64) []float64 {
		_, information, err := newTerm(t, p.dev, p.op, 4, options(cmi.Probe, 2, 8)).Gradient(p.denoiser(t),
			krylov.Level{AlphaBar: p.level.AlphaBar, SigmaY: sigma}, func(k int, z []float32) { random(uint64(k), z) })
		require.NoError(t, err)
		return information
	}
	// It comes from the first JVP alone, so that more steps don't change it.
	_, one := p.gradient(t, p.denoiser(t), options(cmi.Probe, 1, 1), signs)
	_, three := p.gradient(t, p.denoiser(t), options(cmi.Probe, 3, 1), signs)
	assert.Equal(t, one, three)
	rough, fine := at(p.SigmaY), at(p.SigmaY/10)
	for i := range rough {
		want, _ := p.exact(t, i)
		assert.InEpsilon(t, want, rough[i], 0.5)
		// Five measured coordinates of ten times the precision: below 5 log 10 nats more.
		assert.Greater(t, fine[i], rough[i]+3)
		assert.Less(t, fine[i], rough[i]+5*math.Log(10))
	}
}

// The dense estimators' information is I itself, from the exact covariance.
func TestCovariance(t *testing.T) {
	p := newProblem(t, size{6, 8, 5}, 0.3, 2)
	got := covariances(t, p.dev, p.op, p.denoiser(t), p.level)
	require.Len(t, got, 2)
	var information []float64
	for i, c := range got {
		assert.Equal(t, []int{0, 1, 2, 3, 4}, c.Measured)
		var want mat.Dense
		want.Product(p.A, p.locals[i].Covariance(), p.A.T())
		assert.LessOrEqual(t, relative(mat.DenseCopyOf(c.Matrix).RawMatrix().Data, want.RawMatrix().Data), 1e-5)
		exact, _ := p.exact(t, i)
		nats, err := c.Information(p.level)
		require.NoError(t, err)
		assert.InEpsilon(t, exact, nats, 1e-4)
		information = append(information, nats)
	}
	for _, e := range []cmi.Estimator{cmi.Trace, cmi.TwoDirection, cmi.TwoTrace} {
		_, got := p.gradient(t, p.denoiser(t), options(e, 0, 1), signs)
		assert.InDeltaSlice(t, information, got, 1e-9, e)
	}
}

// A covariance that loses variance in a direction carries no negative information.
func TestInformationIgnoresNegativeEigenvalues(t *testing.T) {
	c := dense.Covariance{Matrix: mat.NewSymDense(3, []float64{-3, 0, 0, 0, -0.2, 0, 0, 0, 0.75})}
	got, err := c.Information(krylov.Level{AlphaBar: 0.5, SigmaY: 0.5})
	require.NoError(t, err)
	assert.InDelta(t, math.Log(4)/2, got, 1e-15)
}

func TestLevel(t *testing.T) {
	l := krylov.Level{AlphaBar: 0.25, SigmaY: 0.1}
	assert.InDelta(t, 1.5, l.C(), 1e-15)
	assert.InDelta(t, 0.75, l.R2(), 1e-15)
	// c J is the posterior covariance of the mixture.
	m := &mixture.Mixture{Weights: []float64{1, 2}, Means: [][]float64{{1, 0}, {0, 1}}, Std: 0.3}
	local, err := m.At([]float64{0.3, 0.2}, l.AlphaBar)
	require.NoError(t, err)
	assert.InDelta(t, local.Covariance().At(0, 1), l.C()*local.Jacobian().At(0, 1), 1e-12)
	assert.InDelta(t, local.Covariance().At(1, 1), l.C()*local.Jacobian().At(1, 1), 1e-12)
}
