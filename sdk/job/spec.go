// Package job turns a plain description of a restoration, such as the flags of a command
// or the JSON of a request, into a validated, planned and runnable job.
//
// A [Spec] is the description. [New] checks it, measures the images and plans the run;
// [Job.Run] runs it where a device may be lost. The package reads no files.
package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Spec describes a restoration. Start from [Default].
type Spec struct {
	Task     string   `json:"task"`     // of [measure.Tasks]; "" measures nothing and draws from the prior
	Method   string   `json:"method"`   // of [guide.Named]
	Steps    int      `json:"steps"`    // of the reverse process, 2 to the model's training steps
	Start    int      `json:"start"`    // the training step to start at, from the measurement; 0 starts at the last one, from pure noise
	Schedule string   `json:"schedule"` // of the model: auto, linear or cosine; see [Spec.NoiseSchedule]
	Seed     uint64   `json:"seed"`     // with an image's number it keys all random numbers
	DDIM     *float64 `json:"ddim"`     // η of DDIM, 0 to 1, or negative for DDPM's chain; nil is what the method was published on

	SigmaY   float64 `json:"sigmaY"`   // standard deviation of the measurement noise, images in [−1, 1]
	Noise    string  `json:"noise"`    // gaussian, of SigmaY; or poisson, of Rate
	Rate     float64 `json:"rate"`     // photons at white are 255 times this
	Measured bool    `json:"measured"` // the images are measurements: restore them as they are

	Scale      float64 `json:"scale"`      // of the data guidance; 0 is the published one for the task, times 1000/Steps
	DPSLimit   float64 `json:"dpsLimit"`   // [guide.DPS].Limit; 0 is the usual one, negative none
	GuidedMean bool    `json:"guidedMean"` // [guide.PiGDM].GuidedMean
	Curvature  float64 `json:"curvature"`  // weight of [guide.Curvature]
	Published  bool    `json:"published"`  // [guide.Settings].Published
	CMI        Term    `json:"cmi"`
	// LearnedVariance is the noise level σ_t/√ᾱ_t below which pigdm and diffpir take the posterior
	// variance of each pixel that the network has learned; 0 is without.
	LearnedVariance float64 `json:"learnedVariance"`

	// NetworkNoise is the number of Lanczos steps of [sdk.Options].NetworkNoise, which acts where ᾱ_t ≥ 0.03; 0 is without.
	NetworkNoise int `json:"networkNoise"`

	Particles int `json:"particles"` // [sdk.Options].Particles; 0 is without

	Border string `json:"border"` // task kernel: how the image goes on beyond its edge, reflect or circular
}

// Term is the information term of a Spec. As JSON it is true, false, the name of a [cmi.Choice], or
// an object with "choice" and those of the options' fields that differ from the defaults.
type Term struct {
	On bool
	// Choice decides Eta and TrustGuidance of the options. "" is what suits the method, see [ChoiceFor],
	// or cmi.Custom where one of the two is not the default.
	Choice cmi.Choice
	cmi.Options
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *Term) UnmarshalJSON(text []byte) error {
	*t = Term{Options: cmi.Defaults()}
	switch {
	case string(text) == "null" || string(text) == "false":
		return nil
	case string(text) == "true":
	case text[0] == '"':
		if err := Decode(text, &t.Choice); err != nil {
			return fmt.Errorf("cmi: %w", err)
		}
		if t.Choice == cmi.Off {
			t.Choice = ""
			return nil
		}
	default:
		given := struct {
			Choice cmi.Choice
			*cmi.Options
		}{Options: &t.Options}
		if err := Decode(text, &given); err != nil {
			return fmt.Errorf("cmi: %w", err)
		}
		weights, err := hasWeights(text)
		if err != nil {
			return err
		}
		switch t.Choice = given.Choice; {
		case weights && t.Choice == "":
			t.Choice = cmi.Custom
		case weights && t.Choice != cmi.Custom:
			return fmt.Errorf("cmi: the choice %s sets eta and trustGuidance: leave them out, or the choice", t.Choice)
		}
	}
	t.On = true
	return nil
}

// hasWeights says whether a JSON object has a key that a choice decides.
func hasWeights(object []byte) (bool, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(object, &keys); err != nil {
		return false, err
	}
	for key := range keys {
		if strings.EqualFold(key, "eta") || strings.EqualFold(key, "trustGuidance") {
			return true, nil
		}
	}
	return false, nil
}

// ChoiceFor returns what the information term is taken for where nothing else is said: the choice
// that betters most cells of the Fréchet distance, the perceptual distance and SSIM at that method
// (docs/cmi-study.md).
func ChoiceFor(method string) cmi.Choice {
	if method == "pathwise-mean" { // −∇I ruins its box inpainting
		return cmi.Paper
	}
	return cmi.Fidelity
}

// For returns the term at a method: with its choice, and what that decides.
func (t Term) For(method string) (Term, error) {
	if !t.On {
		return t, nil
	}
	if usual := cmi.Defaults(); t.Choice == "" && (t.Eta != usual.Eta || t.TrustGuidance != usual.TrustGuidance) {
		t.Choice = cmi.Custom
	} else if t.Choice == "" {
		t.Choice = ChoiceFor(method)
	}
	var err error
	if t.Options, err = t.Options.Choose(t.Choice); err != nil {
		return t, wrong("cmi", "is %q, true, false, %s or %s is wanted", t.Choice, cmi.ChoiceNames(), cmi.Custom)
	}
	return t, nil
}

// cautions are the choices that docs/cmi-study.md has found to be worse than no term: LPIPS-like significantly, or
// by far. No tasks are all of them.
var cautions = []struct {
	method   string
	choice   cmi.Choice
	tasks    []string
	measured string
}{
	{"dps", cmi.Paper, nil, "0.5 dB and a third of the LPIPS-like distance of 4× super-resolution"},
	{"dps", cmi.Spread, nil, "1.0 dB and two thirds of the LPIPS-like distance of 4× super-resolution, and 0.6 dB of a box"},
	{"mmps", cmi.Paper, nil, "0.6 dB and two fifths of the LPIPS-like distance of 4× super-resolution"},
	{"mmps", cmi.Spread, nil, "1.1 dB and three quarters of the LPIPS-like distance of 4× super-resolution, and 0.6 dB of a box"},
	{"pathwise-mean", cmi.Fidelity, []string{"box", "mask"}, "2 dB of a box that is to be filled"},
}

// Caution says in one sentence what the term of a choice was measured to cost at a method and a task (docs/cmi-study.md), and
// what to take instead; "" where it was not found to cost anything, or is off.
func (t Term) Caution(method, task string) string {
	term, err := t.For(method)
	if err != nil || !term.On {
		return ""
	}
	for _, c := range cautions {
		if c.method != method || c.choice != term.Choice || c.tasks != nil && !slices.Contains(c.tasks, task) {
			continue
		}
		instead := "leave the term out"
		if usual := ChoiceFor(method); usual != c.choice {
			instead = fmt.Sprintf("take %s, or %s", usual, instead)
		}
		return fmt.Sprintf("the information term's choice %s at %s cost %s on faces: %s", c.choice, method, c.measured, instead)
	}
	return ""
}

// Default is 4× super-resolution by DPS in 100 steps, without the information term.
func Default() Spec {
	return Spec{
		Task: "sr4", Method: "dps", Steps: 100, Schedule: "auto", Seed: 1,
		SigmaY: 0.05, Noise: "gaussian", Rate: 1, CMI: Term{Options: cmi.Defaults()}, Border: "reflect",
	}
}

// Decode reads JSON strictly: a key that to has not is an error. Errors name the key.
func Decode(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(to)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		field := strings.TrimPrefix(strings.TrimPrefix(wrong.Field, "Spec."), "Options.") // where to embeds one
		return fmt.Errorf("%s is %s, %s is wanted", strings.ToLower(field), strings.TrimPrefix(wrong.Value, "number "), jsonKinds[wrong.Type.Kind().String()])
	}
	if err != nil {
		text := strings.TrimPrefix(err.Error(), "json: ")
		if len(text) > 300 { // it quotes a key of any length
			text = strings.ToValidUTF8(text[:300], "") + "…"
		}
		return errors.New(text)
	}
	return nil
}

var jsonKinds = map[string]string{"int": "a whole number", "uint64": "a whole number", "float64": "a number", "bool": "true or false", "string": "a name", "struct": "an object"}

// FieldError says what is wrong with a field of a [Spec].
type FieldError struct{ Field, Problem string } // Field by its JSON name

// Error implements error.
func (e *FieldError) Error() string { return e.Field + " " + e.Problem }

func wrong(field, format string, args ...any) error {
	return &FieldError{field, fmt.Sprintf(format, args...)}
}

// Methods returns the names of the methods, sorted.
func Methods() []string { return slices.Sorted(maps.Keys(guide.Named)) }

// Options returns the sampler's, for a model. Errors are a [FieldError] where a field is to
// blame.
func (s Spec) Options(m prior.Model) (o sdk.Options, err error) {
	if err := s.check(); err != nil {
		return o, err
	}
	_, betas, err := s.NoiseSchedule(m)
	if err != nil {
		return o, err
	}
	whole := s.Steps // of a run from pure noise whose steps are as long
	if s.Start != 0 {
		if s.Start >= len(betas) {
			return o, wrong("start", "is %d, the model knows the training steps 1 to %d", s.Start, len(betas)-1)
		}
		if s.Steps > s.Start+1 {
			return o, wrong("steps", "is %d, but only %d training steps are left from a start at %d: give fewer, or start higher", s.Steps, s.Start+1, s.Start)
		}
		whole = s.Steps * len(betas) / (s.Start + 1)
		betas = betas[:s.Start+1]
	}
	o = sdk.Options{Seed: s.Seed, Particles: s.Particles, Variance: sdk.VarianceOf(m), FromMeasurement: s.Start != 0}
	if o.Schedule, err = diffusion.New(betas, s.Steps); err != nil {
		return o, err
	}
	o.Method = guide.Named[s.Method](guide.Settings{
		Task: s.Task, Steps: whole, Scale: s.Scale, Lanczos: s.CMI.Lanczos, Limit: s.DPSLimit, GuidedMean: s.GuidedMean, Published: s.Published, Learned: s.LearnedVariance,
		Curvature: guide.Curvature{Weight: s.Curvature, MinAlphaBar: s.CMI.MinAlphaBar, TrustGuidance: s.CMI.TrustGuidance},
	})
	switch {
	case s.DDIM == nil:
		o.DDIM = guide.PublishedDDIM(o.Method)
	case *s.DDIM >= 0:
		o.DDIM = s.DDIM
	}
	if err := guide.Validate(o.Method, o.DDIM); err != nil {
		return o, err
	}
	if s.NetworkNoise > 0 {
		o.NetworkNoise = &sdk.NetworkNoise{Lanczos: s.NetworkNoise, MinAlphaBar: 0.03}
		if err := o.NetworkNoise.Validate(o); err != nil {
			return o, err
		}
	}
	if s.Particles > 0 {
		if err := guide.TakesParticles(o.Method, o.Schedule); err != nil {
			return o, err
		}
	}
	if s.CMI.On {
		chosen, err := s.CMI.For(s.Method)
		if err != nil {
			return o, err
		}
		term := chosen.Options
		o.CMI = &term
		if err := guide.TakesTerm(o.Method, o.Schedule); err != nil {
			return o, err
		}
		return o, term.Validate()
	}
	return o, nil
}

// NoiseSchedule returns the name and the β of the schedule that a model is sampled with: the
// model's own where Schedule is "auto", and linear where the model does not say.
func (s Spec) NoiseSchedule(m prior.Model) (name string, betas []float64, err error) {
	if known, ok := m.(prior.Scheduled); ok {
		name, betas = known.NoiseSchedule()
	}
	switch {
	case betas != nil && (s.Schedule == "auto" || s.Schedule == name):
		return name, betas, nil
	case s.Schedule == "auto":
		name = "linear"
	case name != "":
		return name, nil, wrong("schedule", "is %s, but the model was trained with the schedule %s: give that, or auto", s.Schedule, name)
	default:
		name = s.Schedule
	}
	betas, err = diffusion.Betas(name, m.Steps())
	return name, betas, err
}

// check says which field is out of range.
func (s Spec) check() error {
	finite := func(v float64) bool { return v-v == 0 }
	_, known := guide.Named[s.Method]
	switch {
	case !known:
		return fmt.Errorf("unknown method %q: known are %s", s.Method, strings.Join(Methods(), ", "))
	case s.Steps == 1:
		return wrong("steps", "is 1, which would start at timestep 0, where the model takes pure noise for a clean image: at least 2 are wanted, and 20 or more for a good picture")
	case s.Start < 0:
		return wrong("start", "is %d, a training step from 1 is wanted, or 0 for a start at pure noise", s.Start)
	case s.Start > 0 && s.Task == "":
		return wrong("start", "is %d, but nothing is measured: a run starts in the middle from a measurement", s.Start)
	case s.DDIM != nil && (!finite(*s.DDIM) || *s.DDIM > 1):
		return wrong("ddim", "is %v, 0 to 1 is wanted, or a negative number for DDPM's chain", *s.DDIM)
	case !(s.Scale >= 0 && finite(s.Scale)):
		return wrong("scale", "is %v, a positive number is wanted, or 0 for the published one", s.Scale)
	case !(s.LearnedVariance >= 0):
		return wrong("learnedVariance", "is %v, a noise level above 0 is wanted (0.2 as published), or 0 for none", s.LearnedVariance)
	case s.NetworkNoise < 0 || s.NetworkNoise > 1000:
		return wrong("networkNoise", "is %d, a number of Lanczos steps up to 1000 is wanted (2 do most), or 0 for a step's usual noise", s.NetworkNoise)
	case s.Particles < 0:
		return wrong("particles", "is %d, a number from 1 is wanted, or 0 for a run without particles", s.Particles)
	case s.Particles > 0 && s.Noise == "poisson":
		return wrong("particles", "is %d, but the noise is poisson: particles are weighed by Gaussian noise", s.Particles)
	case s.Particles > 0 && s.Start != 0:
		return wrong("particles", "is %d, but a run that starts in the middle can't be weighed: leave start out", s.Particles)
	case !finite(s.Curvature):
		return wrong("curvature", "is %v, a finite number is wanted", s.Curvature)
	case s.Task == "":
		return nil
	case !(s.SigmaY > 0 && finite(s.SigmaY)):
		return wrong("sigmaY", "is %v, a positive number is wanted (0.05 in the paper), for a measurement without noise a small one such as 0.005", s.SigmaY)
	case s.Noise != "gaussian" && s.Noise != "poisson":
		return wrong("noise", "is %q, gaussian or poisson is wanted", s.Noise)
	case s.Noise == "poisson" && s.Measured:
		return wrong("noise", "is poisson, which would do nothing: the images are measured already")
	}
	_, err := s.border()
	return err
}

func (s Spec) border() (compute.Border, error) {
	switch s.Border {
	case "reflect":
		return compute.Reflect, nil
	case "circular":
		return compute.Circular, nil
	}
	return 0, fmt.Errorf("unknown border %q: reflect or circular", s.Border)
}

// Plan returns what a run of n images takes, see [sdk.NewPlan].
func (s Spec) Plan(m prior.Model, n int) (sdk.Plan, error) {
	o, err := s.Options(m)
	if err != nil {
		return sdk.Plan{}, err
	}
	return sdk.NewPlan(m, o, n), nil
}

// Shape returns the shape of an image that a job of the spec takes: the model's, or where
// it is a measurement the operator's.
func (s Spec) Shape(m prior.Model, image Image) (c, h, w int, err error) {
	c, h, w = m.Image()
	if !s.Measured {
		return c, h, w, nil
	}
	op, _, err := s.operator(m, image)
	if err != nil {
		return c, h, w, err
	}
	defer op.Close()
	c, h, w = s.shape(op)
	return c, h, w, nil
}

// shape is Shape, from an operator of the spec.
func (s Spec) shape(op measure.Operator) (c, h, w int) {
	if s.Measured {
		return op.Out()
	}
	return op.In()
}

// operator makes the operator of an image on the model's device, and returns what it was
// made from. What is drawn depends on the seed and the image's number alone.
func (s Spec) operator(m prior.Model, image Image) (measure.Operator, measure.Inputs, error) {
	task, err := measure.FindTask(s.Task)
	if err != nil {
		return nil, measure.Inputs{}, err
	}
	in := measure.Inputs{
		Rand: diffusion.Stream{Seed: s.Seed, Image: image.Number, Purpose: diffusion.Degradation}.Rand(),
		Mask: image.Mask, Kernel: image.Kernel, Matrix: image.Matrix,
	}
	if in.Border, err = s.border(); err != nil {
		return nil, in, err
	}
	if s.Measured && task.Draw != nil && in.Mask == nil && in.Kernel == nil {
		return nil, in, wrong("measured", "needs the %[1]s that made the measurement: task %[2]s would draw another one; give its %[1]s", task.Input, s.Task)
	}
	c, h, w := m.Image()
	if in, err = task.Complete(h, w, in); err != nil {
		return nil, in, fmt.Errorf("task %s: %w", s.Task, err)
	}
	in.Rand = nil // it has done its work
	op, err := measure.ForTask(s.Task, m.Device(), c, h, w, in)
	return op, in, err
}
