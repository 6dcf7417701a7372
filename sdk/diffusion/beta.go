package diffusion

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// families are the published noise schedules, by the name that configuration
// files use.
var families = map[string]func(steps int) ([]float64, error){
	"linear": Linear,
	"cosine": Cosine,
}

// Betas returns the noise schedule of that name, "linear" or "cosine", over a number
// of training steps.
func Betas(name string, steps int) ([]float64, error) {
	family, ok := families[name]
	if !ok {
		known := make([]string, 0, len(families))
		for n := range families {
			known = append(known, n)
		}
		slices.Sort(known)
		return nil, fmt.Errorf("unknown noise schedule %q: %s are known", name, strings.Join(known, ", "))
	}
	return family(steps)
}

// Linear returns the schedule of DDPM (Ho et al. 2020): β from 1e-4 to 0.02 over 1000
// steps, both scaled by 1000/T for T training steps, so T > 20.
func Linear(steps int) ([]float64, error) {
	scale := 1000 / float64(steps)
	return LinearBetas(steps, 1e-4*scale, 0.02*scale)
}

// LinearBetas are β evenly spaced from first to last, both in (0, 1), over T ≥ 1 steps.
func LinearBetas(steps int, first, last float64) ([]float64, error) {
	if steps < 1 {
		return nil, errNoSteps(steps)
	}
	betas := make([]float64, steps)
	stride := (last - first) / float64(max(steps-1, 1))
	for i := range betas {
		betas[i] = first + float64(i)*stride
	}
	if steps > 1 {
		betas[steps-1] = last
	}
	return betas, checkBetas(betas)
}

// ScaledLinearBetas are β whose square roots are evenly spaced from √first to √last, both in
// (0, 1), over T ≥ 1 steps: the schedule of latent diffusion (Rombach et al. 2022).
func ScaledLinearBetas(steps int, first, last float64) ([]float64, error) {
	roots, err := LinearBetas(steps, math.Sqrt(first), math.Sqrt(last))
	for i, r := range roots {
		roots[i] = r * r
	}
	return roots, err
}

// SigmoidBetas are β that rise from first to last along a sigmoid over its arguments −6 … 6
// (Xu et al. 2022, GeoDiff), over T ≥ 1 steps.
func SigmoidBetas(steps int, first, last float64) ([]float64, error) {
	if steps < 1 {
		return nil, errNoSteps(steps)
	}
	betas := make([]float64, steps)
	for i := range betas {
		at := -6 + 12*float64(i)/float64(max(steps-1, 1))
		betas[i] = first + (last-first)/(1+math.Exp(-at))
	}
	return betas, checkBetas(betas)
}

// Cosine returns the schedule of improved DDPM (Nichol & Dhariwal 2021, eq. 17):
// β_i = min(1 − f((i+1)/T)/f(i/T), 0.999), f(u) = cos²((u + 0.008)/1.008 · π/2).
func Cosine(steps int) ([]float64, error) {
	if steps < 1 {
		return nil, errNoSteps(steps)
	}
	f := func(i int) float64 {
		// cos x as 1 − 2 sin²(x/2), which has one rounding: the first β are the
		// difference of two nearly equal f.
		s := math.Sin((float64(i)/float64(steps) + 0.008) / 1.008 * math.Pi / 2 / 2)
		c := 1 - 2*s*s
		return c * c
	}
	betas := make([]float64, steps)
	for i := range betas {
		betas[i] = min(1-f(i+1)/f(i), 0.999)
	}
	return betas, checkBetas(betas)
}

// AlphaBars are ᾱ_t = Π_{s ≤ t} (1 − β_s).
func AlphaBars(betas []float64) []float64 {
	out := make([]float64, len(betas))
	product := 1.0
	for i, b := range betas {
		product *= 1 - b
		out[i] = product
	}
	return out
}

func errNoSteps(steps int) error {
	return fmt.Errorf("a schedule of %d training steps, at least 1 is wanted", steps)
}

func checkBetas(betas []float64) error {
	for i, b := range betas {
		if !(b > 0 && b < 1) {
			return fmt.Errorf("beta[%d] of %d training steps is %v, a number between 0 and 1 is wanted", i, len(betas), b)
		}
	}
	return nil
}
