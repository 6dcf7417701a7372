package measure

import (
	"errors"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// matrixOperator refuses: a page has no files that a matrix could be read from, and so does
// not link what multiplies it. A program of its own may call [NewMatrix].
func matrixOperator(compute.Device, int, int, int, *Matrix) (Linear, error) {
	return nil, errors.New("a page takes no matrix: use the native tool")
}
