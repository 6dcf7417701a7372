//go:build linux

// Package fakecuda builds a stand-in for NVIDIA's libcuda.so.1 for tests: it checks
// every call of a binding, can let any of them fail, and runs the kernels in the
// emulator, on the processor. It needs a C++ compiler and no GPU.
//
// The environment of a test sets what it pretends to be: FAKECUDA_DEVICES,
// FAKECUDA_MEMORY_MIB, FAKECUDA_CAPABILITY (80), FAKECUDA_VERSION (12040).
package fakecuda

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// ErrNoCompiler says that there is nothing to build with.
var ErrNoCompiler = errors.New("the fake CUDA driver needs a C++ compiler: install g++ or clang++, or name one in CXX")

// IncludeVariable names a folder with NVIDIA's cuda.h. With it the compiler checks
// every signature of the fake driver.
const IncludeVariable = "CMI_CUDA_INCLUDE"

var flags = []string{"-std=c++17", "-O2", "-fPIC", "-fvisibility=default", "-Wall", "-ffp-contract=off"}

// Library builds the library and gives its path. root is the folder gpu/cuda. What
// was built before from the same sources is taken from the user's cache folder.
func Library(root string) (string, error) {
	compiler, version, err := findCompiler()
	if err != nil {
		return "", err
	}
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	unlock, err := lockFolder(cache)
	if err != nil {
		return "", err
	}
	defer unlock()

	var sources, headers []string
	for _, pattern := range []string{"*.cu", "emu/*.cpp", "fakecuda/driver/*.cpp"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return "", err
		}
		sources = append(sources, found...)
	}
	for _, pattern := range []string{"*.h", "emu/*.h", "fakecuda/driver/*.h"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return "", err
		}
		headers = append(headers, found...)
	}
	arguments := slices.Clone(flags)
	if include := os.Getenv(IncludeVariable); include != "" {
		arguments = append(arguments, "-I"+include)
	}
	base, err := sum(append(arguments, compiler, version), headers)
	if err != nil {
		return "", err
	}
	objects, err := compileAll(compiler, arguments, base, cache, sources)
	if err != nil {
		return "", err
	}
	name, err := sum(objects, nil)
	if err != nil {
		return "", err
	}
	library := filepath.Join(cache, name+".so")
	if _, err := os.Stat(library); err == nil {
		return library, nil
	}
	return library, execute(library, compiler, append([]string{"-shared"}, objects...)...)
}

// compileAll makes an object of each source, as many at a time as there are
// processors.
func compileAll(compiler string, arguments []string, base, cache string, sources []string) ([]string, error) {
	objects, failures := make([]string, len(sources)), make([]error, len(sources))
	turns := make(chan struct{}, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for i, source := range sources {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			name, err := sum([]string{base}, []string{source})
			objects[i], failures[i] = filepath.Join(cache, name+".o"), err
			if _, statErr := os.Stat(objects[i]); err != nil || statErr == nil {
				return
			}
			failures[i] = execute(objects[i], compiler, append(slices.Clone(arguments), "-c", "-x", "c++", source)...)
		})
	}
	all.Wait()
	return objects, errors.Join(failures...)
}

// execute runs the compiler; its output appears under its name when it is whole.
func execute(output, compiler string, arguments ...string) error {
	part := output + ".part"
	text, err := exec.Command(compiler, append(arguments, "-o", part)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", compiler, strings.Join(arguments, " "), err, text)
	}
	return os.Rename(part, output)
}

func findCompiler() (path, version string, err error) {
	names := []string{"g++", "clang++"}
	if named := os.Getenv("CXX"); named != "" {
		names = []string{named}
	}
	for _, name := range names {
		text, err := exec.Command(name, "--version").Output()
		if err == nil {
			return name, string(text), nil
		}
	}
	return "", "", ErrNoCompiler
}

// sum returns a hash of texts and of files with their names.
func sum(texts, files []string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%q", texts)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", filepath.Base(file), len(content), content)
	}
	return hex.EncodeToString(h.Sum(nil))[:24], nil
}

func cacheFolder() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	folder := filepath.Join(base, "cmi-fakecuda")
	return folder, os.MkdirAll(folder, 0o755)
}

// lockFolder keeps other test processes from building the same.
func lockFolder(folder string) (unlock func() error, err error) {
	f, err := os.Create(filepath.Join(folder, "lock"))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}
