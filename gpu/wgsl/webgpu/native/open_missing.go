//go:build !(cgo && ((linux && amd64 && !android) || darwin || (windows && amd64)))

package native

import (
	"fmt"
	"runtime"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
)

// Available says whether this build holds the driver.
const Available = false

// Open says what this build lacks.
func Open() (webgpu.GPU, error) {
	return nil, fmt.Errorf("this build for %s/%s has no WebGPU driver: build with CGO_ENABLED=1 and a C compiler (make build-webgpu) on linux/amd64, windows/amd64 or macOS", runtime.GOOS, runtime.GOARCH)
}
