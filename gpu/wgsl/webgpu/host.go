package webgpu

import (
	"os"
	"strconv"
	"strings"
)

// HostMemory is how many bytes a software adapter may take: its memory is the
// machine's, of which three quarters of what is free may be taken. It is 0 where
// nobody says.
func HostMemory() int64 {
	text, _ := os.ReadFile("/proc/meminfo") // only Linux has these files
	_, after, _ := strings.Cut(string(text), "MemAvailable:")
	amount, _, _ := strings.Cut(after, "kB")
	free := number(amount) << 10
	limit, _ := os.ReadFile("/sys/fs/cgroup/memory.max")
	used, _ := os.ReadFile("/sys/fs/cgroup/memory.current")
	if l := number(string(limit)); l > 0 {
		free = min(free, max(1, l-number(string(used))))
	}
	return free / 4 * 3
}

// number is 0 for what is none.
func number(s string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return n
}
