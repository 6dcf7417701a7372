package unet

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/internal/fuzztest"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
)

// shapesOf returns the names and shapes of a folder's network, without its values.
func shapesOf(f testing.TB, folder string) checkpoint.Formula {
	paths, err := filepath.Glob(golden + folder + "/model.*")
	require.NoError(f, err)
	require.Len(f, paths, 1)
	file, err := checkpoint.Open(paths[0])
	require.NoError(f, err)
	defer file.Close()
	all := checkpoint.Formula{}
	for _, name := range file.Names() {
		t, _ := file.Info(name)
		all[name] = t.Shape
	}
	return all
}

const golden = "../../../testdata/golden/unet/"

// described is a checkpoint with metadata.
type described struct {
	checkpoint.Formula
	metadata map[string]string
}

func (d described) Metadata() map[string]string { return d.metadata }

// possible fails the test unless a configuration that was accepted is one.
func possible(t *testing.T, cfg Config) {
	require.NoError(t, cfg.Validate())
	_ = fuzztest.Check(t, 64<<20, func() error { build(cfg, cfg.ImageSize, cfg.ImageSize); return nil }) // at most the most residual blocks
	for level := range cfg.ChannelMult {
		if cfg.attends(1<<level) && cfg.heads(cfg.width(level)) < 1 {
			t.Fatalf("%d heads at level %d of %+v", cfg.heads(cfg.width(level)), level, cfg)
		}
	}
}

// FuzzConfig reads a user's JSON configuration, and metadata.
func FuzzConfig(f *testing.F) {
	weights := shapesOf(f, "released-style")
	f.Add([]byte(`{"image_size": 64, "num_head_channels": "32", "use_new_attention_order": true}`), "image_size", "64")
	f.Add([]byte(`{"`+strings.Repeat("\xb1", 1000)+`": 1}`), "image_size", "64")
	f.Add([]byte(`{"attention_resolutions": [16, 8], "channel_mult": "1,2,3,4"}`), "attention_resolutions", "32,16,8")
	f.Add([]byte(`{"num_heads": -1, "num_head_channels": -1, "conv_resample": "TRUE"}`), "file_format", "")
	f.Add([]byte(`{"num_res_blocks": 900000, "num_head_channels": 32}`), "channel_mult", "[1,2]")
	f.Add([]byte(`[{"in_channels": 1e400}]`), "channel_mult", "(1, 2, 4,)")
	f.Fuzz(func(t *testing.T, override []byte, key, value string) {
		var cfg Config
		if fuzztest.Check(t, 1<<20+256*len(override), func() (err error) {
			cfg, err = Configure(described{weights, map[string]string{key: value}}, override)
			return err
		}) == nil {
			possible(t, cfg)
		}
	})
}

// FuzzInfer reads the configuration off names and shapes of which two are other ones, added,
// or gone where they have no dimensions.
func FuzzInfer(f *testing.F) {
	weights := shapesOf(f, "plain-blocks")
	f.Add("input_blocks.0.0.weight", "out.2.weight", []byte{64, 3, 3, 3}, []byte{6, 64, 3, 3})
	f.Add("input_blocks.999.0.op.weight", "output_blocks.-1.1.in_layers.2.weight", []byte{}, []byte{255, 255})
	f.Add("input_blocks.1.0.in_layers.2.weight", "input_blocks.1.1.qkv.weight", []byte{32, 0, 3, 3}, []byte{1})
	f.Fuzz(func(t *testing.T, name, other string, dims, otherDims []byte) {
		changed := maps.Clone(weights)
		for n, d := range map[string][]byte{name: dims, other: otherDims} {
			if delete(changed, n); len(d) > 0 {
				shape := []int{}
				for _, v := range d[:min(16, len(d))] { // no file has more
					shape = append(shape, int(v))
				}
				changed[n] = shape
			}
		}
		var cfg Config
		if fuzztest.Check(t, 1<<20+64*(len(name)+len(other)), func() (err error) {
			cfg, err = Configure(changed, nil)
			return err
		}) == nil {
			possible(t, cfg)
		}
	})
}
