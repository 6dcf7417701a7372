//go:build linux && !nocuda && (amd64 || arm64)

package libcuda

import (
	"errors"
	"fmt"

	"github.com/cmi-diffusion/cmi/gpu/cuda"
	"github.com/cmi-diffusion/cmi/gpu/cuda/ptx"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// GPU is a [cuda.Driver]: one GPU with a context and a stream of its own.
type GPU struct {
	api    *api
	thread *thread
	info   cuda.DriverInfo
	closed bool

	// What follows is touched on the thread alone.
	err         error // first failure
	ctx, stream handle
	staging     staging
	arrays      map[cuda.Ptr]bool
	graphs      map[cuda.Graph]bool
	capturing   bool
	modules     []*module
	kernels     map[string]cuda.Kernel
	functions   []function // a cuda.Kernel is a place in it, plus one
}

var _ cuda.Driver = (*GPU)(nil)

// minimal is the driver's CUDA version that the PTX needs.
const minimal = 11080

// Count returns the number of GPUs that the driver shows.
func Count() (int, error) {
	a, err := find()
	if err != nil {
		return 0, err
	}
	return a.count()
}

func (a *api) count() (int, error) {
	if err := a.check("cuInit", a.Init(0), ""); err != nil {
		return 0, err
	}
	var version, n int32
	if err := a.check("cuDriverGetVersion", a.DriverGetVersion(&version), ""); err != nil {
		return 0, err
	}
	if version < minimal {
		return 0, fmt.Errorf("the driver (%s) is for CUDA %s: %s, driver 520, or later is wanted", a.path, dotted(version), dotted(minimal))
	}
	err := a.check("cuDeviceGetCount", a.DeviceGetCount(&n), "")
	return int(n), err
}

// dotted writes 12040 as 12.4.
func dotted(version int32) string { return fmt.Sprintf("%d.%d", version/1000, version%1000/10) }

// Open opens a GPU by its number, from 0, as CUDA counts them.
func Open(number int) (*GPU, error) {
	a, err := find()
	if err != nil {
		return nil, err
	}
	g := &GPU{api: a, thread: newThread(), arrays: map[cuda.Ptr]bool{}, graphs: map[cuda.Graph]bool{}, kernels: map[string]cuda.Kernel{}}
	g.thread.do(func() {
		if err = g.open(number); err != nil {
			g.release()
		}
	})
	if err != nil {
		g.thread.end()
		return nil, err
	}
	return g, nil
}

func (g *GPU) open(number int) error {
	a := g.api
	count, err := a.count()
	if err != nil {
		return err
	}
	if number < 0 || number >= count {
		return fmt.Errorf("GPU %d: the driver shows %d, counted from 0; see nvidia-smi and CUDA_VISIBLE_DEVICES", number, count)
	}
	var device int32
	if err := a.check("cuDeviceGet", a.DeviceGet(&device, int32(number)), ""); err != nil {
		return err
	}
	if err := g.describe(device); err != nil {
		return err
	}
	modules, err := ptx.Modules(g.info.Major, g.info.Minor)
	if err != nil {
		return fmt.Errorf("GPU %d, %s: %w", number, g.info.Name, err)
	}
	for _, m := range modules {
		g.modules = append(g.modules, &module{Module: m})
	}
	if err := a.check("cuCtxCreate_v2", a.CtxCreate_v2(&g.ctx, 0, device), g.info.Name); err != nil {
		return err
	}
	if err := a.check("cuStreamCreate", a.StreamCreate(&g.stream, streamNonBlocking), ""); err != nil {
		return err
	}
	if err := g.staging.open(a); err != nil {
		return err
	}
	var free, total uint64
	err = a.check("cuMemGetInfo_v2", a.MemGetInfo_v2(&free, &total), "")
	g.info.Free = int64(free)
	return err
}

// describe asks for what is told without a context.
func (g *GPU) describe(device int32) error {
	a, info := g.api, &g.info
	name := make([]byte, 256)
	if err := a.check("cuDeviceGetName", a.DeviceGetName(&name[0], int32(len(name)), device), ""); err != nil {
		return err
	}
	for i, c := range name {
		if c == 0 {
			info.Name = string(name[:i])
			break
		}
	}
	var total uint64
	if err := a.check("cuDeviceTotalMem_v2", a.DeviceTotalMem_v2(&total, device), ""); err != nil {
		return err
	}
	var version int32
	if err := a.check("cuDriverGetVersion", a.DriverGetVersion(&version), ""); err != nil {
		return err
	}
	info.Total, info.Software = int64(total), a.emulated
	info.Driver = fmt.Sprintf("CUDA %s, %s", dotted(version), a.path)
	for attribute, field := range map[attribute]*int{attributeSMs: &info.SMs, attributeMajor: &info.Major, attributeMinor: &info.Minor, attributeMaxShared: &info.MaxShared} {
		var v int32
		if err := a.check("cuDeviceGetAttribute", a.DeviceGetAttribute(&v, attribute, device), ""); err != nil {
			return err
		}
		*field = int(v)
	}
	return nil
}

// Info implements [cuda.Driver].
func (g *GPU) Info() cuda.DriverInfo { return g.info }

var errClosed = errors.New("the GPU is closed")

// queue runs a call on the thread and keeps its failure.
func (g *GPU) queue(call func() error) {
	if g.closed {
		return
	}
	g.thread.post(func() {
		if g.err == nil {
			g.err = call()
		}
	})
}

// wait runs a call on the thread and gives its failure, or the first one before.
// What leaves the GPU whole is not kept: too little memory, a name that is unknown.
func (g *GPU) wait(call func() error) error {
	if g.closed {
		return errClosed
	}
	var err error
	g.thread.do(func() {
		if err = g.err; err != nil {
			return
		}
		err = call()
		var e *Error
		if errors.As(err, &e) && !errors.Is(err, compute.ErrMemory) {
			g.err = err
		}
	})
	return err
}

// Sync implements [cuda.Driver].
func (g *GPU) Sync() error { return g.wait(g.sync) }

func (g *GPU) sync() error {
	return g.api.check("cuStreamSynchronize", g.api.StreamSynchronize(g.stream), "")
}

// Close implements [cuda.Driver].
func (g *GPU) Close() error {
	if g.closed {
		return nil
	}
	g.closed = true
	var err error
	g.thread.do(func() { err = g.release() })
	g.thread.end()
	return err
}

// release gives everything back, as far as it was made. Where the GPU is lost the
// context takes all with it.
func (g *GPU) release() error {
	a := g.api
	err := g.err
	try := func(call string, r Result) {
		if e := a.check(call, r, ""); e != nil && err == nil {
			err = e
		}
	}
	if g.stream != 0 && !errors.Is(err, compute.ErrLost) {
		if g.capturing {
			_, e := g.endCapture()
			err = errors.Join(err, e)
		}
		try("cuStreamSynchronize", a.StreamSynchronize(g.stream))
	}
	if !errors.Is(err, compute.ErrLost) {
		for graph := range g.graphs {
			try("cuGraphExecDestroy", a.GraphExecDestroy(handle(graph)))
		}
		for p := range g.arrays {
			try("cuMemFree_v2", a.MemFree_v2(uint64(p)))
		}
		for _, m := range g.modules {
			if m.loaded != 0 {
				try("cuModuleUnload", a.ModuleUnload(m.loaded))
			}
		}
		g.staging.release(a, try)
		if g.stream != 0 {
			try("cuStreamDestroy_v2", a.StreamDestroy_v2(g.stream))
		}
	}
	if g.ctx != 0 {
		try("cuCtxDestroy_v2", a.CtxDestroy_v2(g.ctx))
	}
	return err
}
