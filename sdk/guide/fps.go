package guide

import (
	"errors"
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// FPS is filtering posterior sampling with particles, FPS-SMC (Dou & Song 2024, ICLR). The measurement
// is made noisier along with the image,
//
//	y_{t−1} = √ᾱ_{t−1} y + A n_{t−1},  n_{t−1} = √((1−c)(1−ᾱ_{t−1})/(1−ᾱ_t)) n_t + √(c (1−ᾱ_{t−1})) z
//
// and P particles x_t of each image follow it. With μ DDPM's mean at a particle and β̃ its variance, a
// step draws P ancestors with the weights
//
//	p(y_{t−1} | x_t) = N(y_{t−1}; A μ, β̃ A Aᵀ + ᾱ_{t−1} σ_y² I)
//
// by systematic resampling, and from each x_{t−1} ~ N(μ, β̃ I) given y_{t−1}, in closed form. The first
// particle is the result. It takes no derivative of the network, and the operator's singular values
// must be known: [measure.Exact].
type FPS struct {
	Particles int     // P ≥ 1, each an evaluation of the network a step
	Fresh     float64 // c in (0, 1]: the share of fresh noise in y_t
}

// The draws of FPS; each particle has two from filterParticles on, and then one for its start.
const (
	filterNoise = iota
	filterAncestors
	filterParticles
)

// Name implements [Method].
func (FPS) Name() string { return "fps" }

// Cost implements [Method].
func (m FPS) Cost(*diffusion.Schedule, int) Cost {
	return Cost{Guides: true, Linear: true, Spectral: true, Values: m.Particles - 1}
}

// Validate implements [Validator].
func (m FPS) Validate(ddim *float64) error {
	if m.Particles < 1 || m.Particles > 1000 || !(m.Fresh > 0 && m.Fresh <= 1) {
		return fmt.Errorf("fps has %d particles and a share of fresh noise of %v, 1 to 1000 and a number above 0 and up to 1 are wanted", m.Particles, m.Fresh)
	}
	return ownStep(m, ddim)
}

// Carries implements [Carrier]: n_t and the particles after the first.
func (m FPS) Carries() int { return m.Particles }

// Start implements [Starter]: the particles start at noise of their own.
func (m FPS) Start(s *Step) error {
	for p := 1; p < m.Particles; p++ {
		s.normal(s.Carried[p], filterParticles+2*m.Particles+p)
	}
	return nil
}

// Step implements [Method].
func (m FPS) Step(s *Step) error {
	if !measure.Exact(s.A) {
		return errors.New("fps needs an operator with known singular values")
	}
	d, n, y := s.Device, s.NextCarried[0], s.Tensor("filtered measurement", s.Y)
	z, residual, solved := s.Tensor("method's noise", s.X), s.Tensor("residual", s.Y), s.Tensor("solved", s.Y)
	means := make([]compute.Tensor, m.Particles)
	for p := range means {
		means[p] = s.Tensor(fmt.Sprintf("mean of particle %d", p), s.X)
	}
	if err := s.Work.Err(); err != nil {
		return err
	}
	prev, variance := s.Schedule.AlphaBarPrev(s.Index), s.Schedule.PosteriorVariance(s.Index)
	s2 := prev * s.SigmaY * s.SigmaY

	fresh := m.Fresh
	if s.Index == s.Schedule.Len()-1 { // there is no n_t yet
		fresh = 1
	}
	s.normal(z, filterNoise)
	d.Combine(n, compute.Times(math.Sqrt((1-fresh)*(1-prev)/(1-s.Schedule.AlphaBar(s.Index))), s.Carried[0]),
		compute.Times(math.Sqrt(fresh*(1-prev)), z))
	s.A.Apply(y, n)
	d.Combine(y, compute.Times(math.Sqrt(prev), s.Y), compute.Times(1, y))

	distances := make([][]float64, m.Particles) // −2 log p(y_{t−1} | x_t), of each image, up to a constant
	cx0, cxt := s.Schedule.DDPM(s.Index)
	for p, mean := range means {
		x := s.X
		if p == 0 {
			d.Combine(mean, compute.Times(cx0, s.Clipped), compute.Times(cxt, x))
		} else {
			x = s.Carried[p]
			if _, err := s.Evaluate(mean, x, s.Index); err != nil {
				return err
			}
			if s.Clips {
				d.Map(mean, compute.Clamp(-1, 1), mean)
			}
			d.Combine(mean, compute.Times(cx0, mean), compute.Times(cxt, x))
		}
		s.A.Apply(residual, mean)
		d.Combine(residual, compute.Times(1, y), compute.Times(-1, residual))
		measure.Power(s.A, solved, residual, variance, s2, -1)
		var err error
		if distances[p], err = compute.Dot(d, residual, solved); err != nil {
			return err
		}
	}
	ancestors := m.ancestors(s, distances)

	for p := range means {
		x := s.Next
		if p > 0 {
			x = s.NextCarried[p]
		}
		for i, a := range ancestors[p] {
			d.Combine(x.Images(i, i+1), compute.Times(1, means[a].Images(i, i+1)))
		}
		if variance == 0 { // the last step
			continue
		}
		s.normal(z, filterParticles+2*p)
		d.Combine(x, compute.Times(1, x), compute.Times(math.Sqrt(variance), z))
		s.A.Apply(residual, x)
		s.normal(solved, filterParticles+2*p+1)
		d.Combine(residual, compute.Times(1, y), compute.Times(math.Sqrt(s2), solved), compute.Times(-1, residual))
		measure.Power(s.A, residual, residual, variance, s2, -1)
		s.A.Adjoint(z, residual)
		d.Combine(x, compute.Times(1, x), compute.Times(variance, z))
	}
	return s.report()
}

// ancestors returns for each new particle the index of its ancestor, image by image.
func (m FPS) ancestors(s *Step, distances [][]float64) [][]int {
	z := make([]float32, s.X.N*s.X.Len())
	s.Random(z, filterAncestors)
	all := make([][]int, m.Particles)
	for i := range s.X.N {
		nearest, sum := math.Inf(1), 0.0
		for p := range distances {
			nearest = min(nearest, distances[p][i])
		}
		weights := make([]float64, m.Particles)
		for p := range weights {
			weights[p] = math.Exp((nearest - distances[p][i]) / 2)
			sum += weights[p]
		}
		u := 0.5 * math.Erfc(-float64(z[i*s.X.Len()])/math.Sqrt2) // uniform
		at, below := 0, weights[0]
		for p := range all {
			for at < m.Particles-1 && below < sum*(u+float64(p))/float64(m.Particles) {
				at++
				below += weights[at]
			}
			all[p] = append(all[p], at)
		}
	}
	return all
}
