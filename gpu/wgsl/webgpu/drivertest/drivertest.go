// Package drivertest checks a WebGPU driver: what it computes, what it refuses and
// that it does not grow.
package drivertest

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
)

const shader = `struct P { add: u32, n: u32 }
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<uniform> p: P;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x < p.n) { y[id.x] = 2u * x[id.x] + p.add; }
}`

var bindings = []webgpu.Binding{webgpu.ReadOnly, webgpu.ReadWrite, webgpu.DynamicUniform}

// Run checks the driver that open opens. Tests skip themselves when open fails.
func Run(t *testing.T, open func(t *testing.T) webgpu.GPU) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, webgpu.GPU)
	}{
		{"computes", computes}, {"copies", copies}, {"zeroed", zeroed}, {"large transfers", large},
		{"shader errors", shaderErrors}, {"wrong calls", nil}, {"too much memory", tooMuch}, {"does not grow", doesNotGrow},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.run == nil {
				wrongCalls(t, open)
				return
			}
			g := open(t)
			c.run(t, g)
			require.NoError(t, g.Close())
		})
	}
}

// kernel is a shader with its buffers: y = 2x + add for 1000 numbers.
type kernel struct {
	x, y, params webgpu.Buffer
	pipe         webgpu.Pipeline
	group        webgpu.BindGroup
	align        int
	in           []uint32
}

func newKernel(t testing.TB, g webgpu.GPU) *kernel {
	k := &kernel{align: g.Info().UniformAlignment, in: make([]uint32, 1000)}
	for i := range k.in {
		k.in[i] = uint32(i * i)
	}
	buffer := func(n int, u webgpu.Usage) webgpu.Buffer {
		b, err := g.CreateBuffer(n, u)
		require.NoError(t, err)
		return b
	}
	k.x, k.y, k.params = buffer(4000, webgpu.Storage), buffer(4000, webgpu.Storage), buffer(2*k.align, webgpu.Uniform)
	g.WriteBuffer(k.x, 0, Bytes(k.in))
	g.WriteBuffer(k.params, 0, Bytes([]uint32{5, 1000}))
	g.WriteBuffer(k.params, k.align, Bytes([]uint32{9, 10}))
	var err error
	k.pipe, err = g.CreatePipeline("double", shader, "main", bindings)
	require.NoError(t, err)
	k.group, err = g.CreateBindGroup(k.pipe, []webgpu.Range{{Buffer: k.x, Size: 4000}, {Buffer: k.y, Size: 4000}, {Buffer: k.params, Size: 8}})
	require.NoError(t, err)
	return k
}

// stream runs the kernel with the parameters at an offset.
func (k *kernel) stream(offset int) []int32 {
	return []int32{webgpu.CmdDispatch, int32(k.pipe), int32(k.group), int32(offset), 16, 1, 1}
}

// Bytes returns the bytes of words as they lie in a buffer.
func Bytes(words []uint32) []byte {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, words); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func read(t testing.TB, g webgpu.GPU, b webgpu.Buffer, offset, words int) []uint32 {
	raw := make([]byte, 4*words)
	require.NoError(t, g.Read(raw, b, offset))
	out := make([]uint32, words)
	for i := range out {
		out[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
	return out
}

// computes also shows that writes, dispatches and reads happen in order.
func computes(t *testing.T, g webgpu.GPU) {
	k := newKernel(t, g)
	g.Submit(k.stream(0))
	for i, v := range read(t, g, k.y, 0, 1000) {
		require.Equal(t, 2*k.in[i]+5, v)
	}
	g.WriteBuffer(k.x, 8, Bytes([]uint32{70}))
	g.Submit(append(k.stream(k.align), k.stream(k.align)...))
	g.WriteBuffer(k.x, 8, Bytes([]uint32{80})) // after the dispatch
	assert.Equal(t, []uint32{149, 27}, read(t, g, k.y, 8, 2))
	assert.Equal(t, 2*k.in[10]+5, read(t, g, k.y, 40, 1)[0], "not written by the second run")
	require.NoError(t, g.Wait())
}

func copies(t *testing.T, g webgpu.GPU) {
	k := newKernel(t, g)
	g.Submit(append(k.stream(0), webgpu.CmdCopy, int32(k.y), 8, int32(k.x), 16, 40))
	x := read(t, g, k.x, 0, 20)
	assert.Equal(t, k.in[:4], x[:4])
	assert.Equal(t, k.in[14:20], x[14:])
	for i, v := range x[4:14] {
		assert.Equal(t, 2*k.in[i+2]+5, v)
	}
	// Copies and dispatches in one stream see each other.
	g.Submit(append([]int32{webgpu.CmdCopy, int32(k.y), 0, int32(k.x), 0, 4000}, k.stream(0)...))
	assert.Equal(t, []uint32{15, 19}, read(t, g, k.y, 0, 2))
}

func zeroed(t *testing.T, g webgpu.GPU) {
	b, err := g.CreateBuffer(1<<16, webgpu.Storage)
	require.NoError(t, err)
	assert.Equal(t, make([]uint32, 1<<14), read(t, g, b, 0, 1<<14))
}

// large is more than a driver moves in one piece.
func large(t *testing.T, g webgpu.GPU) {
	const words = 10<<20 + 3
	in := make([]byte, 4*words)
	for i := range words {
		binary.LittleEndian.PutUint32(in[4*i:], uint32(i)*2654435761)
	}
	b, err := g.CreateBuffer(len(in), webgpu.Storage)
	require.NoError(t, err)
	g.WriteBuffer(b, 0, in)
	out := make([]byte, len(in))
	require.NoError(t, g.Read(out, b, 0))
	assert.True(t, bytes.Equal(in, out))
	require.NoError(t, g.Read(out[:8], b, len(in)-8))
	assert.Equal(t, in[len(in)-8:], out[:8])
}

func shaderErrors(t *testing.T, g webgpu.GPU) {
	_, err := g.CreatePipeline("broken", "@compute @workgroup_size(1) fn main() { let x: f32 = unknown; }", "main", nil)
	require.ErrorContains(t, err, "broken")
	assert.ErrorContains(t, err, "unknown", "the compiler's message")
	_, err = g.CreatePipeline("entry", "@compute @workgroup_size(1) fn main() { }", "other", nil)
	require.ErrorContains(t, err, "other")
	_, err = g.CreatePipeline("bindings", shader, "main", bindings[:2])
	require.ErrorContains(t, err, "bindings")
	computes(t, g) // the device still works
}

// wrongCalls are errors, and after one that comes late nothing succeeds.
func wrongCalls(t *testing.T, open func(*testing.T) webgpu.GPU) {
	for name, call := range map[string]func(webgpu.GPU, *kernel){
		"unknown buffer":     func(g webgpu.GPU, k *kernel) { g.WriteBuffer(99, 0, make([]byte, 4)) },
		"outside":            func(g webgpu.GPU, k *kernel) { g.WriteBuffer(k.x, 3998, make([]byte, 4)) },
		"negative":           func(g webgpu.GPU, k *kernel) { g.WriteBuffer(k.x, -4, make([]byte, 4)) },
		"half a word":        func(g webgpu.GPU, k *kernel) { g.WriteBuffer(k.x, 0, make([]byte, 3)) },
		"unknown pipeline":   func(g webgpu.GPU, k *kernel) { g.Submit([]int32{webgpu.CmdDispatch, 7, int32(k.group), 0, 1, 1, 1}) },
		"unknown group":      func(g webgpu.GPU, k *kernel) { g.Submit([]int32{webgpu.CmdDispatch, int32(k.pipe), 0, 0, 1, 1, 1}) },
		"no dynamic offset":  func(g webgpu.GPU, k *kernel) { g.Submit(k.stream(-1)) },
		"far dynamic offset": func(g webgpu.GPU, k *kernel) { g.Submit(k.stream(4 * k.align)) },
		"odd dynamic offset": func(g webgpu.GPU, k *kernel) { g.Submit(k.stream(4)) },
		"workgroups":         func(g webgpu.GPU, k *kernel) { g.Submit(append(k.stream(0)[:4], 70000, 1, 1)) },
		"cut stream":         func(g webgpu.GPU, k *kernel) { g.Submit(k.stream(0)[:5]) },
		"unknown command":    func(g webgpu.GPU, k *kernel) { g.Submit([]int32{5, 0, 0, 0, 0, 0, 0}) },
		"copy outside":       func(g webgpu.GPU, k *kernel) { g.Submit([]int32{webgpu.CmdCopy, int32(k.x), 0, int32(k.y), 3996, 8}) },
		"copy onto itself":   func(g webgpu.GPU, k *kernel) { g.Submit([]int32{webgpu.CmdCopy, int32(k.x), 0, int32(k.x), 8, 8}) },
		"destroyed buffer": func(g webgpu.GPU, k *kernel) {
			g.DestroyBuffer(k.x)
			g.Submit([]int32{webgpu.CmdCopy, int32(k.x), 0, int32(k.y), 0, 8})
		},
		"a bound buffer is gone": func(g webgpu.GPU, k *kernel) {
			g.DestroyBuffer(k.x)
			g.Submit(k.stream(0))
		},
		"read outside": func(g webgpu.GPU, k *kernel) { _ = g.Read(make([]byte, 8), k.x, 3996) },
	} {
		t.Run(name, func(t *testing.T) {
			g := open(t)
			k := newKernel(t, g)
			require.NoError(t, g.Wait())
			call(g, k)
			require.Error(t, g.Wait())
			first := g.Read(make([]byte, 4), k.y, 0)
			require.Error(t, first)
			_, err := g.CreateBuffer(4, webgpu.Storage)
			assert.Error(t, err)
			g.Submit(k.stream(0))
			assert.Equal(t, first.Error(), g.Wait().Error(), "the first failure is kept")
			_ = g.Close()
		})
	}
	g := open(t)
	k := newKernel(t, g)
	for name, ranges := range map[string][]webgpu.Range{
		"few":     {{Buffer: k.x, Size: 4000}},
		"outside": {{Buffer: k.x, Size: 4004}, {Buffer: k.y, Size: 4000}, {Buffer: k.params, Size: 8}},
		"empty":   {{Buffer: k.x}, {Buffer: k.y, Size: 4000}, {Buffer: k.params, Size: 8}},
		"odd":     {{Buffer: k.x, Offset: 2, Size: 40}, {Buffer: k.y, Size: 4000}, {Buffer: k.params, Size: 8}},
	} {
		_, err := g.CreateBindGroup(k.pipe, ranges)
		assert.Error(t, err, name)
	}
	require.NoError(t, g.Close())
}
