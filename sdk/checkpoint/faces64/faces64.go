// Package faces64 is the embedded prior: a small network trained on 64×64 faces, in
// F16 (6.7 MB). PROVENANCE.md says what it was trained on, how, and how good it is.
// It is a package of its own so that a program that brings its own checkpoint does
// not carry it.
package faces64

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
)

//go:embed faces64.safetensors
var file string

// Open opens the embedded checkpoint. Its metadata holds the network's configuration:
// image_size, model_channels, channel_mult, num_res_blocks, attention_resolutions,
// num_head_channels and so on, as strings.
func Open() (*checkpoint.File, error) {
	return checkpoint.Read(strings.NewReader(file), int64(len(file)), "faces64")
}

// Hash returns the SHA-256 of the embedded file, in hexadecimal digits.
func Hash() string {
	sum := sha256.Sum256([]byte(file))
	return hex.EncodeToString(sum[:])
}
