package referee_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// Two exact posterior samples and the truth are exchangeable: the ratio is 1 within
// its interval. Samples drawn too narrow are found out.
func TestExchangeabilityOfExactSamples(t *testing.T) {
	var x, again, narrow, truth []float32
	const problems, dim = 400, 8
	for seed := range uint64(problems) {
		p, err := mixture.NewProblem(mixture.ProblemConfig{Components: 25, Dim: dim, Rows: 3, Seed: 1000 + seed})
		require.NoError(t, err)
		posterior, err := p.Posterior()
		require.NoError(t, err)
		rng := rand.New(rand.NewPCG(seed, 9))
		s := posterior.Sample(2, rng)
		for k := range dim {
			truth = append(truth, float32(p.Truth[k]))
			x, again = append(x, float32(s[0][k])), append(again, float32(s[1][k]))
			narrow = append(narrow, float32(s[0][k]+0.5*(s[1][k]-s[0][k])))
		}
	}
	ratio, lo, hi, err := metric.ExchangeabilityOf(metric.SquaredError[float32], x, again, truth, problems, 1, 1, dim, 1000, 1)
	require.NoError(t, err)
	require.Less(t, lo, 1.0, "ratio %v", ratio)
	require.Greater(t, hi, 1.0, "ratio %v", ratio)
	_, _, hi, err = metric.ExchangeabilityOf(metric.SquaredError[float32], x, narrow, truth, problems, 1, 1, dim, 1000, 1)
	require.NoError(t, err)
	require.Less(t, hi, 1.0, "over-confident samples")
}
