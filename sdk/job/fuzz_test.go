package job_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/internal/fuzztest"
	"github.com/cmi-diffusion/cmi/sdk/job"
)

// FuzzDecode reads a spec, which is refused or gives options of finite numbers and a plan.
func FuzzDecode(f *testing.F) {
	m, _ := network(f)
	f.Add([]byte(`{"task": "sr4", "method": "dps", "steps": 20, "seed": 18446744073709551615, "cmi": true}`))
	f.Add([]byte(`{"task": "motion", "method": "pigdm", "ddim": 1, "noise": "poisson", "rate": 1e300, "cmi": {"Lanczos": 4}}`))
	f.Add([]byte(`{"method": "mcg", "schedule": "cosine", "scale": 1e308, "curvature": -1e308, "dpsLimit": 1e-320, "border": "circular"}`))
	f.Add([]byte(`{"cmi": {"Lanczos": -1, "MinAlphaBar": 1e999}, "ddim": null} {"steps": "many"}`))
	f.Add([]byte(`{"` + strings.Repeat("a", 3000) + `": 1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		spec := job.Default()
		if fuzztest.Check(t, 1<<20+128*len(text), func() error { return job.Decode(text, &spec) }) != nil {
			return
		}
		_ = fuzztest.Check(t, 8<<20, func() error {
			o, err := spec.Options(m)
			if err != nil {
				return err
			}
			if o.DDIM != nil {
				fuzztest.Finite(t, *o.DDIM)
			}
			if spec.CMI.On {
				fuzztest.Finite(t, spec.CMI.MinAlphaBar, spec.CMI.TrustGuidance)
			}
			p, err := spec.Plan(m, 1)
			require.NoError(t, err)
			if p.Passes() < 0 || p.Memory < 0 {
				t.Fatalf("%+v", p)
			}
			return nil
		})
	})
}
