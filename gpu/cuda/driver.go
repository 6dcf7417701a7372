package cuda

// Driver is the narrow part of the CUDA driver that the device needs: memory,
// kernels, one stream. Package libcuda binds it to the driver's library.
//
// Everything is queued on one stream, in order, and may run asynchronously; the
// first failure is kept and returned by every later call that can return one.
// Failures wrap compute.ErrMemory and compute.ErrLost where they are of that
// kind. A Driver is used by one goroutine at a time.
type Driver interface {
	// Info describes the GPU.
	Info() DriverInfo
	// Alloc reserves bytes of the GPU's memory, aligned to 256, contents unspecified.
	Alloc(bytes int) (Ptr, error)
	// Free releases memory once the work queued so far is done.
	Free(Ptr)
	// Upload copies src to the GPU after the work queued so far. src may be used
	// again at once.
	Upload(dst Ptr, src []byte)
	// Download waits for the queued work and copies from the GPU.
	Download(dst []byte, src Ptr) error
	// Sync waits for the queued work.
	Sync() error
	// Kernel finds a kernel by its name in the embedded modules.
	Kernel(name string) (Kernel, error)
	// Launch queues a kernel with so many bytes of dynamic shared memory, more than
	// 48 KiB too. args is the kernel's one argument, a structure passed by value; it
	// is copied.
	Launch(k Kernel, grid, block [3]uint32, shared uint32, args []byte)
	// BeginCapture makes the following Launch calls be recorded instead of run.
	// Between it and EndCapture there are no other calls.
	BeginCapture()
	// EndCapture gives what was recorded.
	EndCapture() (Graph, error)
	// LaunchGraph queues what was recorded.
	LaunchGraph(Graph)
	// FreeGraph releases it once it no longer runs.
	FreeGraph(Graph)
	// Close waits and releases everything.
	Close() error
}

// Ptr is an address in the GPU's memory, 0 for none.
type Ptr uint64

// Kernel and Graph are handles that a driver gives out.
type (
	Kernel uintptr
	Graph  uintptr
)

// DriverInfo is what a driver says about its GPU. Sizes are in bytes.
type DriverInfo struct {
	Name         string // "NVIDIA A100-SXM4-80GB"
	Driver       string // version of the driver, for people
	Major, Minor int    // compute capability: 8, 0
	SMs          int    // multiprocessors
	MaxShared    int    // shared memory that one block may have
	Total, Free  int64  // memory, and what of it was free when the driver was opened
	Software     bool   // emulated on the processor
}
