//go:build cgo && ((linux && amd64 && !android) || (windows && amd64))

package native

import (
	"bytes"
	"unsafe"

	"github.com/ebitengine/purego"
)

// The library does not say how much memory an adapter has, but the Vulkan loader
// that it works through does. Layouts and numbers are those of vulkan_core.h.

//lint:file-ignore U1000 fields that nothing here reads are read by Vulkan, or keep others in place

type (
	vkApplication struct {
		kind    uint32
		next    unsafe.Pointer
		name    *byte
		version uint32
		engine  *byte
		_       uint32
		api     uint32
	}
	vkCreate struct {
		kind        uint32
		next        unsafe.Pointer
		flags       uint32
		application *vkApplication
		layers      uint32
		layerNames  **byte
		extensions  uint32
		names       **byte
	}
	vkProperties struct {
		api, driver, vendor, device uint32
		_                           [1024]byte // more than there is
	}
	vkExtension struct {
		name    [256]byte
		version uint32
	}
	vkMemory struct {
		kind  uint32
		next  unsafe.Pointer
		types uint32
		_     [32][2]uint32
		heaps uint32
		heap  [16]struct {
			size     uint64
			flags, _ uint32
		}
	}
	vkBudget struct {
		kind         uint32
		next         unsafe.Pointer
		budget, used [16]uint64
	}
)

const (
	vk11             = 1<<22 | 1<<12
	vkCreateKind     = 1
	vkMemoryKind     = 1000059006
	vkBudgetKind     = 1000237000
	vkDeviceLocal    = 1
	vkBudgetName     = "VK_EXT_memory_budget"
	mostVkDevices    = 64
	mostVkExtensions = 4096
)

// adapterMemory returns how many bytes of the memory of the adapter with these numbers may
// be taken; 0 where Vulkan does not say.
func adapterMemory(vendor, device uint32) (bytes int64) {
	lookup := openVulkan()
	if lookup == 0 {
		return 0
	}
	var find func(instance uintptr, name string) uintptr
	purego.RegisterFunc(&find, lookup)
	instance := uintptr(0)
	has := func(function any, name string) bool {
		at := find(instance, name)
		if at != 0 {
			purego.RegisterFunc(function, at)
		}
		return at != 0
	}
	var create func(info *vkCreate, allocator unsafe.Pointer, instance *uintptr) int32
	application := &vkApplication{api: vk11}
	if !has(&create, "vkCreateInstance") || create(&vkCreate{kind: vkCreateKind, application: application}, nil, &instance) != 0 {
		return 0
	}
	var destroy func(instance uintptr, allocator unsafe.Pointer)
	if has(&destroy, "vkDestroyInstance") {
		defer func() { destroy(instance, nil) }()
	}
	var list func(instance uintptr, count *uint32, devices *uintptr) int32
	var properties func(device uintptr, p *vkProperties)
	var extensions func(device uintptr, layer *byte, count *uint32, e *vkExtension) int32
	var memory func(device uintptr, m *vkMemory)
	if !has(&list, "vkEnumeratePhysicalDevices") || !has(&properties, "vkGetPhysicalDeviceProperties") ||
		!has(&extensions, "vkEnumerateDeviceExtensionProperties") || !has(&memory, "vkGetPhysicalDeviceMemoryProperties2") {
		return 0
	}
	count := uint32(mostVkDevices)
	devices := make([]uintptr, count)
	if list(instance, &count, &devices[0]) < 0 {
		return 0
	}
	for _, d := range devices[:count] {
		p, m, b := &vkProperties{}, &vkMemory{kind: vkMemoryKind}, &vkBudget{kind: vkBudgetKind}
		if properties(d, p); p.vendor != vendor || p.device != device || p.api < vk11 {
			continue
		}
		n := uint32(mostVkExtensions)
		names := make([]vkExtension, n)
		if extensions(d, nil, &n, &names[0]) >= 0 && offers(names[:n], vkBudgetName) {
			m.next = unsafe.Pointer(b)
		}
		memory(d, m)
		if free := max(1, m.free(b)); bytes == 0 || free < bytes { // of several alike the fullest
			bytes = free
		}
	}
	return bytes
}

func offers(all []vkExtension, name string) bool {
	for _, e := range all {
		if text, _, _ := bytes.Cut(e.name[:], []byte{0}); string(text) == name {
			return true
		}
	}
	return false
}

// free returns what may be taken of the adapter's largest heap of its own: nearly all that
// the driver offers this process, or, where it does not say, four fifths of all, as
// AMD's Vulkan Memory Allocator reckons.
func (m *vkMemory) free(b *vkBudget) int64 {
	most := uint64(0)
	for i, h := range m.heap[:min(m.heaps, uint32(len(m.heap)))] {
		free := h.size / 5 * 4
		if m.next != nil && b.budget[i] > 0 {
			free = (min(b.budget[i], h.size) - min(b.used[i], b.budget[i], h.size)) / 16 * 15
		}
		if h.flags&vkDeviceLocal != 0 {
			most = max(most, free)
		}
	}
	return int64(most)
}
