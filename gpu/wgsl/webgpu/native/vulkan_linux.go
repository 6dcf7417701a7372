//go:build cgo && amd64 && !android

package native

import "github.com/ebitengine/purego"

// openVulkan finds the loader's function that finds the others; 0 where there is none.
func openVulkan() uintptr {
	lib, err := purego.Dlopen("libvulkan.so.1", purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return 0
	}
	lookup, _ := purego.Dlsym(lib, "vkGetInstanceProcAddr")
	return lookup
}
