// Package photos holds a small photograph that the built-in prior of photographs was not trained on; see README.md
// for where it comes from.
package photos

import (
	"bytes"
	_ "embed"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

//go:embed cat.png
var cat []byte

// Cat returns a cat's face, 128×96 pixels.
func Cat() (picture.Image, error) { return picture.Decode(bytes.NewReader(cat), "cat.png") }
