package unet

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
)

// asked notes the shapes that a network asks for.
type asked checkpoint.Formula

func (a asked) Floats(name string, shape ...int) ([]float32, error) {
	a[name] = shape
	return nil, nil
}

// tensorsOf returns the tensors of a network.
func tensorsOf(t *testing.T, cfg Config) checkpoint.Formula {
	require.NoError(t, cfg.Validate())
	all := asked{}
	require.NoError(t, build(cfg, cfg.ImageSize, cfg.ImageSize).Check(all))
	return checkpoint.Formula(all)
}

// released512 is the configuration of the released networks of 512 pixels.
var released512 = Config{
	ImageSize: 512, InChannels: 3, ModelChannels: 256, OutChannels: 6, NumResBlocks: 2, AttentionDS: []int{16, 32, 64},
	ChannelMult: []float64{0.5, 1, 1, 2, 2, 4, 4}, NumHeads: 4, NumHeadChannels: 64, ScaleShift: true, ResblockUpdown: true, ConvResample: true,
}

// The first convolution of the 512-pixel network is half as wide as its time embedding says.
func TestWidthsOfFractions(t *testing.T) {
	tensors := tensorsOf(t, released512)
	for name, shape := range map[string][]int{
		"time_embed.0.weight": {1024, 256}, "input_blocks.0.0.weight": {128, 3, 3, 3}, "out.2.weight": {6, 128, 3, 3},
		"input_blocks.4.0.in_layers.2.weight": {256, 128, 3, 3}, "middle_block.1.qkv.weight": {3072, 1024, 1},
	} {
		require.Equal(t, shape, tensors[name], name)
	}
	got, err := Configure(tensors, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"image_size 512", "num_head_channels 64", "use_new_attention_order false", "noise_schedule linear", "diffusion_steps 1000"}, got.Assumed)
	got.Assumed = nil
	require.Equal(t, released512, got)

	small := released512
	small.ImageSize, small.ModelChannels, small.ChannelMult, small.AttentionDS = 16, 64, []float64{0.5, 1, 2}, []int{4}
	dev := cpu.New(1)
	defer dev.Close()
	m, err := Load(dev, tensorsOf(t, small), []byte(`{"image_size": 16}`))
	require.NoError(t, err)
	defer m.Close()
	x, err := compute.FromHost(dev, make([]float32, 3*16*16), 1, 3, 16, 16)
	require.NoError(t, err)
	at, err := m.At(x, []int{500})
	require.NoError(t, err)
	require.Equal(t, 6, at.Out().C)
}

// What metadata says is used, or refused.
func TestMetadata(t *testing.T) {
	small := released512
	small.ImageSize, small.ModelChannels, small.ChannelMult, small.AttentionDS = 16, 64, []float64{1, 2}, []int{2}
	tensors := tensorsOf(t, small)
	cfg, err := Configure(described{tensors, map[string]string{"noise_schedule": "cosine", "diffusion_steps": "4000", "channel_mult": "1,2", "image_size": "16"}}, nil)
	require.NoError(t, err)
	require.Equal(t, "cosine", cfg.NoiseSchedule)
	require.Equal(t, 4000, cfg.Steps)
	require.Equal(t, []string{"num_head_channels 64", "use_new_attention_order false", "rescale_timesteps true"}, cfg.Assumed)
	require.True(t, cfg.RescaleTimesteps) // as improved-diffusion does
	for key, value := range map[string]string{
		"noise_schedule": "sqrt", "class_cond": "True", "learn_sigma": "false", "prediction_type": "v_prediction",
	} {
		_, err := Configure(described{tensors, map[string]string{key: value}}, nil)
		require.ErrorContains(t, err, key)
	}
}

// Check refuses what New refuses, without a device.
func TestCheck(t *testing.T) {
	small := released512
	small.ImageSize, small.ModelChannels, small.ChannelMult, small.AttentionDS = 16, 64, []float64{1, 2}, []int{2}
	tensors := tensorsOf(t, small)
	require.NoError(t, Check(tensors, small))
	for name, change := range map[string]func(checkpoint.Formula){
		"label_emb.weight":             func(f checkpoint.Formula) { f["label_emb.weight"] = []int{1000, 256} },
		"out.0.bias":                   func(f checkpoint.Formula) { delete(f, "out.0.bias") },
		"middle_block.1.proj_out.bias": func(f checkpoint.Formula) { f["middle_block.1.proj_out.bias"] = []int{2} },
	} {
		changed := maps.Clone(tensors)
		change(changed)
		require.ErrorContains(t, Check(changed, small), name)
	}
	tensors["input_blocks.0.0.weight"] = []int{64, 6, 3, 3}
	_, err := Configure(tensors, nil)
	require.ErrorContains(t, err, "takes 6 channels")
}
