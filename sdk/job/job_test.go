package job_test

import (
	"context"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// counter counts the arrays of a device.
type counter struct {
	compute.Device
	live int
}

func (c *counter) Alloc(n int) (compute.Buffer, error) {
	c.live++
	return c.Device.Alloc(n)
}

func (c *counter) Free(b compute.Buffer) {
	c.live--
	c.Device.Free(b)
}

// network returns the trained 16×16 network of the golden vectors.
func network(t testing.TB) (prior.Model, *counter) {
	t.Helper()
	const folder = "../../testdata/golden/tiny16/"
	dev := &counter{Device: cpu.New(2)}
	t.Cleanup(func() { assert.NoError(t, dev.Close()) })
	override, err := os.ReadFile(folder + "config.json")
	require.NoError(t, err)
	file, err := checkpoint.Open(folder + "model.pt")
	require.NoError(t, err)
	defer file.Close()
	m, err := unet.Load(dev, file, override)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m, dev
}

func image(number int) job.Image {
	i := job.Image{C: 3, H: 16, W: 16, Number: uint64(number)}
	for k := range 3 * 16 * 16 {
		i.Pix = append(i.Pix, float32(0.9*math.Sin(float64(k%16)/(2+float64(number)))*math.Cos(float64(k/16)/3)))
	}
	return i
}

// short returns a spec of few steps.
func short(task, method string) job.Spec {
	s := job.Default()
	s.Task, s.Method, s.Steps = task, method, 3
	return s
}

func restore(t testing.TB, m prior.Model, s job.Spec, images ...job.Image) (*job.Job, []job.Image) {
	t.Helper()
	j, err := job.New(m, s, images...)
	require.NoError(t, err)
	passes := 0
	j.Options.OnStep = func(p sdk.Progress) { passes = p.Passes }
	out, err := j.Run(context.Background(), sdk.PlaceOf(m))
	require.NoError(t, err)
	assert.Equal(t, j.Plan.Passes(), passes)
	return j, out
}

// An image depends on its own number and sample, not on its batch, whatever the task.
func TestImagesDoNotDependOnTheBatch(t *testing.T) {
	m, dev := network(t)
	for _, s := range []job.Spec{short("inpaint", "dps"), short("sr4", "pigdm"), short("phase", "dps"), short("", "unconditional")} {
		s.CMI.On = s.Task == "inpaint"
		other := image(5)
		other.Sample = 1
		j, both := restore(t, m, s, image(5), image(7), other)
		single, alone := restore(t, m, s, image(7))
		before := dev.live // the network keeps its activations
		restore(t, m, s, image(5), image(7), other)
		restore(t, m, s, image(7))
		assert.Equal(t, before, dev.live, "%s: arrays are left", s.Task)
		assert.Equal(t, alone[0].Pix, both[1].Pix, s.Task)
		assert.NotEqual(t, both[0].Pix, both[2].Pix, s.Task)
		if s.Task == "" {
			assert.Nil(t, j.Measurements)
			continue
		}
		assert.Equal(t, single.Measurements[0], j.Measurements[1], s.Task)
		assert.Equal(t, j.Measurements[0], j.Measurements[2], s.Task)
	}
}

// A measurement restored as it is gives what its picture gives.
func TestMeasured(t *testing.T) {
	m, _ := network(t)
	s := short("inpaint", "dps")
	j, want := restore(t, m, s, image(1))
	y := j.Measurements[0]
	loud := append([]float32(nil), y.Y...)
	for i := range loud {
		if y.Known[i%len(y.Known)] == 0 {
			loud[i] = 0.5 // what is not known has no say
		}
	}
	s.Measured = true
	again := job.Image{C: y.C, H: y.H, W: y.W, Pix: loud, Number: 1}
	_, err := job.New(m, s, again)
	assert.ErrorContains(t, err, "measured needs the mask that made the measurement: task inpaint would draw another one; give its mask")
	again.Mask = y.Inputs.Mask
	assert.Equal(t, y.Known, again.Mask)
	_, got := restore(t, m, s, again)
	assert.Equal(t, want[0].Pix, got[0].Pix)
	c, h, w, err := s.Shape(m, again)
	require.NoError(t, err)
	assert.Equal(t, [3]int{3, 16, 16}, [3]int{c, h, w})
	s.Task = "sr4"
	_, h, w, err = s.Shape(m, job.Image{})
	require.NoError(t, err)
	assert.Equal(t, [2]int{4, 4}, [2]int{h, w})
}

// A kernel that was drawn is given back, and makes the same measurement.
func TestDrawnKernel(t *testing.T) {
	m, _ := network(t)
	first, err := job.New(m, short("motion", "dps"), image(1), image(2))
	require.NoError(t, err)
	a, b := first.Measurements[0], first.Measurements[1]
	assert.NotEqual(t, a.Inputs.Kernel.Weights, b.Inputs.Kernel.Weights)
	again := image(1)
	again.Kernel = a.Inputs.Kernel
	for _, task := range []string{"motion", "kernel"} {
		second, err := job.New(m, short(task, "dps"), again)
		require.NoError(t, err)
		assert.Equal(t, a.Y, second.Measurements[0].Y, task)
	}
}

// Under Poisson noise DPS weighs each image's gradient.
func TestPoisson(t *testing.T) {
	m, _ := network(t)
	s := short("denoise", "dps")
	s.Noise, s.Rate = "poisson", 0.5
	j, err := job.New(m, s, image(1), image(2))
	require.NoError(t, err)
	weights := j.Options.Method.(guide.DPS).Weights
	require.Len(t, weights, 2)
	for i, y := range j.Measurements {
		assert.Equal(t, measure.PoissonWeight(y.Y), weights[i])
	}
}

// A run that starts in the middle takes all its steps below the start, begins at the noised
// pseudo-inverse of the measurement, and has the scale of a whole run with steps as long.
func TestStart(t *testing.T) {
	m, _ := network(t)
	for _, method := range []string{"dps", "gibbs", "daps"} {
		s := short("inpaint", method)
		s.Steps, s.Start, s.DPSLimit = 5, 400, -1
		j, both := restore(t, m, s, image(5), image(7))
		_, alone := restore(t, m, s, image(7))
		assert.Equal(t, both[1].Pix, alone[0].Pix, method)
		var times []int
		for i := range j.Options.Schedule.Len() {
			times = append(times, j.Options.Schedule.Timestep(i))
		}
		assert.Equal(t, []int{0, 100, 200, 300, 400}, times)
		if method == "dps" {
			assert.Equal(t, guide.DPS{Scale: 0.5 * 1000 / 12}, j.Options.Method)
		}

		p, free, err := j.Problem(m)
		require.NoError(t, err)
		defer free()
		first := func(o sdk.Options) []float32 {
			solver, err := sdk.NewSolver(p, o)
			require.NoError(t, err)
			defer solver.Close()
			x, index, err := solver.State()
			require.NoError(t, err)
			assert.Equal(t, 4, index)
			return x
		}
		noise := j.Options
		noise.FromMeasurement = false
		image, root := j.Options.Schedule.Forward(4)
		y := append(append([]float32(nil), j.Measurements[0].Y...), j.Measurements[1].Y...)
		z, x := first(noise), first(j.Options)
		for i := range x { // of a mask A⁺y is y/(1 + σ_y²)
			require.InDelta(t, image*float64(y[i])/(1+s.SigmaY*s.SigmaY)+root*float64(z[i]), x[i], 1e-5)
		}
	}
}

// What New refuses, by the field that is to blame.
func TestNewErrors(t *testing.T) {
	m, dev := network(t)
	nan := math.NaN()
	small := image(0)
	small.W, small.Pix = 8, small.Pix[:3*16*8]
	small.Name = "small.png"
	grey := image(0)
	grey.C, grey.Pix = 1, grey.Pix[:16*16]
	big := image(0)
	for says, change := range map[string]func(s *job.Spec, i *job.Image){
		`unknown task "deblur": known are sr4`:                                 func(s *job.Spec, _ *job.Image) { s.Task = "deblur" },
		`unknown method "ddrm": known are adamdps, cadps, daps`:                func(s *job.Spec, _ *job.Image) { s.Method = "ddrm" },
		`unknown noise schedule "quadratic"`:                                   func(s *job.Spec, _ *job.Image) { s.Schedule = "quadratic" },
		"steps is 1, which would start":                                        func(s *job.Spec, _ *job.Image) { s.Steps = 1 },
		"start is -3, a training step from 1":                                  func(s *job.Spec, _ *job.Image) { s.Start = -3 },
		"start is 1000, the model knows":                                       func(s *job.Spec, _ *job.Image) { s.Start = 1000 },
		"start is 5, but nothing is measured":                                  func(s *job.Spec, _ *job.Image) { s.Task, s.Method, s.Start = "", "unconditional", 5 },
		"only 2 training steps are left from a start":                          func(s *job.Spec, _ *job.Image) { s.Start = 1 },
		"the method fps has a start of its own":                                func(s *job.Spec, _ *job.Image) { s.Method, s.Start = "fps", 400 },
		"can't start from its measurement":                                     func(s *job.Spec, _ *job.Image) { s.Task, s.Start = "phase", 400 },
		"0 sampling steps":                                                     func(s *job.Spec, _ *job.Image) { s.Steps = 0 },
		"ddim is 1.5, 0 to 1 is wanted":                                        func(s *job.Spec, _ *job.Image) { v := 1.5; s.DDIM = &v },
		"ddim is NaN":                                                          func(s *job.Spec, _ *job.Image) { s.DDIM = &nan },
		"scale is -1":                                                          func(s *job.Spec, _ *job.Image) { s.Scale = -1 },
		"networkNoise is -1, a number of Lanczos steps":                        func(s *job.Spec, _ *job.Image) { s.NetworkNoise = -1 },
		"the method diffpir draws its states by itself":                        func(s *job.Spec, _ *job.Image) { s.Method, s.NetworkNoise = "diffpir", 2 },
		"learnedVariance is -1, a noise level":                                 func(s *job.Spec, _ *job.Image) { s.Method, s.LearnedVariance = "pigdm", -1 },
		"curvature is NaN":                                                     func(s *job.Spec, _ *job.Image) { s.Curvature = nan },
		"sigmaY is 0":                                                          func(s *job.Spec, _ *job.Image) { s.SigmaY = 0 },
		`noise is "shot"`:                                                      func(s *job.Spec, _ *job.Image) { s.Noise = "shot" },
		"noise is poisson, which task phase can't have":                        func(s *job.Spec, _ *job.Image) { s.Task, s.Noise = "phase", "poisson" },
		"noise is poisson, which would do nothing":                             func(s *job.Spec, _ *job.Image) { s.Noise, s.Measured = "poisson", true },
		`unknown border "wrap"`:                                                func(s *job.Spec, _ *job.Image) { s.Border = "wrap" },
		"task mask: it needs its mask":                                         func(s *job.Spec, _ *job.Image) { s.Task = "mask" },
		"task kernel: it needs its kernel":                                     func(s *job.Spec, _ *job.Image) { s.Task = "kernel" },
		"a measurement of task phase is of 24×24":                              func(s *job.Spec, _ *job.Image) { s.Task, s.Measured = "phase", true },
		"phase is not linear: use method dps":                                  func(s *job.Spec, _ *job.Image) { s.Task, s.Method = "phase", "mcg" },
		"the information term acts in no step":                                 func(s *job.Spec, _ *job.Image) { s.CMI.On, s.CMI.First = true, 50 },
		"0 probes":                                                             func(s *job.Spec, _ *job.Image) { s.CMI.On, s.CMI.Probes = true, 0 },
		"the picture small.png is 8×16 pixels, the model restores pictures of": func(_ *job.Spec, i *job.Image) { *i = small },
		"a measurement of task sr4 is of 4×4":                                  func(s *job.Spec, _ *job.Image) { s.Measured = true },
		"the picture has 1 channels and 256 values, 3 channels of 16×16":       func(_ *job.Spec, i *job.Image) { *i = grey },
		"an operator is needed by the method dps":                              func(s *job.Spec, _ *job.Image) { s.Task = "" },
	} {
		s, i, before := short("sr4", "dps"), big, dev.live
		change(&s, &i)
		_, err := job.New(m, s, i)
		assert.ErrorContains(t, err, says)
		assert.Equal(t, before, dev.live, "%s: arrays are left", says)
	}
	var field *job.FieldError
	s := short("sr4", "dps")
	s.SigmaY = -1
	_, err := s.Options(m)
	require.ErrorAs(t, err, &field)
	assert.Equal(t, "sigmaY", field.Field)
}

// JSON over the defaults: what is left out stays, what is unknown or of a wrong type is
// an error that names the key.
func TestDecode(t *testing.T) {
	read := func(text string) (job.Spec, error) {
		s := job.Default()
		return s, job.Decode([]byte(text), &s)
	}
	s, err := read(`{"task": "box", "steps": 20, "sigmaY": 0.1, "cmi": {"eta": -2, "lanczos": 3}, "ddim": 0}`)
	require.NoError(t, err)
	want := job.Default()
	want.Task, want.Steps, want.SigmaY, want.DDIM = "box", 20, 0.1, new(float64)
	want.CMI.On, want.CMI.Choice, want.CMI.Eta, want.CMI.Lanczos = true, cmi.Custom, -2, 3
	assert.Equal(t, want, s)
	for text, on := range map[string]bool{`{"cmi": true}`: true, `{"cmi": false}`: false, `{"cmi": null}`: false, `{}`: false} {
		s, err := read(text)
		require.NoError(t, err)
		want := job.Default()
		want.CMI.On = on
		assert.Equal(t, want, s, text)
	}
	for text, choice := range map[string]cmi.Choice{
		`{"cmi": true}`: "", `{"cmi": "spread"}`: cmi.Spread, `{"cmi": {"choice": "paper", "lanczos": 3}}`: cmi.Paper, `{"cmi": {"lanczos": 3}}`: "",
		`{"cmi": {"choice": "custom", "TrustGuidance": 1}}`: cmi.Custom,
	} {
		s, err := read(text)
		require.NoError(t, err, text)
		assert.True(t, s.CMI.On, text)
		assert.Equal(t, choice, s.CMI.Choice, text)
	}
	off, err := read(`{"cmi": "off"}`)
	require.NoError(t, err)
	assert.Equal(t, job.Default(), off)
	for text, says := range map[string]string{
		`{"cmi": {"choice": "paper", "eta": 2}}`: "the choice paper sets eta and trustGuidance",
		`{"steps": "many"}`:                      "steps is string, a whole number is wanted",
		`{"steps": 1.5}`:                         "steps is 1.5, a whole number is wanted",
		`{"task": 3}`:                            "task is number, a name is wanted",
		`{"measured": 1}`:                        "measured is number, true or false is wanted",
		`{"stpes": 3}`:                           `unknown field "stpes"`,
		`{"mask": [1]}`:                          `unknown field "mask"`, // arrays stand beside the JSON
		`{"cmi": {"eta": "big"}}`:                "cmi: eta is string, a number is wanted",
		`{"cmi": {"on": true}}`:                  `cmi: unknown field "on"`,
		`{`:                                      "unexpected EOF",
	} {
		_, err := read(text)
		assert.ErrorContains(t, err, says, text)
	}
}

// A choice's weights are those that it says; what was given by itself stays; what nobody has chosen is
// what suits the method.
func TestChoices(t *testing.T) {
	m, _ := network(t)
	s := short("sr4", "pigdm")
	s.CMI.On = true
	for _, choice := range cmi.Choices {
		s.CMI.Choice = choice
		o, err := s.Options(m)
		require.NoError(t, err)
		want, err := cmi.Defaults().Choose(choice)
		require.NoError(t, err)
		assert.Equal(t, want, *o.CMI)
	}
	s.CMI.Choice = ""
	term, err := s.CMI.For("pigdm")
	require.NoError(t, err)
	assert.Equal(t, job.ChoiceFor("pigdm"), term.Choice)
	s.CMI.Eta = 0.5
	o, err := s.Options(m)
	require.NoError(t, err)
	assert.Equal(t, 0.5, o.CMI.Eta)
	s.CMI.Choice = "sharp"
	_, err = s.Options(m)
	assert.ErrorContains(t, err, `cmi is "sharp", true, false, paper, fidelity, spread or custom is wanted`)
}

// What the study found to be worse is said, with what to take instead; what a bare --cmi takes never is.
func TestCaution(t *testing.T) {
	on := func(choice cmi.Choice) job.Term { return job.Term{On: true, Choice: choice, Options: cmi.Defaults()} }
	ruined := on(cmi.Fidelity).Caution("pathwise-mean", "box")
	assert.Contains(t, ruined, "choice fidelity at pathwise-mean")
	assert.Contains(t, ruined, "take paper, or leave the term out")
	assert.Contains(t, on(cmi.Paper).Caution("dps", "sr4"), "take fidelity, or leave the term out")
	assert.Empty(t, on(cmi.Fidelity).Caution("pathwise-mean", "sr4"), "the box alone is ruined")
	assert.Empty(t, on(cmi.Spread).Caution("pigdm", "box"), "it does what it promises there")
	assert.Empty(t, job.Term{Choice: cmi.Fidelity, Options: cmi.Defaults()}.Caution("pathwise-mean", "box"), "the term is off")
	for _, method := range job.Methods() {
		for _, task := range measure.TaskNames() {
			assert.Empty(t, on("").Caution(method, task), "%s, %s", method, task)
		}
	}
}

// The npm package's lists of tasks and methods are Go's.
func TestListsOfTypeScript(t *testing.T) {
	source, err := os.ReadFile("../../wasm/npm/src/engine.ts")
	require.NoError(t, err)
	list := func(name string) (names []string) {
		found := regexp.MustCompile(`(?s)export const ` + name + ` = \[(.*?)\]`).FindSubmatch(source)
		require.NotNil(t, found, name)
		for _, quoted := range strings.Split(string(found[1]), ",") {
			names = append(names, strings.Trim(quoted, " \n\""))
		}
		return names
	}
	inPage := slices.DeleteFunc(measure.TaskNames(), func(name string) bool { return name == "matrix" }) // the tool reads its file
	assert.ElementsMatch(t, inPage, list("tasks"))
	assert.ElementsMatch(t, job.Methods(), list("methods"))
}
