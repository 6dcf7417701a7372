package pretrained

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
)

const golden = "../../../testdata/golden/formats/"

func opened(t testing.TB, name string) *Checkpoint {
	c, err := Open(name, "")
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// device is a CPU for a test.
func device(t *testing.T) compute.Device {
	dev := cpu.New(0)
	t.Cleanup(func() { dev.Close() })
	return dev
}

// A folder, its unet folder and the file in it are the same model; what info prints follows.
func TestOpenDiffusers(t *testing.T) {
	const folder = golden + "diffusers-x0-classes/model"
	for _, name := range []string{folder, folder + "/unet", folder + "/unet/diffusion_pytorch_model.safetensors"} {
		about, err := Configure(opened(t, name), nil)
		require.NoError(t, err)
		require.NoError(t, about.Check())
		require.Equal(t, 5, about.Classes)
		require.Empty(t, about.Assumed)
		require.Contains(t, strings.Join(about.Summary, "\n"), "predicts the clean image; schedule scaled_linear 0.0015 to 0.0195 over 500 steps")
		files, err := Files(name)
		require.NoError(t, err)
		require.Len(t, files, 3, files)
		for _, f := range files {
			require.FileExists(t, f)
		}
	}
	_, err := Open(golden, "")
	require.ErrorContains(t, err, "the folder of a diffusers model")
}

// A file alone, without its configuration, is not guessed at.
func TestDiffusersWithoutConfig(t *testing.T) {
	data, err := os.ReadFile(golden + "diffusers-x0-classes/model/unet/diffusion_pytorch_model.safetensors")
	require.NoError(t, err)
	alone := filepath.Join(t.TempDir(), "diffusion_pytorch_model.safetensors")
	require.NoError(t, os.WriteFile(alone, data, 0o600))
	_, err = Configure(opened(t, alone), nil)
	require.ErrorContains(t, err, "open the model's folder")
	// With the network's configuration and no scheduler, the schedule is assumed, and said to be.
	text, err := os.ReadFile(golden + "diffusers-x0-classes/model/unet/config.json")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(alone), "config.json"), text, 0o600))
	about, err := Configure(opened(t, alone), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"prediction_type epsilon", "noise_schedule linear", "diffusion_steps 1000"}, about.Assumed)
}

// What a configuration asks for and is not supported is refused by its key.
func TestDiffusersRefusals(t *testing.T) {
	real := opened(t, golden+"diffusers-x0-classes/model")
	for key, value := range map[string]any{
		"_class_name": "UNet2DConditionModel", "center_input_sample": true, "time_embedding_type": "fourier", "act_fn": "gelu", "class_embed_type": "timestep",
		"mid_block_scale_factor": 2, "downsample_type": "fir", "sample_size": []int{16, 8}, "down_block_types": []string{"SkipDownBlock2D", "AttnDownBlock2D"},
		"norm_num_groups": 7, "downsample_padding": 2, "block_out_channels": []int{16}, "resnet_time_scale_shift": "both",
	} {
		_, err := Configure(changed(t, real, unetConfig, key, value), nil)
		require.Error(t, err, key)
		if key != "norm_num_groups" { // an error of the levels
			require.Contains(t, err.Error(), strings.ReplaceAll(key, "down_block_types", "SkipDownBlock2D"), key)
		}
	}
	for key, value := range map[string]any{
		"prediction_type": "flow", "rescale_betas_zero_snr": true, "num_train_timesteps": 0, "beta_schedule": "laplace", "trained_betas": []float64{0.1, 2}, "beta_end": 1.5,
	} {
		_, err := Configure(changed(t, real, schedulerConfig, key, value), nil)
		require.Error(t, err, key)
	}
}

// changed is a checkpoint with another value of a key of a configuration.
func changed(t testing.TB, from *Checkpoint, file, key string, value any) *Checkpoint {
	keys := map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(from.texts[file]), &keys))
	keys[key] = value
	text, err := json.Marshal(keys)
	require.NoError(t, err)
	texts := maps.Clone(from.texts)
	texts[file] = string(text)
	return &Checkpoint{File: from.File, texts: texts}
}

// A class-conditional network is refused without a class, and its classes differ.
func TestClasses(t *testing.T) {
	for _, name := range []string{"diffusers-x0-classes/model", "edm-adm-classes/model.pkl", "edm-ncsnpp/model.pkl"} {
		dev := device(t)
		m, err := Load(dev, opened(t, golden+name), nil)
		require.NoError(t, err)
		defer m.Close()
		c, h, w := m.Image()
		ws := compute.NewWorkspace(dev)
		defer ws.Free()
		x := ws.FromHost(slices.Repeat([]float32{0.25}, c*h*w), 1, c, h, w)
		_, err = m.At(x, []int{100})
		require.ErrorContains(t, err, "class-conditional")
		require.ErrorContains(t, m.SetClass(m.Classes()), "has the classes 0")
		var noise [2][]float32
		for class := range noise {
			require.NoError(t, m.SetClass(class))
			p, err := m.At(x, []int{100})
			require.NoError(t, err)
			noise[class], err = compute.ToHost(dev, p.Out())
			require.NoError(t, err)
		}
		require.NotEqual(t, noise[0], noise[1], name)

		chosen, err := Load(dev, opened(t, golden+name), []byte(`{"class": 1}`))
		require.NoError(t, err)
		defer chosen.Close()
		p, err := chosen.At(x, []int{100})
		require.NoError(t, err)
		again, err := compute.ToHost(dev, p.Out())
		require.NoError(t, err)
		require.Equal(t, noise[1], again)
		for _, wrong := range []string{"-1", `"x"`, "99"} {
			_, err = Load(dev, opened(t, golden+name), []byte(`{"class": `+wrong+`}`))
			require.ErrorContains(t, err, "class")
		}
	}
}

// At its own size a resized network is the network; at others its sides are multiples of what
// its levels need.
func TestResized(t *testing.T) {
	for _, name := range []string{"diffusers-grey/model", "edm-skips/model.pkl"} {
		dev := device(t)
		m, err := Load(dev, opened(t, golden+name), nil)
		require.NoError(t, err)
		defer m.Close()
		if m.Classes() > 0 {
			require.NoError(t, m.SetClass(1))
		}
		_, err = m.Resized(18, 16)
		require.ErrorContains(t, err, "multiples of 4")
		noise := func(h, w int) []float32 {
			r, err := m.Resized(h, w)
			require.NoError(t, err)
			defer r.Close()
			c, _, _ := r.Image()
			x, err := compute.FromHost(dev, slices.Repeat([]float32{0.25, -0.5}, c*h*w/2), 1, c, h, w)
			require.NoError(t, err)
			defer dev.Free(x.Buf)
			p, err := r.At(x, []int{100})
			require.NoError(t, err)
			out, err := compute.ToHost(dev, p.Out())
			require.NoError(t, err)
			return out
		}
		c, h, w := m.Image()
		require.Len(t, noise(h+8, w+4), c*(h+8)*(w+4))
		x, err := compute.FromHost(dev, slices.Repeat([]float32{0.25, -0.5}, c*h*w/2), 1, c, h, w)
		require.NoError(t, err)
		defer dev.Free(x.Buf)
		p, err := m.At(x, []int{100})
		require.NoError(t, err)
		want, err := compute.ToHost(dev, p.Out())
		require.NoError(t, err)
		require.Equal(t, want, noise(h, w), name)
	}
}

// The schedule of a model is its own.
func TestSchedules(t *testing.T) {
	dev := device(t)
	for name, want := range map[string]string{"diffusers-variance/model": "cosine", "diffusers-grey/model": "sigmoid 0.0001 to 0.02", "edm-ddpmpp/model.pkl": "linear"} {
		m, err := Load(dev, opened(t, golden+name), nil)
		require.NoError(t, err)
		schedule, betas := m.NoiseSchedule()
		require.Equal(t, want, schedule)
		require.Len(t, betas, m.Steps())
		m.Close()
	}
}

// Of another layout, and of one that is damaged, an error says what was found.
func TestUnknownLayout(t *testing.T) {
	_, err := Configure(checkpoint.Formula{"encoder.weight": {3, 3}}, nil)
	require.ErrorContains(t, err, `it begins with a tensor "encoder.weight"`)
	_, err = Configure(checkpoint.Formula{"down.0.block.0.conv1.weight": {3, 3}}, nil)
	require.ErrorContains(t, err, "conv_in.weight")
	_, err = Configure(checkpoint.Formula{"down.0.block.0.conv1.weight": {32, 32, 3, 3}, "conv_in.weight": {32, 3, 3, 3}, "conv_out.weight": {3, 32, 3, 3}}, []byte(`{"image_size": 12}`))
	require.NoError(t, err)
	_, err = Configure(opened(t, golden+"edm-skips/model.pkl"), []byte(`{"image_size": 16}`))
	require.ErrorContains(t, err, "leave it out")
}

// modules is a checkpoint of EDM with other modules.
type modules struct {
	*Checkpoint
	list []checkpoint.Module
}

func (m modules) Modules() []checkpoint.Module { return m.list }

// No attribute of an EDM network, and no text of diffusers' configurations, makes the readers
// panic or take time without bound.
func FuzzModules(f *testing.F) {
	var files []*Checkpoint
	for _, name := range []string{"edm-ddpmpp", "edm-ncsnpp", "edm-skips", "edm-adm-classes"} {
		files = append(files, opened(f, golden+name+"/model.pkl"))
	}
	f.Add(uint8(1), uint16(5), "in_channels", 3.0, false)
	f.Add(uint8(2), uint16(9), "num_heads", 7.0, false)
	f.Add(uint8(0), uint16(0), "sigma_data", -1.0, true)
	f.Fuzz(func(t *testing.T, file uint8, index uint16, key string, number float64, drop bool) {
		from := files[int(file)%len(files)]
		list := slices.Clone(from.Modules())
		i := int(index) % len(list)
		if drop {
			list = slices.Delete(list, i, i+1)
		} else {
			list[i].Attributes = maps.Clone(list[i].Attributes)
			for _, k := range []string{key, "in_channels", "num_heads", "num_groups", "img_resolution"} {
				if _, ok := list[i].Attributes[k]; ok {
					list[i].Attributes[k] = number
					break
				}
			}
			if v, ok := list[i].Attributes["down"].(bool); ok && number < 0 {
				list[i].Attributes["down"] = !v
			}
		}
		checked(modules{from, list})
	})
}

func FuzzDiffusers(f *testing.F) {
	from := opened(f, golden+"diffusers-x0-classes/model")
	f.Add(from.texts[unetConfig], from.texts[schedulerConfig])
	f.Fuzz(func(t *testing.T, network, scheduler string) {
		checked(&Checkpoint{File: from.File, texts: map[string]string{unetConfig: network, schedulerConfig: scheduler}})
	})
}

func checked(from checkpoint.Source) {
	if about, err := Configure(from, nil); err == nil {
		_ = about.Check() // an error is as good as none
	}
}
