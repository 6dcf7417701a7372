package guide

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// descent returns the steps at which descend evaluates the network from step index on: about
// index, ⅔ index and ⅓ index.
func descent(index int) (at []int) {
	for k := 3; k > 0; k-- {
		i := int(math.RoundToEven(float64(k*index) / 3))
		if len(at) == 0 || at[len(at)-1] != i {
			at = append(at, i)
		}
	}
	return at
}

// descend denoises x, a state x_t of the step's index, to an image by DDIM with that η over
// the steps of descent, nothing clipped, and writes the last estimate to x0. x is
// overwritten. Where known is set, x0 and s.Epsilon are the network's at x. The noise is the
// method's, from furtherNoise on.
func (s *Step) descend(x0, x compute.Tensor, eta float64, known bool) error {
	z, epsilon := s.Tensor("descent's noise", x), s.Epsilon
	if err := s.Work.Err(); err != nil {
		return err
	}
	at := descent(s.Index)
	for j, i := range at {
		if j > 0 || !known {
			var err error
			if epsilon, err = s.Evaluate(x0, x, i); err != nil {
				return err
			}
		}
		if j == len(at)-1 {
			break
		}
		ab, next := s.Schedule.AlphaBar(i), s.Schedule.AlphaBar(at[j+1])
		sigma := eta * math.Sqrt((1-next)/(1-ab)*(1-ab/next))
		terms := []compute.Term{compute.Times(math.Sqrt(next), x0), compute.Times(math.Sqrt(max(1-next-sigma*sigma, 0)), epsilon)}
		if sigma > 0 {
			s.normal(z, furtherNoise+j)
			terms = append(terms, compute.Times(sigma, z))
		}
		s.Device.Combine(x, terms...)
	}
	return nil
}
