package drivertest

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// tooMuch is refused and the device stays good.
func tooMuch(t *testing.T, g webgpu.GPU) {
	info := g.Info()
	_, err := g.CreateBuffer(info.MaxBuffer+4, webgpu.Storage)
	require.ErrorIs(t, err, compute.ErrMemory)
	if info.Memory > 0 {
		var got []webgpu.Buffer
		left := info.Memory
		for err = nil; err == nil && left >= 0; {
			n := min(int64(info.MaxBuffer), left+4)
			var b webgpu.Buffer
			if b, err = g.CreateBuffer(int(n), webgpu.Storage); err == nil {
				got = append(got, b)
				left -= n
			}
		}
		require.ErrorIs(t, err, compute.ErrMemory)
		for _, b := range got {
			g.DestroyBuffer(b)
		}
	}
	computes(t, g)
}

// doesNotGrow runs a thousand submissions with writes, reads, new buffers and bind
// groups, after a hundred that fill caches.
func doesNotGrow(t *testing.T, g webgpu.GPU) {
	k := newKernel(t, g)
	round := func() {
		scratch, err := g.CreateBuffer(1<<20, webgpu.Storage)
		require.NoError(t, err)
		group, err := g.CreateBindGroup(k.pipe, []webgpu.Range{{Buffer: k.x, Size: 4000}, {Buffer: scratch, Size: 4000}, {Buffer: k.params, Size: 8}})
		require.NoError(t, err)
		g.WriteBuffer(scratch, 0, make([]byte, 1<<20))
		s := k.stream(0)
		s[2] = int32(group)
		g.Submit(append(s, webgpu.CmdCopy, int32(scratch), 0, int32(k.y), 0, 4000))
		require.Equal(t, uint32(7), read(t, g, k.y, 4, 1)[0])
		g.DestroyBindGroup(group)
		g.DestroyBuffer(scratch)
	}
	for range 100 {
		round()
	}
	before := Resident()
	for range 1000 {
		round()
	}
	if grown := Resident() - before; before > 0 {
		assert.Less(t, grown, int64(24<<20), "bytes after 1000 submissions")
		t.Logf("resident memory %d MiB, grown by %d KiB in 1000 submissions", before>>20, grown>>10)
	}
}

// Resident returns the memory of the process and its children, without Go's garbage; 0
// where nobody says.
func Resident() int64 {
	debug.FreeOSMemory()
	total := int64(0)
	for _, pid := range append(Children(os.Getpid()), os.Getpid()) {
		text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		_, after, _ := strings.Cut(string(text), "VmRSS:")
		amount, _, _ := strings.Cut(after, "kB")
		n, _ := strconv.ParseInt(strings.TrimSpace(amount), 10, 64)
		total += n << 10
	}
	return total
}

// Children returns the processes that any thread of a process has started.
func Children(pid int) (out []int) {
	lists, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, f := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(f); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}
