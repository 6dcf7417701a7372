package guide

// Settings are what a method is made from by its name.
type Settings struct {
	Task    string  // decides published constants
	Steps   int     // of the reverse process, likewise
	Scale   float64 // of the data guidance; 0 takes the usual one
	Lanczos int     // evidence, mmps, pathwise: Krylov steps, ≥ 1
	Limit   float64 // DPS.Limit; 0 takes the usual one, negative is none
	// PiGDM: guide the base sampler's mean instead of the published DDIM form.
	GuidedMean bool
	Curvature  Curvature // PiGDM and evidence
	Learned    float64   // PiGDM.Learned, DiffPIR.Learned
	// Published takes a method as its published program has it where the default differs.
	Published bool
}

func (s Settings) scaleOr(usual float64) float64 {
	if s.Scale != 0 {
		return s.Scale
	}
	return usual
}

func (s Settings) dps(copies int) Method {
	m := DPSFor(s.Task, s.Steps)
	m.Scale, m.Copies, m.Published = s.scaleOr(m.Scale), copies, s.Published
	if s.Limit != 0 {
		m.Limit = max(s.Limit, 0)
	}
	return m
}

// Named makes each method from its settings.
var Named = map[string]func(Settings) Method{
	"dps":  func(s Settings) Method { return s.dps(0) },
	"dps+": func(s Settings) Method { return s.dps(5) },
	"adamdps": func(s Settings) Method {
		m := AdamDPSFor(s.Steps)
		m.Scale = s.scaleOr(m.Scale)
		return m
	},
	"cadps": func(s Settings) Method {
		m := s.dps(0).(DPS)
		return CADPS{Scale: m.Scale, Limit: m.Limit}
	},
	"mcg": func(s Settings) Method { return MCG{Published: s.Published} },
	"dsg": func(s Settings) Method {
		m := DSGFor(s.Task, s.Steps)
		m.Rate = s.scaleOr(m.Rate)
		return m
	},
	"pigdm": func(s Settings) Method {
		m := PiGDMFor(s.Task)
		m.Scale, m.GuidedMean, m.Curvature = s.scaleOr(1), s.GuidedMean || s.Learned > 0, s.Curvature
		m.Published, m.Learned = s.Published, s.Learned
		return m
	},
	"evidence": func(s Settings) Method {
		return Evidence{Scale: s.scaleOr(1), Lanczos: s.Lanczos, Curvature: s.Curvature}
	},
	"mmps":      func(s Settings) Method { return MMPS{Lanczos: s.Lanczos} },
	"tmpd":      func(Settings) Method { return TMPD{} },
	"diffpir":   func(s Settings) Method { return DiffPIR{Lambda: 1, Zeta: 1, Learned: s.Learned} },
	"ddnm":      func(Settings) Method { return DDNM{Eta: 0.85, MinSingular: 0.03} },
	"ddrm-mean": func(Settings) Method { return DDRM{Top: 2} },
	"fps":       func(Settings) Method { return FPS{Particles: 5, Fresh: 0.95} },
	"pathwise": func(s Settings) Method {
		return Pathwise{Root: s.Lanczos, Solve: s.Lanczos, MinAlphaBar: 0.03}
	},
	"pathwise-mean": func(s Settings) Method { return Pathwise{Solve: s.Lanczos, MinAlphaBar: 0.03} },
	"gibbs":         func(Settings) Method { return Gibbs{} },
	"daps":          func(Settings) Method { return DAPS{Radius: 0.3, Langevin: 100, StepSize: 1e-3} },
	"projection":    func(Settings) Method { return Projection{} },
	"unconditional": func(Settings) Method { return Unconditional{} },
}

// MethodFor returns the name of the method that gives the best single picture of a task at about 100 network passes or
// fewer (docs/pareto.md): DiffPIR; DDRM's posterior mean where every pixel is measured at least in a mean of few; the conditional
// mean where most of an image is not measured at all; and DPS where the operator is not linear. DPS paints false colours
// where only the luma is known (docs/published.md).
func MethodFor(task string) string {
	switch task {
	case "denoise", "sr2", "sr4", "pool2", "pool4":
		return "ddrm-mean"
	case "inpaint", "matrix", "colourise":
		return "pathwise-mean"
	case "phase", "":
		return "dps"
	}
	return "diffpir"
}

// PublishedDDIM returns the η of DDIM that a method was published on, nil for DDPM's chain.
func PublishedDDIM(m Method) *float64 {
	one := 1.0
	switch m := m.(type) {
	case PiGDM:
		if !m.GuidedMean {
			return &one
		}
	case Pathwise, DSG:
		return &one
	}
	return nil
}
