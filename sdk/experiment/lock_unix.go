//go:build linux || darwin || freebsd || netbsd || openbsd

package experiment

import (
	"os"
	"syscall"
)

const noFollow = syscall.O_NOFOLLOW

// lock locks an open file until it is closed. It is not free where another one has its lock.
func lock(f *os.File) (free bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == syscall.EWOULDBLOCK {
		return false, nil
	}
	return err == nil, err
}
