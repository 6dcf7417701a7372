//go:build cgo && darwin

package native

import "golang.org/x/sys/unix"

const apple = 0x106b

// adapterMemory returns how many bytes of the memory of an adapter may be taken: Apple's
// share the machine's, of which Metal recommends about two thirds. It is 0 for others.
func adapterMemory(vendor, _ uint32) int64 {
	all, err := unix.SysctlUint64("hw.memsize")
	if vendor != apple || err != nil {
		return 0
	}
	return int64(all / 3 * 2)
}
