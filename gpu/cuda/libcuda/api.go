//go:build linux && !nocuda && (amd64 || arm64)

package libcuda

import (
	"fmt"
	"reflect"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
)

// api is the part of the driver that is used. Its functions are named as the library
// exports them, without "cu". The names are those that cuda.h maps to: without a
// suffix some are old forms with 32-bit sizes.
type api struct {
	Init                      func(flags uint32) Result
	DriverGetVersion          func(version *int32) Result
	GetErrorName              func(r Result, name **byte) Result
	DeviceGetCount            func(count *int32) Result
	DeviceGet                 func(device *int32, ordinal int32) Result
	DeviceGetName             func(name *byte, size int32, device int32) Result
	DeviceTotalMem_v2         func(bytes *uint64, device int32) Result
	DeviceGetAttribute        func(value *int32, attribute attribute, device int32) Result
	CtxCreate_v2              func(ctx *handle, flags uint32, device int32) Result
	CtxDestroy_v2             func(ctx handle) Result
	MemGetInfo_v2             func(free, total *uint64) Result
	MemAlloc_v2               func(p *uint64, bytes uint64) Result
	MemFree_v2                func(p uint64) Result
	MemHostAlloc              func(p *unsafe.Pointer, bytes uint64, flags uint32) Result
	MemFreeHost               func(p unsafe.Pointer) Result
	MemcpyHtoDAsync_v2        func(dst uint64, src unsafe.Pointer, n uint64, s handle) Result
	MemcpyDtoHAsync_v2        func(dst unsafe.Pointer, src uint64, n uint64, s handle) Result
	StreamCreate              func(s *handle, flags uint32) Result
	StreamDestroy_v2          func(s handle) Result
	StreamSynchronize         func(s handle) Result
	StreamBeginCapture_v2     func(s handle, mode uint32) Result
	StreamEndCapture          func(s handle, graph *handle) Result
	EventCreate               func(e *handle, flags uint32) Result
	EventRecord               func(e, s handle) Result
	EventSynchronize          func(e handle) Result
	EventDestroy_v2           func(e handle) Result
	ModuleLoadDataEx          func(m *handle, text *byte, n uint32, options *jitOption, values *uintptr) Result
	ModuleUnload              func(m handle) Result
	ModuleGetFunction         func(f *handle, m handle, name string) Result
	FuncSetAttribute          func(f handle, attribute uint32, value int32) Result
	LaunchKernel              func(f handle, gx, gy, gz, bx, by, bz, shared uint32, s handle, params *unsafe.Pointer, extra unsafe.Pointer) Result
	GraphInstantiateWithFlags func(exec *handle, graph handle, flags uint64) Result
	GraphLaunch               func(exec, s handle) Result
	GraphDestroy              func(graph handle) Result
	GraphExecDestroy          func(exec handle) Result

	path     string
	emulated bool // the library is the emulator of package fakecuda
}

// handle is a pointer that the driver gives out and that is never followed.
type handle uintptr

type (
	attribute uint32
	jitOption uint32
)

// Numbers of cuda.h.
const (
	attributeSMs       attribute = 16
	attributeMajor     attribute = 75
	attributeMinor     attribute = 76
	attributeMaxShared attribute = 97 // of a block that asks for more than 48 KiB

	functionMaxDynamicShared = 8

	jitErrorLog     jitOption = 5
	jitErrorLogSize jitOption = 6

	streamNonBlocking  = 1 // with respect to the legacy default stream
	eventDisableTiming = 2
	captureThreadLocal = 1
)

// load opens the library and looks up every function.
func load(path string) (*api, error) {
	lib, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	a := &api{path: path}
	fields := reflect.ValueOf(a).Elem()
	for _, name := range a.names() {
		symbol, err := purego.Dlsym(lib, name)
		if err != nil {
			return nil, fmt.Errorf("%s has no %s: the driver is too old, 520 or later is wanted", path, name)
		}
		purego.RegisterFunc(fields.FieldByName(strings.TrimPrefix(name, "cu")).Addr().Interface(), symbol)
	}
	_, err = purego.Dlsym(lib, "emu_launch")
	a.emulated = err == nil
	return a, nil
}

// names returns those of all functions, as the library exports them.
func (*api) names() (all []string) {
	for field := range reflect.TypeFor[api]().Fields() {
		if field.Type.Kind() == reflect.Func {
			all = append(all, "cu"+field.Name)
		}
	}
	return all
}

// check makes an error of a call's result; nil for success.
func (a *api) check(call string, r Result, detail string) error {
	if r == success {
		return nil
	}
	return &Error{Call: call, Code: r, Name: a.name(r), Detail: detail}
}

// name is CUDA's name of a result.
func (a *api) name(r Result) string {
	var text *byte
	if a.GetErrorName(r, &text) != success || text == nil {
		return "CUDA_ERROR_?"
	}
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(text), n)) != 0 {
		n++
	}
	return string(unsafe.Slice(text, n))
}
