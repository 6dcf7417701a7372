package photos64_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint/photos64"
)

func TestEmbeddedPrior(t *testing.T) {
	f, err := photos64.Open()
	require.NoError(t, err)
	total := 0
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		values, err := f.Floats(name, info.Shape...)
		require.NoError(t, err)
		total += len(values)
	}
	require.Equal(t, 3_370_246, total)
	require.Equal(t, map[string]string{
		"image_size": "64", "model_channels": "32", "channel_mult": "1,1,2,4", "num_res_blocks": "1", "num_head_channels": "32",
		"attention_resolutions": "16,8", "use_scale_shift_norm": "true", "resblock_updown": "true", "learn_sigma": "true",
		"use_new_attention_order": "false", "schedule": "linear", "diffusion_steps": "1000", "seen": "408256",
	}, f.Metadata())
	_, err = f.Floats("out.2.weight", 6, 32, 3, 3)
	require.NoError(t, err)
}

// PROVENANCE.md speaks of the file that is there.
func TestProvenance(t *testing.T) {
	file, err := os.ReadFile("photos64.safetensors")
	require.NoError(t, err)
	text, err := os.ReadFile("PROVENANCE.md")
	require.NoError(t, err)
	require.Contains(t, string(text), fmt.Sprintf("%x", sha256.Sum256(file)))
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(file)), photos64.Hash())
}

func ExampleOpen() {
	f, err := photos64.Open()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(f.Metadata()["image_size"], len(f.Names()))
	// Output: 64 272
}
