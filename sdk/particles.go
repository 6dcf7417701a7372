package sdk

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/floats"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// particles makes a method's run a twisted sequential Monte Carlo sampler (Wu et al. 2023, arXiv
// 2306.17775). P particles of each image take the method's steps q(x_{t−1} | x_t, y), which are
// Gaussian: the prior's own step p(x_{t−1} | x_t) = N(μ, σ²), moved by the guidance δ. A particle's
// weight w is multiplied, in each step, by
//
//	p(x_{t−1} | x_t) ψ_{t−1}(x_{t−1}) / (q(x_{t−1} | x_t, y) ψ_t(x_t)),  ψ_t(x_t) = N(y; A x̂0(x_t), (1−ᾱ_t) A Aᵀ + σ_y² I)
//
// with ψ_0(x_0) = N(y; A x_0, σ_y² I), the likelihood: in the last step the mean of the prior is
// taken without guidance, as it has no noise. Where the effective sample size (Σw)²/Σw² of an image is below P/2
// its particles are resampled (systematically), and get equal weights, the mean of the old. With more
// particles the weighted ones tend to the posterior under the prior's own chain, whatever the
// method, and the mean weight is an unbiased estimate of p(y).
//
// Particle p of image i is image p·N + i of the batch, so that operators serve it as they are.
type particles struct {
	of       int       // P
	images   int       // N
	log      []float64 // log w of each, without ψ of the present state until the run is done
	psi      []float64 // log ψ of the present state, and 0 when the run is done
	heaviest []int     // the place in the batch of each image's particle of the largest weight
}

func newParticles(images, of int) *particles {
	return &particles{of: of, images: images, log: make([]float64, images*of), psi: make([]float64, images*of)}
}

// mostParticles is what the numbers of the particles' random streams hold.
const mostParticles = 1 << 16

// particleBits is where a particle's number stands in its image's.
const particleBits = 48

// resampling numbers the noise that ancestors are drawn with; methods count theirs from 0.
const resampling = math.MaxUint16

// perImage returns the number of states that a run has of each image.
func (o Options) perImage() int { return max(1, o.Particles) }

// method returns that of the step of an index: with particles the last step is the prior's own.
func (o Options) method(index int) guide.Method {
	if o.Particles > 0 && index == 0 {
		return guide.Unconditional{}
	}
	return o.Method
}

// cost returns what the step of that index asks for.
func (o Options) cost(index int) guide.Cost { return o.method(index).Cost(o.Schedule, index) }

// termActs says whether the information term acts in the step of that index, if it is not limited to nothing there.
func (o Options) termActs(index int) bool {
	return o.CMI != nil && !(o.Particles > 0 && index == 0) && o.CMI.Active(o.Schedule.Len()-index, o.Schedule.AlphaBar(index))
}

// validateParticles says what particles do not go with.
func (p Problem) validateParticles(o Options) error {
	if o.Particles < 0 || o.Particles > mostParticles {
		return fmt.Errorf("%d particles of each image, 1 to %d are possible, or 0 for a run without", o.Particles, mostParticles)
	}
	if o.Particles == 0 {
		return nil
	}
	a, ok := p.Operator.(measure.Linear)
	if !ok {
		return errors.New("particles are weighed by the Gaussian evidence of a linear measurement, and there is none: leave them out")
	}
	if measure.Of(a, p.N) != measure.Of(a, 0) {
		return fmt.Errorf("%d images with operators for another number of them: particles need one operator, or one for each image", p.N)
	}
	if o.FromMeasurement {
		return errors.New("a run of particles starts at pure noise, which is how they are weighed: leave the start from the measurement out")
	}
	if o.DDIM != nil && *o.DDIM == 0 {
		return errors.New("particles are weighed by the density of a step's noise, and DDIM with eta 0 has none: take an eta above 0")
	}
	for _, image := range o.Images {
		if image >= 1<<particleBits {
			return fmt.Errorf("image number %d, below 2^%d is wanted with particles", image, particleBits)
		}
	}
	return guide.TakesParticles(o.Method, o.Schedule)
}

// withParticles returns the problem and the options of the batch of all particles.
func withParticles(p Problem, o Options) (Problem, Options) {
	numbers := o.Images
	if numbers == nil {
		for i := range p.N {
			numbers = append(numbers, uint64(i))
		}
	}
	o.Images = nil
	for k := range o.Particles {
		for _, image := range numbers {
			o.Images = append(o.Images, image|uint64(k)<<particleBits)
		}
	}
	p.N *= o.Particles
	p.Y = slices.Repeat(p.Y, o.Particles)
	return p, o
}

// image returns the places in the batch of an image's particles, and what values hold there.
func (p *particles) image(i int, values []float64) (at []int, of []float64) {
	for k := range p.of {
		n := k*p.images + i
		at, of = append(at, n), append(of, values[n])
	}
	return at, of
}

// weights returns the particles' normalised weights, and of each image the effective sample size
// and the logarithm of the mean weight.
func (p *particles) weights() (w, ess, evidence []float64) {
	w = make([]float64, len(p.log))
	total := floats.AddTo(make([]float64, len(p.log)), p.log, p.psi)
	for i := range p.images {
		at, logs := p.image(i, total)
		sum, squares := floats.LogSumExp(logs), 0.0
		for k, n := range at {
			w[n] = math.Exp(logs[k] - sum)
			squares += w[n] * w[n]
		}
		ess, evidence = append(ess, 1/squares), append(evidence, sum-math.Log(float64(p.of)))
	}
	return w, ess, evidence
}

// systematic returns n indices of weights of sum 1: that of the j-th is where their cumulative sum
// passes (u + j)/n, u in [0, 1).
func systematic(weights []float64, u float64, n int) []int {
	all := make([]int, n)
	at, below := 0, weights[0]
	for j := range all {
		for at < len(weights)-1 && below <= (u+float64(j))/float64(n) {
			at++
			below += weights[at]
		}
		all[j] = at
	}
	return all
}

// uniforms returns a number in [0, 1) for each image: its own, whatever the batch.
func (s *Solver) uniforms(index int) []float64 {
	s.o.Noise.Method(s.host, index, resampling)
	u := make([]float64, s.particles.images)
	for i := range u {
		u[i] = min(0.5*math.Erfc(-float64(s.host[i*s.step.X.Len()])/math.Sqrt2), 1-1e-16)
	}
	return u
}

// twist returns log N(y; A x, r2·A Aᵀ + s2·I) of each image x, over what is measured of it.
func (s *Solver) twist(x compute.Tensor, r2 float64) ([]float64, error) {
	residual, solved := s.step.Tensor("twist's residual", s.step.Y), s.step.Tensor("twist, solved", s.step.Y)
	if err := s.ws.Err(); err != nil {
		return nil, err
	}
	s2 := s.p.SigmaY * s.p.SigmaY
	s.step.A.Apply(residual, x)
	s.dev.Combine(residual, compute.Times(1, s.step.Y), compute.Times(-1, residual))
	measure.Power(s.step.A, solved, residual, r2, s2, -1)
	psi, err := compute.Dot(s.dev, residual, solved)
	for n := range psi {
		a := measure.Of(s.step.A, n)
		psi[n] = -0.5 * (psi[n] + measure.LogDet(a, r2, s2) + float64(a.Measured())*math.Log(2*math.Pi))
	}
	return psi, err
}

// weigh weighs the particles at x_t, resamples them where the weights have become too unequal, and
// multiplies the weights by the densities of the step to Next. After the last step they are final.
func (s *Solver) weigh(i int, report *Progress) (err error) {
	p, st := s.particles, &s.step
	at, r2 := st.Clipped, 1-s.o.Schedule.AlphaBar(i)
	if i == 0 { // x_0 follows from x_1 without noise
		at, r2 = st.Next, 0
	}
	if p.psi, err = s.twist(at, r2); err != nil {
		return err
	}
	w, ess, evidence := p.weights()
	report.average(p, w)
	report.ESS, report.LogEvidence = ess, evidence
	if i == 0 {
		floats.Add(p.log, p.psi)
		clear(p.psi)
		return nil
	}

	shift, z, inverse, before := st.Tensor("shift", st.X), st.Tensor("unit noise", st.X), st.Tensor("inverse deviation", st.X), st.Tensor("before resampling", st.X)
	if err := s.ws.Err(); err != nil {
		return err
	}
	if s.o.DDIM != nil {
		_, _, sigma := s.o.Schedule.DDIM(i, *s.o.DDIM)
		s.dev.Map(s.std, compute.Exp(0, float32(math.Log(sigma))), st.X)
	}
	s.dev.Combine(shift, compute.Times(1, st.Next), compute.Times(-1, st.Proposal))
	s.dev.Map(inverse, compute.Pow(1, 0, -1), s.std)
	s.dev.Mul(z, s.z, inverse)
	if slices.Min(ess) < float64(p.of)/2 {
		ancestors := p.resample(w, ess, evidence, s.uniforms(i))
		for _, x := range append([]compute.Tensor{st.Mean, shift, s.std, inverse}, st.NextCarried...) {
			s.dev.Combine(before, compute.Times(1, x))
			for n, a := range ancestors {
				s.dev.Combine(x.Images(n, n+1), compute.Times(1, before.Images(a, a+1)))
			}
		}
		s.dev.Mul(s.z, z, s.std)
		for n := range ancestors { // an image that is not resampled keeps its values to the bit
			one := func(x compute.Tensor) compute.Term { return compute.Times(1, x.Images(n, n+1)) }
			s.dev.Combine(st.Next.Images(n, n+1), one(st.Mean), one(shift), one(s.z))
		}
	}
	s.dev.Mul(shift, shift, inverse)
	dots, err := s.dev.Dots([2]compute.Tensor{shift, z}, [2]compute.Tensor{shift, shift})
	if err != nil {
		return err
	}
	for n := range p.log { // log p − log q = ½‖z‖² − ½‖z + δ/σ‖²
		p.log[n] -= dots[0][n] + dots[1][n]/2
	}
	return nil
}

// resample draws the ancestors of the particles of each image whose effective sample size is below
// P/2, with a number u in [0, 1) for each image, and returns them by their places in the batch. The particles
// get their ancestors' ψ and equal weights: the mean of the old, whose logarithm is the evidence.
func (p *particles) resample(w, ess, evidence, u []float64) (ancestors map[int]int) {
	psi := slices.Clone(p.psi)
	ancestors = map[int]int{}
	for i := range p.images {
		if ess[i] >= float64(p.of)/2 {
			continue
		}
		at, weights := p.image(i, w)
		for k, from := range systematic(weights, u[i], p.of) {
			n := at[k]
			ancestors[n], p.psi[n] = at[from], psi[at[from]]
			p.log[n] = evidence[i] - p.psi[n]
		}
	}
	return ancestors
}

// average makes the values of a batch's images those of the problem's: means over the particles by
// their weights, and a term that was limited for any counts as limited.
func (r *Progress) average(p *particles, w []float64) {
	mean := func(values *[]float64) {
		if *values == nil {
			return
		}
		means := make([]float64, p.images)
		for n, v := range *values {
			means[n%p.images] += w[n] * v
		}
		*values = means
	}
	mean(&r.Residual)
	mean(&r.Information)
	mean(&r.Gradient)
	mean(&r.Applied)
	for n, limited := range r.Limited {
		r.Limited[n%p.images] = r.Limited[n%p.images] || limited
	}
	if r.Limited != nil {
		r.Limited = r.Limited[:p.images]
	}
	p.heaviest = make([]int, p.images)
	for i := range p.heaviest {
		at, weights := p.image(i, w)
		p.heaviest[i] = at[floats.MaxIdx(weights)]
	}
}

// split returns three values whose sum is v, each near enough to nothing beside the one before.
func split(v float64) [3]float32 {
	high := float32(v)
	middle := float32(v - float64(high))
	return [3]float32{high, middle, float32(v - float64(high) - float64(middle))}
}

// weightsToState and weightsOfState keep log w in a state, see [Solver.SetState].
func (p *particles) weightsToState() (x []float32) {
	for _, v := range p.log {
		parts := split(v)
		x = append(x, parts[:]...)
	}
	return x
}

func (p *particles) weightsOfState(x []float32) {
	for n := range p.log {
		p.log[n] = float64(x[3*n]) + float64(x[3*n+1]) + float64(x[3*n+2])
	}
}

// picked returns some images of a batch on the host.
func (s *Solver) picked(x []float32, places []int) []float32 {
	size, out := s.step.X.Len(), make([]float32, 0, len(places)*s.step.X.Len())
	for _, n := range places {
		out = append(out, x[n*size:(n+1)*size]...)
	}
	return out
}

// drawnParticles returns the place in the batch of one particle of each image, drawn by its weight.
func (s *Solver) drawnParticles() []int {
	w, _, _ := s.particles.weights()
	u, all := s.uniforms(0), make([]int, s.particles.images)
	for i := range all {
		at, weights := s.particles.image(i, w)
		all[i] = at[systematic(weights, u[i], 1)[0]]
	}
	return all
}
