package job_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/job"
)

// The method that is taken where none is chosen depends on the task and on what else is wanted.
func TestUsual(t *testing.T) {
	eta := 1.0
	for _, c := range []struct {
		task    string
		samples int
		change  func(*job.Spec)
		method  string
		steps   int
	}{
		{"sr4", 1, nil, "ddrm-mean", 30},
		{"denoise", 1, nil, "ddrm-mean", 30},
		{"blur", 1, nil, "diffpir", 50},
		{"box", 1, nil, "diffpir", 50},
		{"inpaint", 1, nil, "pathwise-mean", 40},
		{"sr4", 8, nil, "pathwise", 25},
		{"colourise", 8, nil, "pathwise-mean", 40},
		{"phase", 8, nil, "dps", 100},
		{"sr4", 8, func(s *job.Spec) { s.CMI.On = true }, "dps", 100},
		{"sr4", 1, func(s *job.Spec) { s.Noise = "poisson" }, "dps", 100},
		{"sr4", 1, func(s *job.Spec) { s.DDIM = &eta }, "dps", 100},
	} {
		s := job.Default()
		s.Task = c.task
		if c.change != nil {
			c.change(&s)
		}
		got := s.Usual(c.samples)
		assert.Equal(t, []any{c.method, c.steps}, []any{got.Method, got.Steps}, "%s, %d samples", c.task, c.samples)
	}
}

// DiffPIR's usual run starts at the noise level of t = 400 of 1000 linear steps, and at pure noise where fewer steps
// are left than are wanted.
func TestUsualStart(t *testing.T) {
	m, _ := network(t)
	s := job.Default()
	s.Task = "blur"
	s = s.Usual(1)
	start, err := s.UsualStart(m)
	require.NoError(t, err)
	_, betas, err := s.NoiseSchedule(m)
	require.NoError(t, err)
	require.Len(t, betas, 1000)
	assert.Equal(t, 400, start)
	s.Steps = start + 2
	all, err := s.UsualStart(m)
	require.NoError(t, err)
	assert.Zero(t, all)
	s.Method, s.Steps = "dps", 100
	other, err := s.UsualStart(m)
	require.NoError(t, err)
	assert.Zero(t, other)
	s = short("blur", "diffpir")
	s.Start = start
	restore(t, m, s, image(1))
}
