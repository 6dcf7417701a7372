//go:build page

package dense

import (
	"errors"
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Estimator is left out of the program of pages (-tags page), which would be larger by it for problems that no page has.
type Estimator struct{}

var errNotHere = errors.New("it forms matrices, for tiny problems, and is not in the browser: take probe")

// New says so.
func New(_ compute.Device, _ *compute.Workspace, _ measure.Linear, _ int, name string, _ int) (*Estimator, error) {
	return nil, fmt.Errorf("the estimator %s: %w", name, errNotHere)
}

// Gradient is never called: New makes no estimator.
func (*Estimator) Gradient(prior.Denoiser, krylov.Level, func(k int, z []float32)) (compute.Tensor, []float64, error) {
	return compute.Tensor{}, nil, errNotHere
}
