//go:build linux || darwin || freebsd || netbsd || openbsd

package experiment

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Lock takes a file's lock, which ends with the process however that ends.
func Lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if err == syscall.EWOULDBLOCK {
			return nil, fmt.Errorf("%s is in use by another run", filepath.Dir(path))
		}
		return nil, fmt.Errorf("%s can't be locked: %w", path, err)
	}
	return func() { f.Close() }, nil
}
