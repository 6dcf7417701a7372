package computetest_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest/devicetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
)

func TestCPUPassesAllOps(t *testing.T) {
	dev := cpu.New(2)
	devicetest.Ops(t, dev, testing.Short())
	assert.NoError(t, dev.Close())
}

func TestCPUKeepsErrors(t *testing.T) {
	devicetest.Errors(t, func() (compute.Device, error) { return cpu.New(1), nil })
}

func TestQuickCasesAreAmongAll(t *testing.T) {
	all := map[string]bool{}
	groups := map[string]bool{}
	for _, c := range computetest.Ops(false) {
		id := c.Group + ": " + c.Name
		assert.False(t, all[id], "two cases are called %s", id)
		all[id], groups[c.Group] = true, true
	}
	quick := computetest.Ops(true)
	for _, c := range quick {
		assert.True(t, all[c.Group+": "+c.Name], c.Name)
		delete(groups, c.Group)
	}
	assert.Empty(t, groups, "groups without a quick case")
	assert.Less(t, 5*len(quick), len(all))
}

func TestRunJudgesCases(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	result := func(e float64, err error) func(context.Context, compute.Device) (float64, error) {
		return func(context.Context, compute.Device) (float64, error) { return e, err }
	}
	cases := []computetest.Case{
		{Group: "g", Name: "at the bound", Bound: 1e-6, Run: result(1e-6, nil)},
		{Group: "g", Name: "above", Bound: 1e-6, Run: result(1.1e-6, nil)},
		{Group: "g", Name: "not a number", Bound: 1e-6, Run: result(math.NaN(), nil)},
		{Group: "g", Name: "failure", Bound: 1e-6, Run: result(0, errors.New("lost"))},
		{Group: "g", Name: "panic", Bound: 1e-6, Run: func(context.Context, compute.Device) (float64, error) { panic("oh") }},
		{Group: "g", Name: "skip", Bound: 1e-6, Run: result(0, fmt.Errorf("here: %w", computetest.Skip("no memory")))},
		{Group: "g", Name: "ends", Bound: 1e-6, Run: func(context.Context, compute.Device) (float64, error) { cancel(); return 0, nil }},
		{Group: "g", Name: "after the end", Bound: 1e-6, Run: result(0, nil)},
	}
	var lines []string
	passed, failed, skipped := computetest.Run(ctx, nil, cases, func(r computetest.Result) { lines = append(lines, r.String()) })
	assert.Equal(t, []int{2, 4, 2}, []int{passed, failed, skipped})
	assert.Equal(t, []string{
		"pass g: at the bound (1.0e-06 ≤ 1e-06)",
		"FAIL g: above: relative error 1.100e-06, allowed 1e-06",
		"FAIL g: not a number: relative error NaN, allowed 1e-06",
		"FAIL g: failure: lost",
		"FAIL g: panic: panic: oh",
		"skip g: skip: no memory",
		"pass g: ends (0.0e+00 ≤ 1e-06)",
		"skip g: after the end: context canceled",
	}, lines)
}

func TestRelativeError(t *testing.T) {
	assert.InDelta(t, 0.5, computetest.RelativeError([]float64{3, 6}, []float64{3, 4}), 0.1001)
	assert.Zero(t, computetest.RelativeError([]float64{0, 0}, []float64{0, 0}))
	assert.Equal(t, 5.0, computetest.RelativeError([]float64{3, 4}, []float64{0, 0}))
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		assert.Equal(t, math.Inf(1), computetest.RelativeError([]float64{1, bad}, []float64{1, 2}))
	}
	assert.Equal(t, math.Inf(1), computetest.RelativeError([]float64{1}, []float64{1, 2}))
}

// quickOf returns the quick cases of one group.
func quickOf(t *testing.T, group string) (cases []computetest.Case) {
	t.Helper()
	for _, c := range computetest.Ops(true) {
		if c.Group == group {
			cases = append(cases, c)
		}
	}
	require.NotEmpty(t, cases, group)
	return cases
}

// caught asserts that a broken device fails the quick cases of a group.
func caught(t *testing.T, dev compute.Device, group string) {
	t.Helper()
	var reasons []string
	passed, failed, _ := computetest.Run(t.Context(), dev, quickOf(t, group), func(r computetest.Result) {
		if !r.Passed {
			reasons = append(reasons, r.String())
		}
	})
	assert.NotZero(t, failed, "%d cases of %s passed a broken device", passed, group)
	t.Log(reasons[:min(1, len(reasons))])
}

func ExampleRun() {
	dev := cpu.New(1)
	defer dev.Close()
	passed, failed, skipped := computetest.Run(context.Background(), dev, computetest.Ops(true), func(r computetest.Result) {
		if !r.Passed {
			fmt.Println(r)
		}
	})
	fmt.Println(passed > 100, failed, skipped)
	// Output: true 0 0
}
