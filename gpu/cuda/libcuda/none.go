//go:build !(linux && !nocuda && (amd64 || arm64))

package libcuda

import (
	"errors"

	"github.com/cmi-diffusion/cmi/gpu/cuda"
)

var errNone = errors.New("this build holds no CUDA: it needs Linux on amd64 or arm64, without the build tag nocuda")

// Count returns the number of GPUs that the driver shows.
func Count() (int, error) { return 0, errNone }

// Open opens a GPU by its number, from 0, as CUDA counts them.
func Open(int) (cuda.Driver, error) { return nil, errNone }
