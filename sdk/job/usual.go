package job

import (
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Usual returns the spec with the method that is taken for its task where the caller chooses none, and with its usual
// number of steps, at about 100 network passes or fewer:
//
//   - with particles: ΠGDM, whose steps have a density and follow an evidence;
//   - with samples > 1 of an image: pathwise, whose samples are nearest to the posterior;
//   - for one image: [guide.MethodFor];
//   - with the information term, Poisson noise or η of DDIM: DPS, but for colourisation.
//
// docs/pareto.md has the measurements behind it.
func (s Spec) Usual(samples int) Spec {
	switch s.Method = guide.MethodFor(s.Task); {
	case s.Particles == 0 && (s.Task == "colourise" || s.Method == "dps"):
	case s.Particles > 0:
		s.Method = "pigdm"
	case s.CMI.On || s.Noise == "poisson" || s.DDIM != nil:
		s.Method = "dps"
	case samples > 1:
		s.Method = "pathwise"
	}
	s.Steps = map[string]int{"pathwise": 25, "pathwise-mean": 40, "ddrm-mean": 30, "diffpir": 50}[s.Method]
	if s.Steps == 0 {
		s.Steps = 100
	}
	return s
}

// usualAlphaBar is the noise level at which DiffPIR's usual run starts: ᾱ of the linear schedule at t = 400.
const usualAlphaBar = 0.193

// UsualStart returns the training step at which the spec's method starts where the caller does not choose it: for
// DiffPIR the last one with ᾱ_t ≥ 0.193 of the model, if as many steps as the spec has are left below it; 0, pure
// noise, for others.
func (s Spec) UsualStart(m prior.Model) (int, error) {
	if s.Method != "diffpir" || s.Task == "" {
		return 0, nil
	}
	_, betas, err := s.NoiseSchedule(m)
	if err != nil {
		return 0, err
	}
	alphaBar := 1.0
	for t, beta := range betas {
		if alphaBar *= 1 - beta; alphaBar < usualAlphaBar {
			if t-1 < s.Steps {
				return 0, nil
			}
			return t - 1, nil
		}
	}
	return 0, nil
}
