package sdk_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// The same seed is the same picture, another seed or image number another one.
func TestSeed(t *testing.T) {
	dev := device(t, 2)
	p, o := pictures(t, dev, "sr4", 1, 3)
	first := restore(t, p, o)
	assert.Equal(t, first, restore(t, p, o))
	o.Images = []uint64{0}
	assert.Equal(t, first, restore(t, p, o), "nil numbers the images from 0")
	o.Images = []uint64{1}
	assert.Greater(t, distance(first, restore(t, p, o)), 0.1*norm(first))
	o.Images = nil
	o.Seed++
	assert.Greater(t, distance(first, restore(t, p, o)), 0.1*norm(first))
}

// A picture does not depend on the batch it is restored in, to the bit.
func TestBatchSplit(t *testing.T) {
	dev := device(t, 2)
	for name, problem := range map[string]func() (sdk.Problem, sdk.Options){
		"network": func() (sdk.Problem, sdk.Options) { return pictures(t, dev, "inpaint", 3, 4) },
		"mixture": func() (sdk.Problem, sdk.Options) { return gaussians(t, dev, 3, 20) },
	} {
		for _, probes := range []int{1, 2} {
			p, o := problem()
			o.CMI.Probes = probes
			o.Images = []uint64{7, 1 << 40, 9}
			together := restore(t, p, o)
			for i, image := range []uint64{7, 1 << 40, 9} {
				one := p
				one.N, one.Y = 1, p.Y[i*len(p.Y)/3:(i+1)*len(p.Y)/3]
				o.Images = []uint64{image}
				assert.Equal(t, together[i*len(together)/3:(i+1)*len(together)/3], restore(t, one, o), "%s, image %d", name, i)
			}
		}
	}
}

// Nor where its images have operators of their own, for every method.
func TestBatchOfMasks(t *testing.T) {
	dev := device(t, 2)
	for _, method := range []guide.Method{guide.DPS{Scale: 0.5}, guide.MCG{}, guide.PiGDM{Scale: 1}, guide.Evidence{Scale: 1, Lanczos: 2}, guide.DiffPIR{Lambda: 1, Zeta: 0.5}, guide.DDNM{Eta: 0.85}, guide.AdamDPS{Scale: 0.1, Beta1: 0.4, Beta2: 0.4}, guide.PiGDM{Scale: 1, Learned: 100}, guide.DiffPIR{Lambda: 1, Zeta: 0.5, Learned: 100}, guide.TMPD{}, guide.CADPS{Scale: 0.5}, guide.FPS{Particles: 3, Fresh: 0.95}, guide.Gibbs{}, guide.DDRM{Top: 2}, guide.DAPS{Radius: 1, Langevin: 1, StepSize: 1}, guide.DAPS{Langevin: 4, StepSize: 1e-3}, guide.Pathwise{Root: 2, Solve: 2}} {
		p, o := pictures(t, dev, "inpaint", 2, 4)
		o.Method, o.Images = method, []uint64{3, 4}
		if guide.TakesTerm(method, o.Schedule) != nil {
			o.CMI = nil
		}
		other, err := measure.ForTask("inpaint", dev, 3, 16, 16, measure.Inputs{Rand: rand.New(rand.NewPCG(9, 9))})
		require.NoError(t, err)
		first := p.Operator
		p.Operator, err = measure.NewPerImage(first, other)
		require.NoError(t, err)
		t.Cleanup(other.Close)
		together := restore(t, p, o)
		for i, op := range []measure.Operator{first, other} {
			one := p
			one.Operator, one.N, one.Y = op, 1, p.Y[i*len(p.Y)/2:(i+1)*len(p.Y)/2]
			o.Images = []uint64{uint64(3 + i)}
			assert.Equal(t, together[i*len(together)/2:(i+1)*len(together)/2], restore(t, one, o), "%s, image %d", method.Name(), i)
		}
	}
}

// Methods that draw their state anew go on from a saved state to the same picture, and so
// does DAPS of a nonlinear operator.
func TestGoOnFromAnImage(t *testing.T) {
	for task, method := range map[string]guide.Method{
		"sr4": guide.Gibbs{}, "phase": guide.DAPS{Radius: 1, Langevin: 10, StepSize: 1e-3},
	} {
		p, o := pictures(t, device(t, 2), "sr4", 2, 4)
		if task == "phase" {
			op, err := measure.NewPhaseRetrieval(p.Prior.Device(), 3, 16, 16, 2)
			require.NoError(t, err)
			t.Cleanup(op.Close)
			p.Operator = op
			p.Y, err = sdk.Measure(p.Prior.Device(), op, make([]float32, 2*3*16*16), sigmaY, 1, nil)
			require.NoError(t, err)
		}
		o.Method, o.CMI = method, nil
		want := restore(t, p, o)
		first := newSolver(t, p, o)
		require.NoError(t, first.Step())
		require.NoError(t, first.Step())
		x, index, err := first.State()
		require.NoError(t, err)
		second := newSolver(t, p, o)
		require.NoError(t, second.SetState(x, index))
		got, err := second.Run(context.Background())
		require.NoError(t, err)
		assert.Equal(t, want, got, task)
	}
}

// A blur without a known spectrum is solved at the highest noise level, too, where it is
// nearly singular, in a batch as alone, and whatever the noise is said to be: the measurement's
// is larger here, so that the residual is no blurred image.
func TestSolvesWithoutASpectrum(t *testing.T) {
	dev := device(t, 2)
	var all []measure.Operator
	for seed := range uint64(2) {
		kernel, err := measure.MotionKernel(13, 0.5, rand.New(rand.NewPCG(seed, 1)))
		require.NoError(t, err)
		op, err := measure.NewBlur(dev, 3, 16, 16, kernel, compute.Reflect)
		require.NoError(t, err)
		require.False(t, measure.Exact(op))
		all = append(all, op)
	}
	both, err := measure.NewPerImage(all...)
	require.NoError(t, err)
	t.Cleanup(both.Close)
	for _, method := range []guide.Method{guide.DiffPIR{Lambda: 1, Zeta: 1}, guide.Gibbs{}, guide.DDRM{Top: 2}, guide.PiGDMFor("motion"),
		guide.PiGDM{Scale: 1, MinSigmaY: 0.001, Published: true}, guide.MCG{}, guide.Projection{}} {
		p, o := pictures(t, dev, "denoise", 2, 3)
		p.Operator, p.SigmaY, o.Method, o.CMI = both, 0.001, method, nil
		together := restore(t, p, o)
		p.Operator, p.N, p.Y, o.Images = all[1], 1, p.Y[len(p.Y)/2:], []uint64{1}
		assert.Equal(t, together[len(together)/2:], restore(t, p, o), method.Name())
	}
}

// Nor on the number of threads.
func TestThreads(t *testing.T) {
	var want []float32
	for _, threads := range []int{1, 2, 5} {
		p, o := pictures(t, device(t, threads), "blur", 2, 3)
		got := restore(t, p, o)
		if want == nil {
			want = got
		}
		assert.Equal(t, want, got, "%d threads", threads)
	}
}

// A run that is interrupted and taken up by another solver ends in the same picture.
func TestResume(t *testing.T) {
	dev := device(t, 2)
	eta := 0.5
	for name, change := range map[string]func(*sdk.Options){
		"DDPM":           func(*sdk.Options) {},
		"DDIM":           func(o *sdk.Options) { o.DDIM = &eta },
		"every second":   func(o *sdk.Options) { o.CMI.Every = 2 },
		"without a term": func(o *sdk.Options) { o.CMI = nil },
		"from y":         func(o *sdk.Options) { o.FromMeasurement = true },
		"particles":      func(o *sdk.Options) { o.Method, o.CMI = guide.FPS{Particles: 3, Fresh: 0.9}, nil },
		"mean":           func(o *sdk.Options) { o.Method, o.CMI = guide.DDRM{Top: 2}, nil },
		"moments":        func(o *sdk.Options) { o.Method = guide.AdamDPS{Scale: 0.1, Beta1: 0.9, Beta2: 0.99} },
	} {
		p, o := pictures(t, dev, "sr4", 1, 4)
		change(&o)
		want := restore(t, p, o)
		for _, after := range []int{0, 1, 3, 4} {
			first := newSolver(t, p, o)
			for range after {
				require.NoError(t, first.Step())
			}
			x, index, err := first.State()
			require.NoError(t, err)
			assert.Equal(t, 3-after, index)
			second := newSolver(t, p, o)
			require.NoError(t, second.SetState(x, index))
			got, err := second.Run(context.Background())
			require.NoError(t, err)
			assert.Equal(t, want, got, "%s, after %d steps", name, after)
		}
	}
}

// The start is x_T ~ N(0, I) of the seed, and a finished run says so.
func TestStateFromStartToEnd(t *testing.T) {
	p, o := gaussians(t, device(t, 1), 400, 5)
	s := newSolver(t, p, o)
	x, index, err := s.State()
	require.NoError(t, err)
	assert.Equal(t, 4, index)
	var mean, square float64
	for _, v := range x {
		mean += float64(v) / float64(len(x))
		square += float64(v) * float64(v) / float64(len(x))
	}
	assert.InDelta(t, 0, mean, 0.06)
	assert.InDelta(t, 1, square, 0.08)

	end, err := s.Run(context.Background())
	require.NoError(t, err)
	x, index, err = s.State()
	require.NoError(t, err)
	assert.Equal(t, -1, index)
	assert.Equal(t, end, x)
	assert.ErrorContains(t, s.Step(), "finished")
	again, err := s.Run(context.Background())
	require.NoError(t, err)
	assert.Equal(t, end, again)

	require.NoError(t, s.SetState(x, -1))
	for _, c := range []struct{ values, index int }{{len(x) - 1, 2}, {0, 2}, {len(x), 5}, {len(x), -2}} {
		assert.ErrorContains(t, s.SetState(make([]float32, c.values), c.index), "are wanted", "%+v", c)
	}
}

// kept records what a run draws.
type kept struct {
	sdk.Noise
	initial []float32
	steps   map[int][]float32
	probes  map[[2]int][]float32
}

func (k *kept) Initial(x []float32) { k.initial = draw(x, 0, 0) }
func (k *kept) Step(z []float32, index int) {
	k.steps[index] = draw(z, 1, index)
}
func (k *kept) Probe(z []float32, index, probe int) {
	for i := range z {
		z[i] = float32(2*((i+index+probe)%2) - 1)
	}
	k.probes[[2]int{index, probe}] = append([]float32(nil), z...)
}

func draw(x []float32, purpose, index int) []float32 {
	for i := range x {
		x[i] = float32((i*7+purpose*3+index*5)%11-5) / 5
	}
	return append([]float32(nil), x...)
}

// A run asks its source for x_T once, for z in every step but the last, and for each
// probe where the term acts.
func TestNoiseSource(t *testing.T) {
	p, o := gaussians(t, device(t, 1), 2, 6)
	k := &kept{steps: map[int][]float32{}, probes: map[[2]int][]float32{}}
	o.Noise, o.CMI.Probes, o.CMI.Every = k, 2, 2
	restore(t, p, o)
	assert.Len(t, k.initial, 2*8)
	assert.Len(t, k.steps, 5)
	assert.NotContains(t, k.steps, 0)
	assert.Len(t, k.probes, 6, "three steps, two probes")
	for at, z := range k.probes {
		assert.Equal(t, 1, at[0]%2, "steps 1, 3 and 5 have the indices 5, 3 and 1")
		assert.Len(t, z, 2*3)
	}
}

// still is a prior that predicts no noise, so that steps show what they add.
type still struct {
	prior.Model
	zero compute.Tensor
}

func (s *still) At(x compute.Tensor, _ []int) (prior.Point, error) {
	var err error
	if s.zero.Buf == nil {
		s.zero, err = compute.FromHost(s.Device(), make([]float32, x.N*x.Len()), x.N, x.C, x.H, x.W)
	}
	return stillPoint{out: s.zero}, err
}

type stillPoint struct {
	prior.Point
	out compute.Tensor
}

func (p stillPoint) Out() compute.Tensor { return p.out }

// The noise of each step has the reverse step's standard deviation and shares nothing
// with x_T, with other steps, seeds and images, nor with the measurement's noise.
func TestRandomNumbersAreIndependent(t *testing.T) {
	dev := device(t, 1)
	p, o := gaussians(t, dev, 1, 4)
	const n, dim, rows = 500, 8, 3
	p.Prior, p.N, p.Y = &still{Model: p.Prior}, n, make([]float32, n*rows)
	o.Method, o.CMI = guide.Unconditional{}, nil
	streams := map[string][]float32{} // the first three values of each image
	keep := func(name string, x []float32, of int) {
		for i := range n {
			streams[name] = append(streams[name], x[i*of:i*of+rows]...)
		}
	}
	sched, eta := o.Schedule, 0.8
	for name, c := range map[string]struct {
		variance diffusion.Variance
		ddim     *float64
		seed     uint64
		images   func(i int) uint64
	}{
		"small": {diffusion.FixedSmall, nil, 1, func(i int) uint64 { return uint64(i) }},
		"large": {diffusion.FixedLarge, nil, 2, func(i int) uint64 { return uint64(i) }},
		"ddim":  {diffusion.FixedSmall, &eta, 1 << 33, func(i int) uint64 { return uint64(i) }},
		"other": {diffusion.FixedSmall, nil, 1, func(i int) uint64 { return uint64(i+1) << 32 }},
	} {
		o.Variance, o.DDIM, o.Seed, o.Images = c.variance, c.ddim, c.seed, nil
		for i := range n {
			o.Images = append(o.Images, c.images(i))
		}
		s := newSolver(t, p, o)
		x, i, err := s.State()
		require.NoError(t, err)
		keep(name+" start", x, dim)
		for ; i > 0; i-- {
			require.NoError(t, s.Step())
			next, _, err := s.State()
			require.NoError(t, err)
			root := math.Sqrt(sched.AlphaBar(i))
			scale, std := sched.CoefX0(i)/root+sched.CoefXt(i), math.Sqrt(sched.PosteriorVariance(i)) // x̂0 is x_t/√ᾱ
			switch {
			case c.ddim != nil: // and ε is zero
				scale, std = math.Sqrt(sched.AlphaBar(i-1))/root, eta*math.Sqrt(sched.PosteriorVariance(i))
			case c.variance == diffusion.FixedLarge:
				std = math.Sqrt(sched.Beta(i))
			}
			z := make([]float32, len(x))
			for k := range z {
				z[k] = float32((float64(next[k]) - scale*float64(x[k])) / std)
			}
			keep(fmt.Sprint(name, " step ", i), z, dim)
			x = next
		}
		noise, err := sdk.Measure(dev, p.Operator, make([]float32, n*dim), 1, o.Seed, o.Images)
		require.NoError(t, err)
		keep(name+" measurement", noise, rows)
	}
	require.Len(t, streams, 4*5)
	for a, u := range streams {
		for b, v := range streams {
			dot := 0.0
			for i := range u {
				dot += float64(u[i]) * float64(v[i]) / float64(len(u))
			}
			want := 0.0
			if a == b {
				want = 1
			}
			assert.InDelta(t, want, dot, 0.15, "%s and %s", a, b) // four standard errors at the least
		}
	}
}

// The term changes the picture, by as much as it is allowed to.
func TestTermActs(t *testing.T) {
	p, o := gaussians(t, device(t, 1), 2, 20)
	with := restore(t, p, o)
	o.CMI.Probes = 2
	assert.NotEqual(t, with, restore(t, p, o), "the second probe is another one")
	o.CMI = nil
	without := restore(t, p, o)
	assert.Greater(t, distance(with, without), 1e-3*norm(without))
	o.CMI = &cmi.Options{Eta: 0, Weighting: cmi.Beta, Estimator: cmi.Probe, Probes: 1, Lanczos: 2, MaxAlphaBar: 1, Every: 1}
	assert.Equal(t, without, restore(t, p, o), "eta 0 is no term")
	o.CMI.Eta, o.CMI.MinAlphaBar, o.CMI.MaxAlphaBar = 1, 0.9999, 1
	assert.Equal(t, without, restore(t, p, o), "a window that no step is in")
}

// What a method carries is zero at the start and comes from one step to the next.
func TestCarried(t *testing.T) {
	p, o := pictures(t, device(t, 1), "sr4", 1, 4)
	o.Method, o.CMI = guide.AdamDPS{Scale: 0.1, Beta1: 0.5, Beta2: 0.99}, nil
	s := newSolver(t, p, o)
	var moments []float64 // ‖v‖
	for range 3 {
		x, _, err := s.State()
		require.NoError(t, err)
		require.Len(t, x, 3*3*16*16)
		moments = append(moments, norm(x[2*3*16*16:]))
		require.NoError(t, s.Step())
	}
	assert.Zero(t, moments[0])
	assert.Greater(t, moments[2], 0.985*moments[1], "β₂ of it is left")

	x, index, err := s.State()
	require.NoError(t, err)
	end := func(s *sdk.Solver, x []float32) []float32 {
		require.NoError(t, s.SetState(x, index))
		out, err := s.Run(context.Background())
		require.NoError(t, err)
		return out
	}
	image := x[:3*16*16]
	assert.NotEqual(t, end(s, x), end(s, image))
	assert.Equal(t, end(newSolver(t, p, o), image), end(s, image), "without them they are zero")
	assert.ErrorContains(t, s.SetState(x[:2*3*16*16], index), "2304 values")
}
