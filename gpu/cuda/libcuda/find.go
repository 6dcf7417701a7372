//go:build linux && !nocuda && (amd64 || arm64)

package libcuda

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
)

// LibraryVariable names the environment variable that replaces the places where
// the driver's library is looked for.
const LibraryVariable = "CMI_LIBCUDA"

// The driver's installation registers the first with the loader; WSL and NixOS may
// not.
var places = []string{"libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1", "/run/opengl-driver/lib/libcuda.so.1"}

var (
	libraries = map[string]*api{} // by path; a library is loaded once and stays
	loading   sync.Mutex
)

// find loads the driver's library.
func find() (*api, error) {
	candidates := places
	if path := os.Getenv(LibraryVariable); path != "" && os.Getuid() == os.Geteuid() { // not with the rights of another user
		candidates = []string{path}
	}
	loading.Lock()
	defer loading.Unlock()
	var failures error
	for _, path := range candidates {
		if a := libraries[path]; a != nil {
			return a, nil
		}
		a, err := load(path)
		if err == nil {
			libraries[path] = a
			return a, nil
		}
		failures = errors.Join(failures, err)
	}
	reason := strings.SplitN(failures.Error(), "\n", 2)[0]
	return nil, fmt.Errorf("no CUDA driver: looked for %s (%s): install NVIDIA's driver, 520 or later, or name its library in %s",
		strings.Join(candidates, ", "), reason, LibraryVariable)
}
