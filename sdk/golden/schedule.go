package golden

import (
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// series are the sequences of a schedule.
var series = map[string]func(s *diffusion.Schedule, i int) float64{
	"beta":                   (*diffusion.Schedule).Beta,
	"alpha_bar":              (*diffusion.Schedule).AlphaBar,
	"posterior_variance":     (*diffusion.Schedule).PosteriorVariance,
	"posterior_log_variance": (*diffusion.Schedule).PosteriorLogVariance,
	"coef_x0":                (*diffusion.Schedule).CoefX0,
	"coef_xt":                (*diffusion.Schedule).CoefXt,
	"timesteps":              func(s *diffusion.Schedule, i int) float64 { return float64(s.Timestep(i)) },
}

// scheduleCases checks schedule.safetensors: KIND.STEPS.SERIES, respaced from
// 1000 training steps.
func scheduleCases(dir fs.FS, _ Options) ([]computetest.Case, error) {
	v, ok, err := open(dir, "schedule.safetensors")
	if err != nil || !ok {
		return nil, err
	}
	var cases []computetest.Case
	for _, name := range v.Names() {
		cases = append(cases, check("schedule", name, 1e-12, func(context.Context, compute.Device) (float64, error) {
			part := strings.Split(name, ".")
			if len(part) != 3 || series[part[2]] == nil {
				return 0, fmt.Errorf("%s: unknown series %s", v.name, name)
			}
			n, err := strconv.Atoi(part[1])
			if err != nil {
				return 0, fmt.Errorf("%s: unknown series %s", v.name, name)
			}
			betas, err := diffusion.Betas(part[0], 1000)
			if err != nil {
				return 0, err
			}
			s, err := diffusion.New(betas, n)
			if err != nil {
				return 0, err
			}
			got := make([]float64, n)
			for i := range got {
				got[i] = series[part[2]](s, i)
			}
			if part[2] == "timesteps" {
				want, err := v.Ints(name, n)
				if err != nil {
					return 0, err
				}
				for i, w := range want {
					if got[i] != float64(w) {
						return 0, fmt.Errorf("timestep %d is %v, the reference has %d", i, got[i], w)
					}
				}
				return 0, nil
			}
			want, err := v.Float64s(name, n)
			return computetest.RelativeError(got, want), err
		}))
	}
	return cases, nil
}
