package sdk_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/guide"
)

// waiting counts the calls that wait for the device, each a round trip on a GPU.
type waiting struct {
	compute.Device
	waits int
}

func (w *waiting) Dots(pairs ...[2]compute.Tensor) ([][]float64, error) {
	w.waits++
	return w.Device.Dots(pairs...)
}

func (w *waiting) Read(dst []float32, src compute.Tensor) error {
	w.waits++
	return w.Device.Read(dst, src)
}

func (w *waiting) Sync() error {
	w.waits++
	return w.Device.Sync()
}

// How often a step waits for its device, with and without a report.
func TestWaits(t *testing.T) {
	for _, c := range []struct {
		name   string
		method guide.Method
		term   func(*cmi.Options) // nil without the term
		want   int
	}{
		{"unconditional", guide.Unconditional{}, nil, 1},
		{"DPS", guide.DPS{Scale: 0.5, Limit: 0.5}, nil, 3},
		{"MCG", guide.MCG{}, nil, 3},
		{"CMI+DPS, K = 2", guide.DPS{Scale: 0.5, Limit: 0.5}, func(*cmi.Options) {}, 8},
		{"the same limited by the guidance", guide.DPS{Scale: 0.5}, func(o *cmi.Options) { o.TrustStd, o.TrustGuidance = 0, 0.25 }, 8},
		{"two probes", guide.DPS{Scale: 0.5}, func(o *cmi.Options) { o.Probes = 2 }, 13},
		{"K = 3", guide.DPS{Scale: 0.5}, func(o *cmi.Options) { o.Lanczos = 3 }, 11},
		{"K = 0", guide.DPS{Scale: 0.5}, func(o *cmi.Options) { o.Lanczos = 0 }, 3},
	} {
		for _, report := range []bool{false, true} {
			dev := &waiting{Device: device(t, 2)}
			p, o := pictures(t, dev, "inpaint", 2, 4)
			o.Method = c.method
			if c.term == nil {
				o.CMI = nil
			} else {
				c.term(o.CMI)
			}
			if report {
				o.OnStep = func(sdk.Progress) {}
			}
			s := newSolver(t, p, o)
			for range 4 {
				dev.waits = 0
				require.NoError(t, s.Step())
				assert.Equal(t, c.want, dev.waits, c.name)
			}
		}
	}
}
