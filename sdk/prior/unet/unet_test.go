package unet_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

const golden = "../../../testdata/golden/unet"

func relative(got, want []float32) float64 {
	var d, r float64
	for i := range want {
		d += float64(got[i]-want[i]) * float64(got[i]-want[i])
		r += float64(want[i]) * float64(want[i])
	}
	return math.Sqrt(d / r)
}

// Every variant of the network against the reference, through inference from
// names and shapes, with the JSON override for what shapes can't tell.
func TestGoldenVariants(t *testing.T) {
	cases, err := filepath.Glob(golden + "/*/config.json")
	require.NoError(t, err)
	require.NotEmpty(t, cases)
	for _, path := range cases {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			override, err := os.ReadFile(path)
			require.NoError(t, err)
			weights, err := filepath.Glob(dir + "/model.*")
			require.NoError(t, err)
			file, err := checkpoint.Open(weights[0])
			require.NoError(t, err)
			defer file.Close()
			io, err := checkpoint.Open(dir + "/io.safetensors")
			require.NoError(t, err)
			defer io.Close()

			var want unet.Config
			require.NoError(t, json.Unmarshal(override, &want))
			want.InChannels = 3
			inferred, err := unet.Configure(file, []byte(`{"image_size": 24, "num_head_channels": 32}`))
			require.NoError(t, err)
			inferred.ImageSize, inferred.NumHeads, inferred.NumHeadChannels, inferred.NewAttentionOrder = want.ImageSize, want.NumHeads, want.NumHeadChannels, want.NewAttentionOrder
			if want.ResblockUpdown {
				inferred.ConvResample = want.ConvResample
			}
			require.Equal(t, []string{"use_new_attention_order false", "noise_schedule linear", "diffusion_steps 1000"}, inferred.Assumed)
			inferred.Assumed = nil
			require.Equal(t, want, inferred, "inferred from names and shapes")

			dev := cpu.New(0)
			defer dev.Close()
			m, err := unet.Load(dev, file, override)
			require.NoError(t, err)
			defer m.Close()

			load := func(name string) (compute.Tensor, []float32) {
				info, ok := io.Info(name)
				require.True(t, ok, name)
				v, err := io.Floats(name, info.Shape...)
				require.NoError(t, err)
				x, err := compute.FromHost(dev, v, info.Shape[0], info.Shape[1], info.Shape[2], info.Shape[3])
				require.NoError(t, err)
				return x, v
			}
			steps, err := io.Ints("t")
			require.NoError(t, err)
			x, _ := load("x")
			at, err := m.At(x, []int{int(steps[0]), int(steps[1])})
			require.NoError(t, err)
			v, _ := load("v")
			w, _ := load("w")
			u, _ := load("u")
			check := func(name string, bound float64) func(got compute.Tensor, err error) {
				return func(got compute.Tensor, err error) {
					t.Helper()
					require.NoError(t, err)
					host, err := compute.ToHost(dev, got)
					require.NoError(t, err)
					_, want := load(name)
					e := relative(host, want)
					t.Logf("%s: %.1e", name, e)
					require.Less(t, e, bound, name)
				}
			}
			check("y", 1e-5)(at.Out(), nil)
			check("jvp", 1e-5)(at.JVP(v))
			check("vjp", 1e-5)(at.VJP(u))
			check("d2_vv", 1e-4)(at.Second(v, v))
			check("d2_vw", 1e-4)(at.Second(v, w))
			check("y", 1e-5)(at.Out(), nil) // derivatives leave the point as it is
			check("vjp", 1e-5)(at.VJP(u))
		})
	}
}
