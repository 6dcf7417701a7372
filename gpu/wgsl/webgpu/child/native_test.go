//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package child_test

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/child"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/drivertest"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

func openNative(t *testing.T) (webgpu.GPU, *exec.Cmd) {
	p := process("native")
	g, err := child.Open(p)
	if err != nil {
		t.Skip(err)
	}
	return g, p
}

func TestDriver(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) webgpu.GPU {
		g, _ := openNative(t)
		return g
	})
}

// A killed child is a lost device, at once and for every later call; a new one works.
func TestKilled(t *testing.T) {
	g, p := openNative(t)
	b, err := g.CreateBuffer(64<<20, webgpu.Storage)
	require.NoError(t, err)
	time.AfterFunc(100*time.Millisecond, func() { _ = p.Process.Kill() })
	data := make([]byte, 64<<20)
	start := time.Now()
	for err == nil && time.Since(start) < time.Minute {
		g.WriteBuffer(b, 0, data)
		err = g.Read(data, b, 0)
	}
	require.ErrorIs(t, err, compute.ErrLost)
	assert.ErrorContains(t, err, "killed")
	_, err = g.CreateBuffer(4, webgpu.Storage)
	assert.ErrorIs(t, err, compute.ErrLost)
	g.Submit([]int32{webgpu.CmdCopy, int32(b), 0, int32(b), 8, 4})
	assert.ErrorIs(t, g.Wait(), compute.ErrLost)
	assert.ErrorIs(t, g.Close(), compute.ErrLost)

	again, _ := openNative(t)
	_, err = again.CreateBuffer(4, webgpu.Storage)
	require.NoError(t, err)
	require.NoError(t, again.Close())
	assert.Error(t, again.Wait(), "closed")
	assert.Error(t, again.Close(), "closed twice")
}
