package referee

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/guide"
)

// Table is a published comparison: a setting and the arms judged in it. The first
// arm of each base is the one without the information term.
type Table struct {
	Title string
	Setting
	Arms []Arm
}

// Term returns the information term as it is judged: no window, no trust radius.
func Term(eta float64, w cmi.Weighting, e cmi.Estimator, k int) *cmi.Options {
	return &cmi.Options{Eta: eta, Weighting: w, Estimator: e, Probes: 1, Lanczos: k, MaxAlphaBar: 1, Every: 1}
}

// trace returns the term by the exact trace, β weighting.
func trace(eta float64) *cmi.Options { return Term(eta, cmi.Beta, cmi.Trace, 0) }

var dps = guide.DPS{Scale: 0.3}

// drift is ΠGDM in the form of a guided mean.
func drift(curvature float64) guide.Method {
	return guide.PiGDM{Scale: 1, GuidedMean: true, Curvature: guide.Curvature{Weight: curvature}}
}

// exact is guidance with the exact posterior covariance of the model: as many
// Krylov steps as there are measurements.
func exact(rank int, curvature float64) guide.Method {
	return guide.Evidence{Scale: 1, Lanczos: rank, Curvature: guide.Curvature{Weight: curvature}}
}

// Weights is table 1: how much of the term three bases want, by the exact trace.
func Weights() Table {
	t := Table{"weights of the term, exact trace", Setting{Problems: 10, Samples: 400, Components: 25, Dim: 8, Rows: 3, Seed: 1}, nil}
	for _, base := range []struct {
		name   string
		method guide.Method
	}{{"DPS ζ=0.3", dps}, {"ΠGDM", drift(0)}, {"exact covariance", exact(3, 0)}} {
		t.Arms = append(t.Arms, Arm{Name: base.name, Method: base.method})
		for _, eta := range []float64{1, 3, 10} {
			t.Arms = append(t.Arms, Arm{Name: fmt.Sprintf("%s + CMI β η=%g", base.name, eta), Method: base.method, CMI: trace(eta)})
		}
		for _, eta := range []float64{0.05, 0.2} {
			t.Arms = append(t.Arms, Arm{Name: fmt.Sprintf("%s + CMI constant η=%g", base.name, eta), Method: base.method, CMI: Term(eta, cmi.Constant, cmi.Trace, 0)})
		}
	}
	return t
}

// Depths is table 2: how many Lanczos steps the probe needs, on DPS.
func Depths() Table {
	t := Table{"depth of the solver, DPS ζ=0.3, one probe, β η=1", Setting{Problems: 8, Samples: 120, Components: 30, Dim: 32, Rows: 12, Orthonormal: true, Seed: 1}, []Arm{{Name: "no CMI", Method: dps}}}
	for _, k := range []int{0, 1, 2, 3, 6, 12} {
		t.Arms = append(t.Arms, Arm{Name: fmt.Sprintf("K=%d", k), Method: dps, CMI: Term(1, cmi.Beta, cmi.Probe, k)})
	}
	t.Arms = append(t.Arms, Arm{Name: "exact trace", Method: dps, CMI: trace(1)})
	return t
}

// Particles is table 4: how many particles a method's samples need to reach exact samples.
func Particles() Table {
	t := Table{"particles: each sample one of P, drawn by its weight", Setting{Problems: 5, Samples: 100, Components: 25, Dim: 8, Rows: 3, Seed: 1},
		[]Arm{{Name: "exact samples", Exact: true}}}
	for _, base := range []struct {
		name      string
		method    guide.Method
		particles []int
	}{{"ΠGDM", drift(0), []int{4, 16, 32}}, {"exact covariance", exact(3, 0), []int{4, 16}}, {"DPS ζ=0.3", dps, []int{4, 16}}} {
		t.Arms = append(t.Arms, Arm{Name: base.name, Method: base.method})
		for _, of := range base.particles {
			t.Arms = append(t.Arms, Arm{Name: fmt.Sprintf("%s, P=%d", base.name, of), Method: base.method, Particles: of})
		}
	}
	eta := 1.0
	t.Arms = append(t.Arms, Arm{Name: "pathwise", Method: guide.Pathwise{Root: 8, Solve: 3}, DDIM: &eta})
	return t
}

// Curvature is table 3: the innovation curvature beside the information term.
func Curvature() Table {
	t := Table{"innovation curvature, ζ=1", Depths().Setting, nil}
	for _, base := range []struct {
		name string
		make func(curvature float64) guide.Method
	}{{"exact covariance", func(c float64) guide.Method { return exact(12, c) }}, {"ΠGDM", drift}} {
		t.Arms = append(t.Arms,
			Arm{Name: base.name, Method: base.make(0)},
			Arm{Name: base.name + " + CMI η=1", Method: base.make(0), CMI: trace(1)},
			Arm{Name: base.name + " + CMI η=−1", Method: base.make(0), CMI: trace(-1)},
			Arm{Name: base.name + " + CMI η=1, one probe K=2", Method: base.make(0), CMI: Term(1, cmi.Beta, cmi.Probe, 2)},
			Arm{Name: base.name + " + curvature", Method: base.make(1)},
			Arm{Name: base.name + " + curvature + CMI η=1", Method: base.make(1), CMI: trace(1)},
			Arm{Name: base.name + " + curvature + CMI η=1, one probe K=2", Method: base.make(1), CMI: Term(1, cmi.Beta, cmi.Probe, 2)},
			Arm{Name: base.name + " + curvature + CMI η=−1", Method: base.make(1), CMI: trace(-1)})
	}
	return t
}
