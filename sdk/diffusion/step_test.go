package diffusion_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// DDIM keeps the marginals for every η (Song et al. 2021, lemma 1): with ε and z
// independent unit normals the result has mean √ᾱ_prev x0 and variance 1 − ᾱ_prev.
func TestDDIMKeepsMarginals(t *testing.T) {
	s := schedule(t, "linear", 1000, 20)
	for _, eta := range []float64{0, 0.5, 1} {
		for i := range s.Len() {
			cx0, ceps, sigma := s.DDIM(i, eta)
			assert.InDelta(t, math.Sqrt(s.AlphaBarPrev(i)), cx0, 1e-15)
			assert.InDelta(t, 1-s.AlphaBarPrev(i), ceps*ceps+sigma*sigma, 1e-12)
		}
		cx0, ceps, sigma := s.DDIM(0, eta)
		assert.Equal(t, [3]float64{1, 0, 0}, [3]float64{cx0, ceps, sigma})
	}
}

// At η = 1 the DDIM step is the DDPM step of variance β̃.
func TestDDIMIsDDPMAtEtaOne(t *testing.T) {
	s := schedule(t, "cosine", 1000, 50)
	for i := range s.Len() {
		cx0, ceps, sigma := s.DDIM(i, 1)
		fromXt, fromX0 := s.Epsilon(i)
		wantX0, wantXt := s.DDPM(i)
		assert.InDelta(t, wantX0, cx0+ceps*fromX0, 1e-9, "step %d", i)
		assert.InDelta(t, wantXt, ceps*fromXt, 1e-9, "step %d", i)
		assert.InDelta(t, s.PosteriorVariance(i), sigma*sigma, 1e-12, "step %d", i)
	}
}

func TestTweedieInvertsForward(t *testing.T) {
	s := schedule(t, "linear", 1000, 30)
	for i := range s.Len() {
		x0, noise := 0.3, -1.7
		a, b := s.Forward(i)
		xt := a*x0 + b*noise
		a, b = s.Tweedie(i)
		assert.InDelta(t, x0, a*xt+b*noise, 1e-10)
		a, b = s.Epsilon(i)
		assert.InDelta(t, noise, a*xt+b*x0, 1e-10)
	}
}

func TestLogStd(t *testing.T) {
	s := schedule(t, "linear", 1000, 20)
	std := func(i int, v diffusion.Variance, channel float64) float64 {
		scale, shift := s.LogStd(i, v)
		return math.Exp(scale*channel + shift)
	}
	for i := range s.Len() {
		small := math.Sqrt(s.PosteriorVariance(max(i, 1)))
		large := math.Sqrt(s.Beta(i))
		assert.InEpsilon(t, small, std(i, diffusion.FixedSmall, 0.7), 1e-12)
		assert.InEpsilon(t, large, std(i, diffusion.FixedLarge, 0.7), 1e-12)
		assert.InEpsilon(t, small, std(i, diffusion.LearnedRange, -1), 1e-12)
		assert.InEpsilon(t, large, std(i, diffusion.LearnedRange, 1), 1e-12)
		f := (0.4 + 1) / 2
		assert.InEpsilon(t, math.Pow(large, f)*math.Pow(small, 1-f), std(i, diffusion.LearnedRange, 0.4), 1e-12)
	}
	for _, v := range []diffusion.Variance{diffusion.LearnedRange, diffusion.FixedSmall, diffusion.FixedLarge} {
		assert.NoError(t, v.Validate())
	}
}

// The posterior variance of x0 gives back the variance of training's reverse step, however the
// schedule is respaced, and goes from 0 to 1 − ᾱ_t.
func TestPosteriorX0(t *testing.T) {
	betas, err := diffusion.Linear(1000)
	require.NoError(t, err)
	full, err := diffusion.New(betas, 1000)
	require.NoError(t, err)
	for _, steps := range []int{1000, 50, 7} {
		s, err := diffusion.New(betas, steps)
		require.NoError(t, err)
		for i := range steps {
			at := s.Timestep(i)
			beta, variance, c1 := full.Beta(at), full.PosteriorVariance(at), full.CoefX0(at)
			for _, v := range []float64{-1, -0.3, 0.2, 1} {
				f := (v + 1) / 2
				got := s.PosteriorX0(i, v)
				sigma2 := math.Exp(f*math.Log(beta) + (1-f)*full.PosteriorLogVariance(at))
				assert.InDelta(t, sigma2, variance+c1*c1*got, 1e-12, "step %d of %d", i, steps)
				if f == 1 {
					assert.InEpsilon(t, 1-s.AlphaBar(i), got, 1e-9)
				}
			}
			assert.Equal(t, s.PosteriorX0(i, -1), s.PosteriorX0(i, -5))
			assert.Equal(t, s.PosteriorX0(i, 1), s.PosteriorX0(i, 5))
			if i > 0 {
				assert.Zero(t, s.PosteriorX0(i, -1))
			}
		}
	}
}
