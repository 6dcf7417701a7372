package experiment

import (
	"fmt"
	"os"
	"path/filepath"
)

// Lock takes a file's lock, which ends with the process however that ends. It follows no link,
// which would make the file that the link names.
func Lock(path string) (unlock func(), err error) {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is there and no plain file: remove it", path)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|noFollow, 0o666)
	if err != nil {
		return nil, err
	}
	free, err := lock(f)
	if err != nil {
		err = fmt.Errorf("%s can't be locked: %w", path, err)
	} else if !free {
		err = fmt.Errorf("%s is in use by another run", filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
