package compute

import (
	"io/fs"
	"os"
	"path"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// hostFree returns the least of what the machine has, what the process's control groups
// leave and what its address space has room for.
func hostFree() int64 {
	unused := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(unused)
	kept, returned := int64(unused[0].Value.Uint64()), int64(unused[1].Value.Uint64())
	root := os.DirFS("/")
	free := groupsFree(root, availableMemory(root))
	if free == 0 {
		return 0
	}
	free += kept
	var space syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_AS, &space); err == nil && space.Cur < 1<<62 {
		pages, _ := number(slices.Concat(strings.Fields(text(root, "proc/self/statm")), []string{""})[0])
		free = min(free, int64(space.Cur)-pages*int64(os.Getpagesize())+kept+returned)
	}
	return max(free, 4)
}

// availableMemory returns what the machine can give without swapping.
func availableMemory(root fs.FS) int64 {
	return entry(text(root, "proc/meminfo"), "MemAvailable:") << 10
}

// controls are the files of control groups, version 2 and 1, that bound memory.
var controls = []struct{ controller, mount, limit, used, cache string }{
	{"", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"},
	{"memory", "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
}

// groupsFree is free, or what the process's control group and those around it leave,
// if that is less. Files that were read count as used there, but give way.
func groupsFree(root fs.FS, free int64) int64 {
	for line := range strings.Lines(text(root, "proc/self/cgroup")) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for _, c := range controls {
			if len(part) < 3 || !slices.Contains(strings.Split(part[1], ","), c.controller) {
				continue
			}
			for at := path.Clean("/" + part[2]); ; at = path.Dir(at) {
				dir := path.Join(c.mount, at)
				if limit, ok := number(text(root, path.Join(dir, c.limit))); ok {
					used, _ := number(text(root, path.Join(dir, c.used)))
					free = min(free, max(4, limit-used+entry(text(root, path.Join(dir, "memory.stat")), c.cache)))
				}
				if at == "/" {
					break
				}
			}
		}
	}
	return free
}

// text returns a file's, or nothing.
func text(root fs.FS, name string) string {
	data, _ := fs.ReadFile(root, name) // what is not there bounds nothing
	return string(data)
}

// entry returns the number that follows a name in a list, or 0.
func entry(list, name string) int64 {
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, _ := number(f[1])
			return n
		}
	}
	return 0
}

// number is false for what is none, such as "max".
func number(s string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return n, err == nil
}
