package sdk_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// chain returns mean and variance of x_0 under the reverse process of a Gaussian prior N(mean, std² I)
// without a measurement, coordinate by coordinate: every step is linear.
func chain(s *diffusion.Schedule, prior []float64, std float64) (mean []float64, variance float64) {
	mean, variance = make([]float64, len(prior)), 1
	for i := s.Len() - 1; i >= 0; i-- {
		ab := s.AlphaBar(i)
		gain := math.Sqrt(ab) * std * std / (ab*std*std + 1 - ab) // x̂0 = μ + gain (x_t − √ᾱ μ)
		cx0, cxt := s.DDPM(i)
		slope := cx0*gain + cxt
		for k, mu := range prior {
			mean[k] = slope*mean[k] + cx0*(mu-gain*math.Sqrt(ab)*mu)
		}
		variance = slope * slope * variance
		if i > 0 {
			variance += s.PosteriorVariance(i)
		}
	}
	return mean, variance
}

// On a Gaussian prior the estimates of p(y) are those of the chain's own Gaussian, in the mean and to four
// standard errors, and the more exact the more particles; so are the moments of the samples, to five. A
// method that guides too strongly is set right, and one that does not guide at all.
func TestParticlesAreExactOnAGaussian(t *testing.T) {
	const runs, dim, sigma, steps = 200, 3, 0.4, 100
	betas, err := diffusion.LinearBetas(200, 1e-3, 0.1)
	require.NoError(t, err)
	schedule, err := diffusion.New(betas, steps)
	require.NoError(t, err)
	p, gaussian, a, y := oneGaussian(t, betas, runs, sigma)
	mean, variance := chain(schedule, gaussian.Means[0], gaussian.Std)
	exact, err := (&mixture.Mixture{Weights: []float64{1}, Means: [][]float64{mean}, Std: math.Sqrt(variance)}).Posterior(a, y, sigma)
	require.NoError(t, err)
	covariance := covarianceOf(exact)
	for name, o := range map[string]sdk.Options{
		"pigdm":         {Method: guide.PiGDM{Scale: 1, GuidedMean: true}},
		"too strong":    {Method: guide.PiGDM{Scale: 1.5, GuidedMean: true}},
		"unconditional": {Method: guide.Unconditional{}},
		"DDIM":          {Method: guide.MMPS{Lanczos: 2}, DDIM: ptr(1.0)},
	} {
		o.Schedule, o.Variance, o.NoClip, o.Seed = schedule, diffusion.FixedSmall, true, 5
		var deviations []float64
		for _, of := range []int{1, 4, 16} {
			o.Particles = of
			var last sdk.Progress
			o.OnStep = func(p sdk.Progress) { last = p }
			x := asRows(restore(t, p, o), dim)
			require.Len(t, last.LogEvidence, runs)
			ratios := make([]float64, runs)
			for i, v := range last.LogEvidence {
				ratios[i] = math.Exp(v - exact.LogEvidence)
				assert.True(t, last.ESS[i] >= 1-1e-9 && last.ESS[i] <= float64(of)+1e-9)
			}
			m, deviation := stat.MeanStdDev(ratios, nil)
			t.Logf("%s, %d particles: p(y) × %.3f ± %.3f", name, of, m, deviation/math.Sqrt(runs))
			assert.InDelta(t, 1, m, 4*deviation/math.Sqrt(runs), "%s, %d particles", name, of)
			deviations = append(deviations, deviation)
			if of < 16 {
				continue
			}
			assert.Less(t, deviation, 0.6, name)
			for k := range dim {
				m, v := stat.MeanVariance(mat.Col(nil, k, x), nil)
				want := covariance.At(k, k)
				assert.InDelta(t, exact.Means[0][k], m, 5*math.Sqrt(want/runs), "%s, mean %d", name, k)
				assert.InDelta(t, want, v, 5*want*math.Sqrt(2./runs), "%s, variance %d", name, k)
			}
		}
		assert.Less(t, deviations[1], 0.7*deviations[0], "%s: the estimates come nearer", name)
		assert.Less(t, deviations[2], 0.7*deviations[1], "%s: and nearer", name)
	}
}

// particleRuns are options with particles for problems of pictures.
func particleRuns(t *testing.T, of int) map[string]func(o *sdk.Options) {
	t.Helper()
	return map[string]func(o *sdk.Options){
		"dps":     func(o *sdk.Options) { o.Particles = of },
		"pigdm":   func(o *sdk.Options) { o.Particles, o.Method, o.DDIM, o.CMI = of, guide.PiGDM{Scale: 1}, ptr(1.0), nil },
		"adamdps": func(o *sdk.Options) { o.Particles, o.Method = of, guide.AdamDPS{Scale: 0.1, Beta1: 0.4, Beta2: 0.4} },
	}
}

// A picture does not depend on the batch, to the bit, with masks of its own; its passes are those that
// were planned, and its resampling has numbers of its own.
func TestParticlesDoNotDependOnTheBatch(t *testing.T) {
	dev := device(t, 2)
	for name, set := range particleRuns(t, 3) {
		p, o := pictures(t, dev, "inpaint", 2, 6)
		set(&o)
		o.Images = []uint64{3, 4}
		other, err := measure.ForTask("inpaint", dev, 3, 16, 16, measure.Inputs{Rand: rand.New(rand.NewPCG(9, 9))})
		require.NoError(t, err)
		t.Cleanup(other.Close)
		first := p.Operator
		p.Operator, err = measure.NewPerImage(first, other)
		require.NoError(t, err)
		var both sdk.Progress
		resampled := 0
		o.Preview = true
		o.OnStep = func(p sdk.Progress) {
			both = p
			for _, ess := range p.ESS {
				if ess < 1.5 {
					resampled++
				}
			}
		}
		together := restore(t, p, o)
		assert.Positive(t, resampled, name)
		assert.Equal(t, sdk.NewPlan(p.Prior, o, 2).Passes(), both.Passes, name)
		assert.Len(t, both.Preview, len(together), name)
		for i, op := range []measure.Operator{first, other} {
			one := p
			one.Operator, one.N, one.Y = op, 1, p.Y[i*len(p.Y)/2:(i+1)*len(p.Y)/2]
			o.Images = []uint64{uint64(3 + i)}
			var last sdk.Progress
			o.OnStep = func(p sdk.Progress) { last = p }
			assert.True(t, slices.Equal(together[i*len(together)/2:(i+1)*len(together)/2], restore(t, one, o)), "%s, image %d", name, i)
			of := both.Of(i)
			assert.True(t, slices.Equal(of.Preview, last.Preview), "%s, preview of image %d", name, i)
			of.Preview, last.Preview = nil, nil
			assert.Equal(t, of, last, "%s, image %d", name, i)
		}
	}
}

// A run goes on from a saved state to the same picture and the same weights.
func TestParticlesGoOn(t *testing.T) {
	for name, set := range particleRuns(t, 3) {
		p, o := pictures(t, device(t, 2), "sr4", 2, 6)
		set(&o)
		var want, got sdk.Progress
		o.OnStep = func(p sdk.Progress) { want = p }
		whole := restore(t, p, o)
		o.OnStep = nil
		first := newSolver(t, p, o)
		for range 3 {
			require.NoError(t, first.Step())
		}
		x, index, err := first.State()
		require.NoError(t, err)
		o.OnStep = func(p sdk.Progress) { got = p }
		second := newSolver(t, p, o)
		require.NoError(t, second.SetState(x, index))
		picture, err := second.Run(context.Background())
		require.NoError(t, err)
		assert.Equal(t, whole, picture, name)
		assert.Equal(t, want.LogEvidence, got.LogEvidence, name)
		end, index, err := second.State()
		require.NoError(t, err)
		third := newSolver(t, p, o)
		require.NoError(t, third.SetState(end, index))
		picture, err = third.Run(context.Background())
		require.NoError(t, err)
		assert.Equal(t, whole, picture, "%s, from the end", name)
	}
}

// One particle is the run without, but for the last step.
func TestOneParticle(t *testing.T) {
	p, o := pictures(t, device(t, 2), "sr4", 1, 4)
	plain := newSolver(t, p, o)
	o.Particles = 1
	one := newSolver(t, p, o)
	for range 3 {
		require.NoError(t, plain.Step())
		require.NoError(t, one.Step())
		want, _, err := plain.State()
		require.NoError(t, err)
		got, _, err := one.State()
		require.NoError(t, err)
		assert.Equal(t, want, got[:len(want)])
	}
}

// What particles do not go with is refused with what to do.
func TestParticlesAreRefused(t *testing.T) {
	for says, set := range map[string]func(p *sdk.Problem, o *sdk.Options){
		"-1 particles of each image":                   func(p *sdk.Problem, o *sdk.Options) { o.Particles = -1 },
		"70000 particles of each image, 1 to 65536":    func(p *sdk.Problem, o *sdk.Options) { o.Particles = 70000 },
		"DDIM with eta 0 has none":                     func(p *sdk.Problem, o *sdk.Options) { o.DDIM, o.CMI = ptr(0.0), nil },
		"below 2^48 is wanted with particles":          func(p *sdk.Problem, o *sdk.Options) { o.Images = []uint64{1 << 50} },
		"a run of particles starts at pure noise":      func(p *sdk.Problem, o *sdk.Options) { o.FromMeasurement = true },
		"the method dsg takes steps whose density":     func(p *sdk.Problem, o *sdk.Options) { o.Method = guide.DSG{Interval: 1, Rate: 0.1} },
		"the method pigdm takes steps whose density":   func(p *sdk.Problem, o *sdk.Options) { o.Method = guide.PiGDM{Scale: 1, Published: true} },
		"the method diffpir takes steps whose density": func(p *sdk.Problem, o *sdk.Options) { o.Method = guide.DiffPIR{Lambda: 1, Zeta: 1} },
		"by the Gaussian evidence of a linear measurement": func(p *sdk.Problem, o *sdk.Options) {
			p.Operator, p.Y, o.CMI, o.Method = nil, nil, nil, guide.Unconditional{}
		},
	} {
		p, o := pictures(t, device(t, 1), "sr4", 1, 4)
		o.Particles = 4
		set(&p, &o)
		_, err := sdk.Restore(context.Background(), p, o)
		assert.ErrorContains(t, err, says)
	}
	dev := device(t, 1)
	p, o := pictures(t, dev, "inpaint", 3, 4)
	other, err := measure.ForTask("inpaint", dev, 3, 16, 16, measure.Inputs{Rand: rand.New(rand.NewPCG(9, 9))})
	require.NoError(t, err)
	t.Cleanup(other.Close)
	p.Operator, err = measure.NewPerImage(p.Operator, other)
	require.NoError(t, err)
	o.Particles = 2
	_, err = sdk.Restore(context.Background(), p, o)
	assert.ErrorContains(t, err, "particles need one operator, or one for each image")
}

// Memory and time grow with the particles, and none is allocated after the first step.
func TestParticlesArePlanned(t *testing.T) {
	dev := watch(device(t, 1))
	p, o := gaussians(t, dev, 2, 6)
	o.CMI, o.Particles = nil, 5
	s := newSolver(t, p, o)
	require.NoError(t, s.Step())
	allocs := dev.allocs
	x, err := s.Run(context.Background())
	require.NoError(t, err)
	assert.Equal(t, allocs, dev.allocs, "allocations after the first step")
	assert.False(t, slices.ContainsFunc(x, func(v float32) bool { return v != v }))

	m := network(t, device(t, 1))
	_, o = picturesOf(t, m, "sr4", 1, 10)
	one := sdk.NewPlan(m, o, 8)
	o.Particles = 8
	many := sdk.NewPlan(m, o, 1)
	assert.Less(t, one.Memory, many.Memory)
	assert.Less(t, many.Memory, one.Memory+one.Memory/4)
	last := o.Method.Cost(o.Schedule, 0).Passes() - 1
	term := o.CMI.Probes * (o.CMI.Lanczos + 1)
	if !o.CMI.Active(10, o.Schedule.AlphaBar(0)) {
		term = 0
	}
	assert.Equal(t, 8*(one.Passes()-last-term), many.Passes())
}
