// Package webgpu is the narrow part of WebGPU that the device in package wgsl
// needs: buffers, compute pipelines, one stream of commands. Each driver is a
// small package or file of its own: natively a library, in a browser the page's
// navigator.gpu.
package webgpu

// GPU is one adapter with its queue. It is used by one goroutine at a time.
//
// Work is queued in order. Errors that WebGPU reports late are returned by the
// next call that can return one; they wrap compute.ErrLost or compute.ErrMemory
// where they are of that kind. After an error nothing more succeeds.
type GPU interface {
	// Info describes the adapter and the driver, and its limits.
	Info() Info
	// CreateBuffer makes a buffer in the adapter's memory, filled with zeros.
	CreateBuffer(bytes int, use Usage) (Buffer, error)
	// DestroyBuffer releases it once the queued work no longer needs it.
	DestroyBuffer(Buffer)
	// WriteBuffer copies data to a buffer at a multiple of four bytes, after the work
	// queued so far and before what follows. data may be used again at once.
	WriteBuffer(b Buffer, offset int, data []byte)
	// CreatePipeline compiles the entry point of a shader. bindings says how
	// @group(0) @binding(i) are used. An error holds the compiler's message.
	CreatePipeline(label, wgsl, entry string, bindings []Binding) (Pipeline, error)
	// CreateBindGroup names the buffers of a pipeline's bindings.
	CreateBindGroup(p Pipeline, ranges []Range) (BindGroup, error)
	// DestroyBindGroup releases it once the queued work no longer needs it.
	DestroyBindGroup(BindGroup)
	// Submit queues a stream of commands, see [Commands]. It may be kept and
	// submitted again.
	Submit(commands []int32)
	// Read waits for the queued work and copies len(dst) bytes of a buffer, whole words
	// from a multiple of four.
	Read(dst []byte, b Buffer, offset int) error
	// Wait waits for the queued work.
	Wait() error
	// Close waits and releases everything.
	Close() error
}

// Buffer, Pipeline and BindGroup are numbers that a driver gives out, from 1.
type (
	Buffer    int32
	Pipeline  int32
	BindGroup int32
)

// Usage is what a buffer is for.
type Usage int

// The usages. Every buffer can be written to, and copied from and to.
const (
	Storage Usage = iota
	Uniform
)

// Binding is how a shader declares a buffer.
type Binding int

// The bindings: var<storage, read>, var<storage, read_write>, and var<uniform>
// whose offset is given with each dispatch.
const (
	ReadOnly Binding = iota
	ReadWrite
	DynamicUniform
)

// Range is a part of a buffer, in bytes.
type Range struct {
	Buffer       Buffer
	Offset, Size int
}

// Info is what an adapter says about itself. Sizes are in bytes.
type Info struct {
	Name, Vendor, Driver, Backend string
	Software                      bool // computes on the processor
	MaxBinding                    int  // one storage binding
	MaxBuffer                     int
	MaxWorkgroups                 int // a dimension
	MaxInvocations                int // a workgroup
	MaxWorkgroupStorage           int
	MaxStorageBuffers             int   // a pipeline
	UniformAlignment              int   // of a dynamic offset
	Memory                        int64 // that may be allocated in all; 0 where unknown
	F16                           bool  // shaders can enable f16
	Subgroups                     bool  // shaders can enable subgroups, and know their number (subgroup_id)
}

// The commands of a stream. Each is its code and its operands, all int32.
const (
	// CmdDispatch: pipeline, bind group, dynamic offset (−1: the pipeline has none),
	// workgroups x, y, z.
	CmdDispatch int32 = iota
	// CmdCopy: source, its offset, destination, its offset, bytes.
	CmdCopy
)

// Operands returns the number of operands of a command.
func Operands(code int32) int { return [...]int{6, 5}[code] }
