//go:build cgo && ((linux && amd64 && !android) || (windows && amd64))

package native

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

const mesa = 0x10005

// Lavapipe's memory is the machine's: what Vulkan says of it is near what the kernel
// says.
func TestAdapterMemory(t *testing.T) {
	found := adapterMemory(mesa, 0)
	if found == 0 {
		t.Skip("no Vulkan loader with lavapipe (on Debian mesa-vulkan-drivers and libvulkan1)")
	}
	free := compute.HostMemory() / 3 * 4
	t.Logf("Vulkan: %d MiB to take, the machine has %d MiB free", found>>20, free>>20)
	assert.Greater(t, found, free/2)
	assert.Less(t, found, 2*free)
	assert.Zero(t, adapterMemory(mesa, 1), "another adapter")
	assert.Zero(t, adapterMemory(0x10de, 0), "another vendor")
}

// The sizes of the structures are those of vulkan_core.h on 64-bit machines.
func TestVulkanLayout(t *testing.T) {
	assert.EqualValues(t, 48, unsafe.Sizeof(vkApplication{}))
	assert.EqualValues(t, 64, unsafe.Sizeof(vkCreate{}))
	assert.EqualValues(t, 260, unsafe.Sizeof(vkExtension{}))
	assert.EqualValues(t, 536, unsafe.Sizeof(vkMemory{}))
	assert.EqualValues(t, 272, unsafe.Sizeof(vkBudget{}))
}

func TestFree(t *testing.T) {
	const GiB = 1 << 30
	m, b := &vkMemory{heaps: 3}, &vkBudget{}
	m.heap[0].size, m.heap[1].size, m.heap[2].size = 64*GiB, 16*GiB, GiB/4 // the machine's, the GPU's, its window
	m.heap[1].flags, m.heap[2].flags = vkDeviceLocal, vkDeviceLocal
	assert.EqualValues(t, 16*GiB/5*4, m.free(b), "nobody says what is free")
	m.next = unsafe.Pointer(b)
	b.budget[1], b.used[1] = 12*GiB, 4*GiB
	assert.EqualValues(t, 8*GiB/16*15, m.free(b))
	b.used[1], b.budget[2] = 20*GiB, GiB/4
	assert.EqualValues(t, GiB/4/16*15, m.free(b), "a full heap")
	m.heaps = 99
	assert.EqualValues(t, GiB/4/16*15, m.free(b))
	assert.Zero(t, (&vkMemory{}).free(b))
}
