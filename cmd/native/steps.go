package main

import (
	"encoding/json"
	"io"
	"sync"

	"github.com/cmi-diffusion/cmi/sdk"
)

// writeStep writes a step's diagnostics of one image as a JSON line.
func writeStep(w io.Writer, image string, p sdk.Progress) error {
	line := struct {
		Image       string   `json:"image"`
		Step        int      `json:"step"`
		Passes      int      `json:"passes"`
		Residual    float64  `json:"residual"`
		Information *float64 `json:"information_nats,omitempty"`
		Gradient    *float64 `json:"information_gradient_norm,omitempty"`
		Applied     *float64 `json:"information_applied_norm,omitempty"`
		Limited     bool     `json:"limited"`
		ESS         *float64 `json:"ess,omitempty"`
		LogEvidence *float64 `json:"log_evidence_nats,omitempty"`
	}{Image: image, Step: p.Step, Passes: p.Passes, Residual: p.Residual[0]}
	if p.Information != nil {
		line.Information, line.Gradient, line.Applied = &p.Information[0], &p.Gradient[0], &p.Applied[0]
		line.Limited = p.Limited[0]
	}
	if p.ESS != nil {
		line.ESS, line.LogEvidence = &p.ESS[0], &p.LogEvidence[0]
	}
	return json.NewEncoder(w).Encode(line)
}

// lockedWriter writes one thing after the other.
type lockedWriter struct {
	lock sync.Mutex
	to   io.Writer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.to.Write(p)
}
