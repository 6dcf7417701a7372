package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/ebitengine/purego"

	"github.com/cmi-diffusion/cmi/gpu/cuda/ptx/recipe"
)

// nvrtc is NVIDIA's run-time compiler. Its calls return 0 for success.
type nvrtc struct {
	include string // the toolkit's headers

	create         func(program *uintptr, source, name string, headers int32, texts, names *byte) int32
	compileProgram func(program uintptr, count int32, options **byte) int32
	ptxSize        func(program uintptr, size *uint64) int32
	ptx            func(program uintptr, text *byte) int32
	logSize        func(program uintptr, size *uint64) int32
	log            func(program uintptr, text *byte) int32
	destroy        func(program *uintptr) int32
}

func openNVRTC(toolkit string) (*nvrtc, error) {
	n := &nvrtc{include: filepath.Join(toolkit, "nvidia/cuda_runtime/include")}
	if _, err := os.Stat(n.include); err != nil {
		return nil, fmt.Errorf("no toolkit in %s: run `make cuda-toolkit` (%w)", toolkit, err)
	}
	folder := filepath.Join(toolkit, "nvidia/cuda_nvrtc/lib")
	var lib uintptr
	for _, file := range []string{"libnvrtc-builtins.so.11.8", "libnvrtc.so.11.2"} { // the second looks for the first by name
		path, err := filepath.Abs(filepath.Join(folder, file))
		if err != nil {
			return nil, err
		}
		if lib, err = purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_GLOBAL); err != nil {
			return nil, err
		}
	}
	for _, f := range []struct {
		to   any
		name string
	}{
		{&n.create, "nvrtcCreateProgram"}, {&n.compileProgram, "nvrtcCompileProgram"}, {&n.ptxSize, "nvrtcGetPTXSize"}, {&n.ptx, "nvrtcGetPTX"},
		{&n.logSize, "nvrtcGetProgramLogSize"}, {&n.log, "nvrtcGetProgramLog"}, {&n.destroy, "nvrtcDestroyProgram"},
	} {
		symbol, err := purego.Dlsym(lib, f.name)
		if err != nil {
			return nil, err
		}
		purego.RegisterFunc(f.to, symbol)
	}
	return n, nil
}

// compile gives a kernel file's PTX.
func (n *nvrtc) compile(file, folder string) (string, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var program uintptr
	if r := n.create(&program, string(source), filepath.Base(file), 0, nil, nil); r != 0 {
		return "", fmt.Errorf("nvrtcCreateProgram: result %d", r)
	}
	defer n.destroy(&program)
	var options []*byte
	for _, o := range append(slices.Clone(recipe.Options), "--include-path="+folder, "--include-path="+n.include) {
		options = append(options, &append([]byte(o), 0)[0])
	}
	if r := n.compileProgram(program, int32(len(options)), &options[0]); r != 0 {
		return "", fmt.Errorf("nvrtcCompileProgram: result %d:\n%s", r, n.text(program, n.logSize, n.log))
	}
	if log := n.text(program, n.logSize, n.log); log != "" {
		return "", fmt.Errorf("warnings:\n%s", log)
	}
	return n.text(program, n.ptxSize, n.ptx), nil
}

// text reads a text of a program, without the zero that ends it.
func (n *nvrtc) text(program uintptr, size func(uintptr, *uint64) int32, read func(uintptr, *byte) int32) string {
	var count uint64
	if size(program, &count) != 0 || count == 0 {
		return ""
	}
	text := make([]byte, count)
	if read(program, &text[0]) != 0 {
		return ""
	}
	return string(bytes.TrimRight(text, "\x00"))
}
