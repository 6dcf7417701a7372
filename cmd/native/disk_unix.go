//go:build linux || darwin || freebsd

package main

import "golang.org/x/sys/unix"

// diskFree returns the bytes that can still be written to a folder; 0 where that is unknown.
func diskFree(dir string) int64 {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return 0
	}
	return int64(s.Bavail) * int64(s.Bsize)
}
