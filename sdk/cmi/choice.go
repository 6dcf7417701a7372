package cmi

import (
	"fmt"
	"strings"
)

// Choice names what the information term is taken for: its sign and its limit. docs/cmi-study.md
// has the measurements.
type Choice string

// The choices. Each sets Eta, TrustGuidance and the window of [Options].
const (
	// Off is without the term.
	Off Choice = "off"
	// Paper adds +∇I, as arXiv 2501.02880 writes: it moves x_t to where the measurement tells more
	// of the image.
	Paper Choice = "paper"
	// Fidelity adds −∇I, the gradient of the log-determinant of a Gaussian evidence: it moves x_t to where
	// the network is surer of the image.
	Fidelity Choice = "fidelity"
	// Spread adds +∇I with twice the limit: samples of one measurement differ more.
	Spread Choice = "spread"
	// Custom has Eta and TrustGuidance as they are given.
	Custom Choice = "custom"
)

// Choices are those with weights of their own.
var Choices = []Choice{Paper, Fidelity, Spread}

var choices = map[Choice]struct{ eta, trustGuidance float64 }{
	Paper:    {1, 0.25},
	Fidelity: {-1, 0.25},
	Spread:   {1, 0.5},
}

// Choose returns the options with the weight and the limit of a choice, which is one of [Choices], or
// Custom, which changes nothing.
func (o Options) Choose(c Choice) (Options, error) {
	if c == Custom {
		return o, nil
	}
	one, ok := choices[c]
	if !ok {
		return o, fmt.Errorf("unknown choice of the information term %q: known are %s", c, ChoiceNames())
	}
	o.Eta, o.TrustGuidance = one.eta, one.trustGuidance
	return o, nil
}

// ChoiceNames returns the names of Choices as a list for people.
func ChoiceNames() string {
	names := make([]string, len(Choices))
	for i, c := range Choices {
		names[i] = string(c)
	}
	return strings.Join(names, ", ")
}
