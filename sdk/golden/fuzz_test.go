package golden

import (
	"testing"
	"testing/fstest"

	"github.com/cmi-diffusion/cmi/internal/fuzztest"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// FuzzFull reads the two JSON files of a network of full size.
func FuzzFull(f *testing.F) {
	f.Add([]byte(`{"time_embed.0.weight": [512, 128], "input_blocks.0.0.weight": [128, 3, 3, 3]}`), []byte(`{"image_size": 256, "num_head_channels": 64}`))
	f.Add([]byte(`{"a": null, "b": [-1], "": [1e9]}`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, tensors, config []byte) {
		dir := fstest.MapFS{"full/x.tensors.json": {Data: tensors}, "full/x.json": {Data: config}}
		_ = fuzztest.Check(t, 1<<20+256*(len(tensors)+len(config)), func() error {
			weights, override, err := fullNetwork(dir, "x")
			if err == nil {
				_, err = unet.Configure(weights, override)
			}
			return err
		})
	})
}
