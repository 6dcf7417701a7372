package diffusion

import (
	"fmt"
	"math"
)

// Variance names the variance of a DDPM step.
type Variance string

// The variances of the reverse step. LearnedRange needs a network with variance
// channels v: log σ² = f log β + (1−f) log β̃, f = (v+1)/2 (Nichol & Dhariwal
// 2021, eq. 15).
const (
	LearnedRange Variance = "learned"
	FixedSmall   Variance = "fixed-small" // σ² = β̃
	FixedLarge   Variance = "fixed-large" // σ² = β
)

// Validate says whether v is one of the variances.
func (v Variance) Validate() error {
	switch v {
	case LearnedRange, FixedSmall, FixedLarge:
		return nil
	}
	return fmt.Errorf("unknown variance %q: %s, %s or %s", string(v), LearnedRange, FixedSmall, FixedLarge)
}

// LogStd gives the standard deviation of the DDPM step i as exp(scale·v + shift),
// v the network's variance channels; scale is 0 for the fixed variances. At i = 0,
// where no noise is added, log β̃ is that of i = 1. A variance that does not
// validate is taken as FixedSmall.
func (s *Schedule) LogStd(i int, v Variance) (scale, shift float64) {
	large, small := math.Log(s.beta[i])/2, s.logVar[i]/2
	switch v {
	case LearnedRange:
		return (large - small) / 2, (large + small) / 2
	case FixedLarge:
		return 0, large
	default:
		return 0, small
	}
}

// DDPM gives the coefficients of the mean of the ancestral step i,
// cx0·x̂0 + cxt·x_t (Ho et al. 2020, eq. 7). The noise z that is added for i > 0
// has the standard deviation of [Schedule.LogStd].
func (s *Schedule) DDPM(i int) (cx0, cxt float64) { return s.CoefX0(i), s.CoefXt(i) }

// DDIM gives the coefficients of the step i as cx0·x̂0 + ceps·ε + sigma·z (Song et
// al. 2021, eqs. 12 and 16): σ = η√((1−ᾱ_prev)/(1−ᾱ))·√(1−ᾱ/ᾱ_prev),
// cx0 = √ᾱ_prev, ceps = √(1−ᾱ_prev−σ²). η is in [0, 1]: 0 is deterministic, 1 has
// DDPM's variance. Where x̂0 is clipped, ε must be the one that belongs to the
// clipped x̂0; see [Schedule.Epsilon].
func (s *Schedule) DDIM(i int, eta float64) (cx0, ceps, sigma float64) {
	ab, prev := s.alphaBar[i], s.AlphaBarPrev(i)
	sigma = eta * math.Sqrt((1-prev)/(1-ab)) * math.Sqrt(1-ab/prev)
	// max: rounding may leave −1e-17 for η = 1
	return math.Sqrt(prev), math.Sqrt(max(1-prev-sigma*sigma, 0)), sigma
}

// Epsilon gives the noise that belongs to x̂0 at x_t as cxt·x_t + cx0·x̂0: the
// inverse of [Schedule.Tweedie].
func (s *Schedule) Epsilon(i int) (cxt, cx0 float64) {
	root := math.Sqrt(1 - s.alphaBar[i])
	return 1 / root, -math.Sqrt(s.alphaBar[i]) / root
}

// Tweedie gives the mean x̂0 = E[x0 | x_t] as cxt·x_t + ceps·ε.
func (s *Schedule) Tweedie(i int) (cxt, ceps float64) {
	root := math.Sqrt(s.alphaBar[i])
	return 1 / root, -math.Sqrt(1-s.alphaBar[i]) / root
}

// Forward gives x_t = cx0·x0 + cnoise·n, n ~ N(0, I), of the forward process.
func (s *Schedule) Forward(i int) (cx0, cnoise float64) {
	return math.Sqrt(s.alphaBar[i]), math.Sqrt(1 - s.alphaBar[i])
}

// PosteriorX0 returns Var[x0 | x_t] at step i that a value v of the network's variance channels
// tells (Peng et al. 2024, arXiv 2402.02149): where σ² = exp(f log β + (1−f) log β̃), f = (v+1)/2, is
// the best variance of the reverse step, it is (σ² − β̃)/c1². β, β̃ and c1 are those of training,
// however the schedule is respaced; f is limited to [0, 1], so that the result is in [0, 1−ᾱ_t].
func (s *Schedule) PosteriorX0(i int, v float64) float64 {
	f, t := min(max((v+1)/2, 0), 1), s.trained[i]
	c1 := t.beta * math.Sqrt(t.alphaBarPrev) / (1 - s.alphaBar[i])
	if t.variance == 0 {
		return math.Exp(f*math.Log(t.beta)+(1-f)*t.logVar) / (c1 * c1)
	}
	return t.variance * math.Expm1(f*(math.Log(t.beta)-t.logVar)) / (c1 * c1)
}
