//go:build linux && !nocuda && (amd64 || arm64)

package libcuda

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"github.com/cmi-diffusion/cmi/gpu/cuda"
	"github.com/cmi-diffusion/cmi/gpu/cuda/ptx"
)

// module is a file of kernels, loaded when the first of them is wanted.
type module struct {
	ptx.Module
	loaded handle
}

// function is a kernel of a loaded module.
type function struct {
	name       string
	handle     handle
	parameters int    // bytes
	shared     uint32 // dynamic shared memory that it may have
}

// freeShared is what a block may have of dynamic shared memory without asking.
const freeShared = 48 << 10

// Kernel implements [cuda.Driver].
func (g *GPU) Kernel(name string) (k cuda.Kernel, err error) {
	err = g.wait(func() (err error) {
		k, err = g.kernel(name)
		return err
	})
	return k, err
}

func (g *GPU) kernel(name string) (cuda.Kernel, error) {
	if k, ok := g.kernels[name]; ok {
		return k, nil
	}
	for _, m := range g.modules {
		i := slices.IndexFunc(m.Kernels, func(k ptx.Kernel) bool { return k.Name == name })
		if i < 0 {
			continue
		}
		if err := g.load(m); err != nil {
			return 0, err
		}
		f := function{name: name, parameters: m.Kernels[i].Parameters, shared: freeShared}
		if err := g.api.check("cuModuleGetFunction", g.api.ModuleGetFunction(&f.handle, m.loaded, name), name); err != nil {
			return 0, err
		}
		g.functions = append(g.functions, f)
		k := cuda.Kernel(len(g.functions))
		g.kernels[name] = k
		return k, nil
	}
	return 0, fmt.Errorf("kernel %s stands in no module", name)
}

// load hands a module to the driver, which compiles it for the GPU.
func (g *GPU) load(m *module) error {
	if m.loaded != 0 {
		return nil
	}
	log := make([]byte, 8<<10)
	text := append([]byte(m.Text), 0)
	options := []jitOption{jitErrorLog, jitErrorLogSize}
	var pins runtime.Pinner // the values are addresses that Go doesn't see
	defer pins.Unpin()
	pins.Pin(&log[0])
	values := []uintptr{uintptr(unsafe.Pointer(&log[0])), uintptr(len(log))}
	r := g.api.ModuleLoadDataEx(&m.loaded, &text[0], uint32(len(options)), &options[0], &values[0])
	if r == success {
		return nil
	}
	message, _, _ := strings.Cut(string(log), "\x00")
	detail := m.Name + ".ptx"
	if message = strings.Join(strings.Fields(message), " "); message != "" {
		detail += ": " + message
	}
	return g.api.check("cuModuleLoadDataEx", r, detail)
}

// Launch implements [cuda.Driver].
func (g *GPU) Launch(k cuda.Kernel, grid, block [3]uint32, shared uint32, args []byte) {
	args = slices.Clone(args)
	g.queue(func() error { return g.launch(k, grid, block, shared, args) })
}

func (g *GPU) launch(k cuda.Kernel, grid, block [3]uint32, shared uint32, args []byte) error {
	if k < 1 || int(k) > len(g.functions) {
		return fmt.Errorf("launch of kernel number %d: there are %d", k, len(g.functions))
	}
	f := &g.functions[k-1]
	if len(args) != f.parameters || len(args) == 0 {
		return fmt.Errorf("%s takes %d bytes of parameters, got %d", f.name, f.parameters, len(args))
	}
	if shared > f.shared {
		r := g.api.FuncSetAttribute(f.handle, functionMaxDynamicShared, int32(shared))
		if err := g.api.check("cuFuncSetAttribute", r, fmt.Sprintf("%s with %d bytes of shared memory", f.name, shared)); err != nil {
			return err
		}
		f.shared = shared
	}
	parameters := []unsafe.Pointer{unsafe.Pointer(&args[0])}
	r := g.api.LaunchKernel(f.handle, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared, g.stream, &parameters[0], nil)
	if r == success {
		return nil
	}
	return g.api.check("cuLaunchKernel", r, fmt.Sprintf("%s, grid %v, block %v, %d bytes of shared memory", f.name, grid, block, shared))
}
