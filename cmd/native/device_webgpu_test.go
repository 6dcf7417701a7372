package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/native"
)

// The driver's process of the tool is the test binary when the tool is called in it.
func init() {
	if len(os.Args) == 2 && os.Args[1] == driverCommand {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
}

// Builds without the driver say what they lack.
func TestWebGPUAbsent(t *testing.T) {
	code, stdout, stderr := tool(context.Background(), "info", "--devices")
	assert.Zero(t, code, stderr)
	assert.Contains(t, stdout, "webgpu: ")
	if !native.Available {
		assert.Contains(t, stdout, "CGO_ENABLED=1")
		code, _, stderr = tool(context.Background(), "verify", "--device", "webgpu")
		assert.Equal(t, exitUsage, code)
		assert.Contains(t, stderr, fmt.Sprintf("this build for %s/%s has no WebGPU driver", runtime.GOOS, runtime.GOARCH))
	}
}
