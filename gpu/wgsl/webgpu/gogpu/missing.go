//go:build !gogpu || js

package gogpu

import (
	"errors"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
)

// Available says whether this build holds the driver.
const Available = false

// Open says what this build lacks.
func Open() (webgpu.GPU, error) {
	return nil, errors.New("this build has no WebGPU driver: build with -tags gogpu,nocuda (make build-gogpu)")
}
