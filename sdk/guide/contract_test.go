package guide_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/guide"
)

// every method, made afresh.
func every() []guide.Method {
	return []guide.Method{
		guide.Unconditional{}, guide.Projection{}, guide.DPS{Scale: 0.5}, guide.DPS{Scale: 0.5, Copies: 2}, guide.DPS{Scale: 100, Limit: 0.5}, guide.MCG{}, guide.DSG{Interval: 1, Rate: 0.3}, guide.AdamDPS{Scale: 0.05, Beta1: 0.4, Beta2: 0.3}, guide.CADPS{Scale: 0.5},
		guide.PiGDM{Scale: 1}, guide.PiGDM{Scale: 1, GuidedMean: true}, guide.PiGDM{Scale: 1, Curvature: guide.Curvature{Weight: 1}},
		guide.Evidence{Scale: 1, Lanczos: 3}, guide.Evidence{Scale: 1, Lanczos: 2, Curvature: guide.Curvature{Weight: 1}},
		guide.PiGDM{Scale: 1, Learned: 100}, guide.DiffPIR{Lambda: 1, Zeta: 0.5, Learned: 100}, guide.MMPS{Lanczos: 2}, guide.TMPD{}, guide.FPS{Particles: 3, Fresh: 0.7}, guide.DiffPIR{Lambda: 1, Zeta: 0.5}, guide.DDNM{Eta: 0.85},
		guide.DAPS{Radius: 1, Langevin: 1, StepSize: 1}, guide.DAPS{Langevin: 3, StepSize: 1e-3}, guide.Gibbs{}, guide.DDRM{Top: 2},
		guide.Pathwise{Root: 2, Solve: 3}, guide.Pathwise{Solve: 2}, guide.Pathwise{Root: 2, Solve: 3, MinAlphaBar: 1},
	}
}

// asks says whether a method asks the network for more than its value at x_t.
func asks(m guide.Method, tr *trial) bool {
	c := m.Cost(tr.Schedule, tr.Index)
	return c.Image || c.Passes() > 1
}

// A method leaves its inputs as they are, gives the same twice, and says how far it
// went from the unguided sample.
func TestMethodsKeepTheContract(t *testing.T) {
	for _, m := range every() {
		tr := newTrial(t, true, 5, nil, nil)
		inputs := []compute.Tensor{tr.Y, tr.X, tr.Epsilon, tr.X0, tr.Clipped, tr.Proposal, tr.Mean, tr.Carried[0], tr.Carried[1], tr.Carried[2], tr.Variance}
		var before [][][]float64
		for _, x := range inputs {
			before = append(before, tr.read(t, x))
		}
		moved := tr.run(t, m)
		guidance := append([]float64(nil), tr.Guidance...)
		for k, x := range inputs {
			assert.Equal(t, before[k], tr.read(t, x), "%s, input %d", m.Name(), k)
		}
		assert.Equal(t, moved, tr.run(t, m), m.Name())
		assert.Equal(t, guidance, tr.Guidance, m.Name())
		for i := range images {
			require.False(t, math.IsNaN(guidance[i]), m.Name())
			if curved(m) || m.Name() == "mcg" { // MCG's data guidance is its gradient, before the projection
				continue
			}
			assert.InDelta(t, floats.Norm(moved[i], 2), guidance[i], 1e-4*(1+guidance[i]), m.Name())
		}
	}
}

func curved(m guide.Method) bool {
	switch m := m.(type) {
	case guide.PiGDM:
		return m.Curvature.Weight != 0
	case guide.Evidence:
		return m.Curvature.Weight != 0
	}
	return false
}

// A step that is said to have a density moves the proposal by the same whatever the step's noise, and
// the method refuses particles where it is not; DSG and the methods with a step of their own do not.
func TestDensities(t *testing.T) {
	without := map[string]bool{"projection": true, "cadps": true, "mcg": true, "dsg": true, "diffpir": true, "ddnm": true, "fps": true, "daps": true, "gibbs": true, "pathwise": true}
	for _, m := range append(every(), guide.PiGDM{Scale: 1, Published: true}, guide.DPS{Scale: 1, Weights: []float64{1, 2, 3}}) {
		tr := newTrial(t, true, 5, nil, nil)
		err := guide.TakesParticles(m, tr.Schedule)
		if !m.Cost(tr.Schedule, 5).Shifts {
			assert.ErrorContains(t, err, m.Name()+" takes steps whose density is not known")
			continue
		}
		assert.NoError(t, err, m.Name())
		assert.False(t, without[m.Name()] || strings.HasPrefix(m.Name(), "pathwise") && m.(guide.Pathwise).Root > 0, m.Name())
		moved, propose := tr.run(t, m), tr.Propose
		tr.Propose = func(sample, mean, x0 compute.Tensor) { // with noise that is 0
			propose(sample, mean, x0)
			tr.Device.Combine(sample, compute.Times(1, mean))
		}
		tr.Propose(tr.Proposal, tr.Mean, tr.Clipped)
		for i, again := range tr.run(t, m) {
			assert.InDeltaSlice(t, moved[i], again, 1e-5, m.Name())
		}
	}
}

// A method value serves another run after the first has freed its memory.
func TestMethodsServeAnotherRun(t *testing.T) {
	for _, m := range every() {
		first := newTrial(t, true, 5, nil, nil)
		want := first.run(t, m)
		first.Work.Free()
		assert.Equal(t, want, newTrial(t, true, 5, nil, nil).run(t, m), m.Name())
	}
}

func TestErrorsOfThePriorAreReturned(t *testing.T) {
	for _, m := range every() {
		tr := newTrial(t, true, 5, nil, nil)
		tr.failing = errors.New("no adjoint today")
		if !asks(m, tr) {
			assert.NoError(t, m.Step(tr.Step), m.Name())
		} else {
			assert.ErrorIs(t, m.Step(tr.Step), tr.failing, m.Name())
		}
	}
	for _, m := range []guide.Method{guide.Evidence{Scale: 1}, guide.MMPS{}, guide.Pathwise{}, guide.Pathwise{Root: 1}} {
		assert.ErrorContains(t, guide.Validate(m, nil), m.Name()+" solves with the model's covariance by 0 Lanczos steps")
	}
	assert.ErrorContains(t, guide.Validate(guide.Pathwise{Root: 1001, Solve: 1}, nil), "1001 Lanczos steps")
	eta := 0.5
	assert.ErrorContains(t, guide.Validate(guide.DiffPIR{Lambda: 1}, &eta), "diffpir has a reverse step of its own")
	assert.ErrorContains(t, guide.Validate(guide.DAPS{Radius: 1, StepSize: 1}, nil), "0 Langevin steps")
}

// The published settings, by task and number of steps.
func TestPublishedSettings(t *testing.T) {
	for _, c := range []struct {
		task  string
		steps int
		dps   float64
		dsg   guide.DSG
		floor float64
	}{
		{"inpaint", 1000, 0.5, guide.DSG{Interval: 5, Rate: 0.2}, 0.001},
		{"sr4", 1000, 0.3, guide.DSG{Interval: 20, Rate: 0.2}, 0.01},
		{"phase", 1000, 1, guide.DSG{Interval: 5, Rate: 0.2}, 0.001},
		{"phase", 100, 10, guide.DSG{Interval: 1, Rate: 0.1}, 0.001},
		{"blur", 1000, 0.3, guide.DSG{Interval: 5, Rate: 0.2}, 0.001},
		{"box", 100, 5, guide.DSG{Interval: 1, Rate: 0.2}, 0.001},
		{"sr4", 100, 3, guide.DSG{Interval: 2, Rate: 0.1}, 0.01},
		{"blur", 100, 3, guide.DSG{Interval: 1, Rate: 0.1}, 0.001},
		{"mask", 50, 10, guide.DSG{Interval: 1, Rate: 0.2}, 0.001},
		{"sr8", 50, 6, guide.DSG{Interval: 1, Rate: 0.1}, 0.01},
		{"blur", 50, 6, guide.DSG{Interval: 1, Rate: 0.1}, 0.001},
	} {
		assert.InDelta(t, c.dps, guide.DPSScale(c.task, c.steps), 1e-12, "%+v", c)
		assert.Equal(t, c.dsg, guide.DSGFor(c.task, c.steps), "%+v", c)
		assert.Equal(t, guide.PiGDM{Scale: 1, MinSigmaY: c.floor}, guide.PiGDMFor(c.task), "%+v", c)
	}
}

// ΠGDM's published form, DSG and pathwise conditioning are on DDIM with η = 1; the others are DDPM's.
func TestPublishedDDIM(t *testing.T) {
	for name, make := range guide.Named {
		eta := guide.PublishedDDIM(make(guide.Settings{Task: "sr4", Steps: 100}))
		if name != "pigdm" && name != "dsg" && !strings.HasPrefix(name, "pathwise") {
			assert.Nil(t, eta, name)
		} else if assert.NotNil(t, eta) {
			assert.Equal(t, 1.0, *eta)
		}
	}
	assert.Nil(t, guide.PublishedDDIM(guide.PiGDM{Scale: 1, GuidedMean: true}))
}
