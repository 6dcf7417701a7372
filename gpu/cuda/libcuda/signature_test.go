//go:build linux && !nocuda && (amd64 || arm64)

package libcuda

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unsafe"

	"github.com/cmi-diffusion/cmi/gpu/cuda/fakecuda"
)

// Every function has the name that cuda.h maps to, and its arguments.
func TestSignatures(t *testing.T) {
	folder := os.Getenv(fakecuda.IncludeVariable)
	if folder == "" {
		t.Skipf("signatures are compared where %s names a folder with NVIDIA's cuda.h: make cuda-toolkit", fakecuda.IncludeVariable)
	}
	text, err := os.ReadFile(filepath.Join(folder, "cuda.h"))
	if err != nil {
		t.Fatal(err)
	}
	header, _, _ := strings.Cut(string(text), "#if defined(__CUDA_API_VERSION_INTERNAL)\n    #undef") // declarations of old forms stand at the end
	mapped := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#define (cu\w+) +(?:__CUDA_API_PT\w+\()?(cu\w+?)\)?$`).FindAllStringSubmatch(header, -1) {
		if _, ok := mapped[m[1]]; !ok && !strings.HasSuffix(m[2], "_ptsz") && !strings.HasSuffix(m[2], "_ptds") {
			mapped[m[1]] = m[2]
		}
	}
	declared := map[string][]string{}
	comments := regexp.MustCompile(`(?s)/\*.*?\*/`)
	for _, m := range regexp.MustCompile(`CUresult CUDAAPI (cu\w+)\(([^)]*)\);`).FindAllStringSubmatch(header, -1) {
		name := m[1]
		if to, ok := mapped[name]; ok {
			name = to
		}
		if _, ok := declared[name]; ok {
			continue
		}
		declared[name] = strings.Split(comments.ReplaceAllString(m[2], ""), ",")
	}
	if len(declared) < 200 {
		t.Fatalf("only %d functions in cuda.h", len(declared))
	}
	for field := range reflect.TypeFor[api]().Fields() {
		if field.Type.Kind() != reflect.Func {
			continue
		}
		name := "cu" + field.Name
		parameters, ok := declared[name]
		if !ok {
			t.Errorf("%s is not what cuda.h maps to", name)
			continue
		}
		if len(parameters) != field.Type.NumIn() {
			t.Errorf("%s takes %d arguments, the binding gives %d", name, len(parameters), field.Type.NumIn())
			continue
		}
		for i, p := range parameters {
			if got := field.Type.In(i); !fits(got, p) {
				t.Errorf("%s: argument %q is bound as %v", name, strings.TrimSpace(p), got)
			}
		}
	}
}

var values = map[string]reflect.Kind{
	"unsigned int": reflect.Uint32, "int": reflect.Int32, "CUdevice": reflect.Int32, "CUresult": reflect.Uint32,
	"CUdevice_attribute": reflect.Uint32, "CUfunction_attribute": reflect.Uint32, "CUstreamCaptureMode": reflect.Uint32, "CUjit_option": reflect.Uint32,
	"size_t": reflect.Uint64, "CUdeviceptr": reflect.Uint64, "unsigned long long": reflect.Uint64, "char": reflect.Uint8,
	"CUcontext": reflect.Uintptr, "CUmodule": reflect.Uintptr, "CUfunction": reflect.Uintptr, "CUstream": reflect.Uintptr,
	"CUevent": reflect.Uintptr, "CUgraph": reflect.Uintptr, "CUgraphExec": reflect.Uintptr,
}

var declaration = regexp.MustCompile(`^(?:const )?([\w ]+?) ?(\**) ?\w+$`)

// fits says whether a Go type is passed as a C parameter is.
func fits(got reflect.Type, parameter string) bool {
	m := declaration.FindStringSubmatch(strings.Join(strings.Fields(parameter), " "))
	if m == nil {
		return false
	}
	base, stars := m[1], len(m[2])
	anything := reflect.TypeFor[unsafe.Pointer]()
	for ; stars > 0; stars-- {
		switch {
		case base == "void" && stars == 1:
			return got == anything || got.Kind() == reflect.Uintptr || got == reflect.TypeFor[*byte]()
		case base == "char" && stars == 1 && got.Kind() == reflect.String:
			return true
		case got == anything: // always null: extra of cuLaunchKernel
			return base == "void"
		case got.Kind() != reflect.Pointer:
			return false
		}
		got = got.Elem()
	}
	return got.Kind() == values[base]
}
