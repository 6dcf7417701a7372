// Package squeezenet is the embedded SqueezeNet v1.1, the original Caffe weights in
// F16 (1.4 MB) without the classifier. PROVENANCE.md says where it comes from. It is
// a package of its own so that a program that brings its own network does not carry
// it.
//
// torchvision's squeezenet1_1 has the same architecture and other weights, since it
// was trained separately: what is computed with this one is not LPIPS.
package squeezenet

import (
	_ "embed"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
)

//go:embed squeezenet.safetensors
var file string

// Open opens the embedded weights. Names and layout are torchvision's (features.0 …
// features.12); the input is BGR on 0 to 255 minus (104.006, 116.669, 122.679).
func Open() (*checkpoint.File, error) {
	return checkpoint.Read(strings.NewReader(file), int64(len(file)), "SqueezeNet v1.1")
}
