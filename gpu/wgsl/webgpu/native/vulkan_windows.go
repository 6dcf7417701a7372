//go:build cgo && amd64

package native

import "golang.org/x/sys/windows"

// openVulkan finds the loader's function that finds the others; 0 where there is none.
func openVulkan() uintptr {
	lookup := windows.NewLazySystemDLL("vulkan-1.dll").NewProc("vkGetInstanceProcAddr")
	if lookup.Find() != nil {
		return 0
	}
	return lookup.Addr()
}
