package referee_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
	"github.com/cmi-diffusion/cmi/sdk/referee"
)

func device(t testing.TB) compute.Device {
	t.Helper()
	dev := cpu.New(2)
	t.Cleanup(func() { assert.NoError(t, dev.Close()) })
	return dev
}

// small returns the setting in which the depth of the solver is judged, with fewer
// problems and samples.
func small(problems, samples int) referee.Setting {
	s := referee.Depths().Setting
	s.Problems, s.Samples = problems, samples
	return s
}

var dps = guide.DPS{Scale: 0.3}

func judge(t *testing.T, s referee.Setting, arms ...referee.Arm) []referee.Verdict {
	t.Helper()
	v, err := referee.Judge(context.Background(), device(t), s, arms, nil)
	require.NoError(t, err)
	return v
}

// helps returns the claim of this repository, in small: with the term, the samples are at
// least 20 % nearer to the posterior, and to the truth.
func helps(without, with referee.Verdict) bool {
	return referee.Mean(with.Distance) < 0.8*referee.Mean(without.Distance) &&
		referee.Mean(with.SquaredError) < 0.8*referee.Mean(without.SquaredError)
}

// One probe and three Lanczos steps help DPS; a term of weight zero does not, nor
// does one of the wrong sign, so that this test can fail.
func TestTermHelps(t *testing.T) {
	v := judge(t, small(3, 60),
		referee.Arm{Name: "DPS", Method: dps},
		referee.Arm{Name: "K=3", Method: dps, CMI: referee.Term(1, cmi.Beta, cmi.Probe, 3)},
		referee.Arm{Name: "weight 0", Method: dps, CMI: referee.Term(0, cmi.Beta, cmi.Probe, 3)},
		referee.Arm{Name: "weight -1", Method: dps, CMI: referee.Term(-1, cmi.Beta, cmi.Probe, 3)},
	)
	for _, a := range v {
		t.Logf("%-10s distance %.3f, squared error %.3f", a.Name, referee.Mean(a.Distance), referee.Mean(a.SquaredError))
	}
	assert.True(t, helps(v[0], v[1]), "K = 3")
	assert.False(t, helps(v[0], v[2]), "weight 0")
	assert.Equal(t, v[0].Distance, v[2].Distance, "weight 0 is no term")
	assert.False(t, helps(v[0], v[3]), "weight -1")
}

// The whole evidence, drift, curvature and term, comes near to the posterior: three
// times nearer than DPS.
func TestWholeEvidence(t *testing.T) {
	exact := guide.Evidence{Scale: 1, Lanczos: 12, Curvature: guide.Curvature{Weight: 1}}
	s := small(2, 60)
	v := judge(t, s, referee.Arm{Name: "DPS", Method: dps}, referee.Arm{Name: "evidence", Method: exact, CMI: referee.Term(1, cmi.Beta, cmi.Probe, 6)})
	d := referee.Mean(v[1].Distance)
	t.Logf("distance %.3f, DPS %.3f, exact samples %.3f", d, referee.Mean(v[0].Distance), self(t, s))
	assert.Less(t, d, 0.3*referee.Mean(v[0].Distance))
}

// self returns the distance between two sets of exact posterior samples: what a perfect
// sampler would get.
func self(t *testing.T, s referee.Setting) float64 {
	t.Helper()
	var distances []float64
	for i := range s.Problems {
		p, err := mixture.NewProblem(mixture.ProblemConfig{Components: s.Components, Dim: s.Dim, Rows: s.Rows, Orthonormal: s.Orthonormal, Seed: s.Seed + uint64(i)})
		require.NoError(t, err)
		posterior, err := p.Posterior()
		require.NoError(t, err)
		rng := rand.New(rand.NewPCG(9, uint64(i)))
		d, err := mixture.SlicedWasserstein(posterior.Sample(s.Samples, rng), posterior.Sample(s.Samples, rng), 200, rng)
		require.NoError(t, err)
		distances = append(distances, d)
	}
	return referee.Mean(distances)
}

// Exact samples are near to each other: the distances above are not noise.
func TestExactSamplesAreNear(t *testing.T) {
	assert.Less(t, self(t, small(3, 60)), 0.04)
}

// Particles bring ΠGDM's samples to exact ones, with other seeds too: of 16 of them the distance is below
// a quarter of that without, and less than three times that of two exact sets; and the estimate of p(y) is right.
func TestParticlesReachExactSamples(t *testing.T) {
	s := referee.Particles().Setting
	s.Problems, s.Samples = 1, 60
	method := guide.PiGDM{Scale: 1, GuidedMean: true}
	for _, s.Seed = range []uint64{1, 50} {
		v := judge(t, s, referee.Arm{Name: "without", Method: method}, referee.Arm{Name: "P=4", Method: method, Particles: 4},
			referee.Arm{Name: "P=16", Method: method, Particles: 16}, referee.Arm{Name: "exact", Exact: true})
		for _, a := range v {
			t.Logf("seed %d, %-8s distance %.3f, squared error %.3f, ESS %.1f, log evidence %.2f", s.Seed, a.Name, referee.Mean(a.Distance), referee.Mean(a.SquaredError), a.ESS, a.LogEvidence)
		}
		without, few, many, exact := referee.Mean(v[0].Distance), referee.Mean(v[1].Distance), referee.Mean(v[2].Distance), referee.Mean(v[3].Distance)
		assert.Less(t, few, 0.7*without)
		assert.Less(t, many, 0.25*without)
		assert.Less(t, many, 3*exact)
		for _, off := range v[2].LogEvidence {
			assert.InDelta(t, 0, off, 0.5)
		}
		assert.Nil(t, v[0].ESS)
	}
}

// The same setting is the same verdict, another seed other problems; done reports
// every run.
func TestJudge(t *testing.T) {
	arms := []referee.Arm{{Name: "unconditional", Method: guide.Unconditional{}}, {Name: "DPS", Method: dps}}
	s := referee.Setting{Problems: 2, Samples: 20, Components: 4, Dim: 3, Rows: 2, Seed: 5}
	var runs [][2]int
	first, err := referee.Judge(context.Background(), device(t), s, arms, func(arm, problem int) { runs = append(runs, [2]int{arm, problem}) })
	require.NoError(t, err)
	assert.Equal(t, [][2]int{{0, 0}, {1, 0}, {0, 1}, {1, 1}}, runs)
	require.Len(t, first, 2)
	for i, v := range first {
		assert.Equal(t, arms[i].Name, v.Name)
		assert.Len(t, v.Distance, 2)
		assert.Len(t, v.SquaredError, 2)
	}
	assert.Less(t, referee.Mean(first[1].Distance), referee.Mean(first[0].Distance), "DPS looks at the measurement")
	again := judge(t, s, arms...)
	other := s
	other.Seed++
	shifted := judge(t, other, arms...)
	for i := range arms {
		assert.Equal(t, first[i].Distance, again[i].Distance)
		assert.Equal(t, first[i].Distance[1], shifted[i].Distance[0], "problem i has the seed plus i")
		assert.NotEqual(t, first[i].Distance[0], shifted[i].Distance[0])
	}
}

func TestJudgeErrors(t *testing.T) {
	s := referee.Setting{Problems: 1, Samples: 5, Components: 2, Dim: 3, Rows: 2, Seed: 5}
	bad := cmi.Defaults()
	bad.Probes = 0
	for says, c := range map[string]struct {
		s referee.Setting
		a referee.Arm
	}{
		"worst, problem 1: 0 probes": {s, referee.Arm{Name: "worst", Method: dps, CMI: &bad}},
		"4 orthonormal rows":         {referee.Setting{Problems: 1, Samples: 5, Components: 2, Dim: 3, Rows: 4, Orthonormal: true}, referee.Arm{Method: dps}},
		"0 components":               {referee.Setting{Problems: 1, Samples: 5, Dim: 3, Rows: 2}, referee.Arm{Method: dps}},
		"0 measurements":             {referee.Setting{Problems: 1, Components: 2, Dim: 3, Rows: 2}, referee.Arm{Method: dps}},
	} {
		_, err := referee.Judge(context.Background(), device(t), c.s, []referee.Arm{c.a}, nil)
		assert.ErrorContains(t, err, says)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := referee.Judge(ctx, device(t), s, []referee.Arm{{Name: "DPS", Method: dps}}, nil)
	assert.True(t, errors.Is(err, context.Canceled))
}

// The tables hold what they are compared in: every arm can be run.
func TestTables(t *testing.T) {
	for _, table := range []referee.Table{referee.Weights(), referee.Depths(), referee.Curvature(), referee.Particles()} {
		assert.NotEmpty(t, table.Title)
		names := map[string]bool{}
		for _, a := range table.Arms {
			assert.False(t, names[a.Name], "%s: %s twice", table.Title, a.Name)
			names[a.Name] = true
			assert.True(t, a.Method != nil || a.Exact, a.Name)
			if a.CMI != nil {
				assert.NoError(t, a.CMI.Validate(), a.Name)
			}
		}
		assert.Nil(t, table.Arms[0].CMI, "the first arm is without the term")
		assert.GreaterOrEqual(t, table.Problems*table.Samples, 500)
	}
}
