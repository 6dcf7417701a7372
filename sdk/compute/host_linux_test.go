package compute

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
)

// What is free is what the machine has, or the narrowest control group leaves.
func TestGroupsFree(t *testing.T) {
	const machine = 1000 << 10
	tree := func(files map[string]string) fstest.MapFS {
		root := fstest.MapFS{"proc/meminfo": {Data: []byte("MemTotal: 4000 kB\nMemFree: 10 kB\nMemAvailable:   1000 kB\n")}}
		for name, data := range files {
			root[name] = &fstest.MapFile{Data: []byte(data)}
		}
		return root
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"none": {nil, machine},
		"version 2": {map[string]string{"proc/self/cgroup": "0::/user/job\n", "sys/fs/cgroup/user/job/memory.max": "5000\n",
			"sys/fs/cgroup/user/job/memory.current": "2000\n", "sys/fs/cgroup/user/job/memory.stat": "anon 1\ninactive_file 300\n"}, 3300},
		"one around it": {map[string]string{"proc/self/cgroup": "0::/user/job\n", "sys/fs/cgroup/user/job/memory.max": "max\n",
			"sys/fs/cgroup/user/memory.max": "4000\n", "sys/fs/cgroup/user/memory.current": "1000"}, 3000},
		"a container's": {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "4000\n"}, 4000},
		"version 1": {map[string]string{"proc/self/cgroup": "5:cpu,cpuacct:/a\n4:memory:/job\n0::/\n", "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "9000\n",
			"sys/fs/cgroup/memory/job/memory.usage_in_bytes": "8000\n", "sys/fs/cgroup/memory/job/memory.stat": "inactive_file 1\ntotal_inactive_file 5\n"}, 1005},
		"another controller": {map[string]string{"proc/self/cgroup": "4:memory:/job\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, machine},
		"used up":            {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "4000\n", "sys/fs/cgroup/memory.current": "4100\n"}, 4},
		"damaged":            {map[string]string{"proc/self/cgroup": "0\n\n:\n", "sys/fs/cgroup/memory.max": "4000\n"}, machine},
	} {
		root := tree(c.files)
		assert.Equal(t, c.want, groupsFree(root, availableMemory(root)), name)
	}
	assert.Positive(t, HostMemory())
}
