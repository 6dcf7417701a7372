package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/native"
)

// The driver's process of the tool is the test binary when the tool is called in it.
func init() {
	if os.Getenv("CMI_CACHE") == "" { // tests leave the user's alone
		os.Setenv("CMI_CACHE", "off")
	}
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

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{"8GB": 8e9, "512MiB": 512 << 20, "1.5MB": 1500000, "2TiB": 2 << 40} {
		got, err := parseBytes(text)
		assert.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "8", "-1GB", "0GB", "GB", "1e3MB", "999KB", "8GX", "9000000PB"} {
		_, err := parseBytes(text)
		assert.ErrorContains(t, err, "a size such as 8GB", text)
	}
}

func TestCacheFolder(t *testing.T) {
	t.Setenv("CMI_CACHE", "off")
	assert.Empty(t, cacheFolder())
	t.Setenv("CMI_CACHE", "/some/where")
	assert.Equal(t, "/some/where", cacheFolder())
	if runtime.GOOS != "linux" {
		return
	}
	t.Setenv("CMI_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", "/of/the/user")
	assert.Equal(t, "/of/the/user/cmi", cacheFolder())
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	assert.Empty(t, cacheFolder())
}

// What the driver lacks is said in one line, with what to try.
func TestWebGPUPrecision(t *testing.T) {
	code, _, errs := tool(t.Context(), "verify", "--device", "webgpu:f8")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errs, "f16 or f32")
	if !native.Available {
		return // TestWebGPUAbsent
	}
	code, _, errs = tool(t.Context(), "verify", "--device", "webgpu:f16")
	if strings.Contains(errs, "no WebGPU adapter") {
		t.Skip(errs)
	}
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errs, "no f16 through this driver; try f32")
	assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
}
