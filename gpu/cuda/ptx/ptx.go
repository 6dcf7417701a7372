// Package ptx holds the kernels of gpu/cuda as PTX, NVIDIA's portable assembly,
// which the driver compiles for the GPU at hand. `make ptx` makes the files; no
// toolkit is needed to build with them or to run them.
package ptx

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

//go:embed *.ptx
var embedded embed.FS

// Module is one PTX file: some kernels that are loaded together.
type Module struct {
	Name    string // the kernel file's: "conv" of conv.cu
	Text    string
	Kernels []Kernel
}

// Kernel is an entry of a module. Its one parameter is a structure.
type Kernel struct {
	Name       string
	Parameters int // the structure's size in bytes
}

// Modules are the embedded ones for a GPU of that compute capability.
func Modules(major, minor int) ([]Module, error) { return choose(embedded, major, minor) }

// A file NAME.ptx runs on every GPU from 8.0 on. NAME.sm_90a.ptx takes its place on
// 9.0: it holds instructions that no other GPU has, not even newer ones.
const special = ".sm_90a"

var entry = regexp.MustCompile(`\.entry\s+(\w+)\s*\(\s*\.param\s+\.align\s+\d+\s+\.b8\s+\w+\[(\d+)\]\s*\)`)

func choose(files fs.FS, major, minor int) ([]Module, error) {
	if major < 8 {
		return nil, fmt.Errorf("compute capability %d.%d: 8.0 (A100) or newer is wanted", major, minor)
	}
	names, err := fs.Glob(files, "*.ptx")
	if err != nil {
		return nil, err
	}
	var all []Module
	for _, file := range names {
		name := strings.TrimSuffix(file, ".ptx")
		base, isSpecial := strings.CutSuffix(name, special)
		wants := major == 9 && minor == 0
		if isSpecial && !wants {
			continue
		}
		if !isSpecial && wants {
			if _, err := fs.Stat(files, base+special+".ptx"); err == nil {
				continue
			}
		}
		text, err := fs.ReadFile(files, file)
		if err != nil {
			return nil, err
		}
		m := Module{Name: base, Text: string(text)}
		for _, e := range entry.FindAllStringSubmatch(m.Text, -1) {
			size, err := strconv.Atoi(e[2])
			if err != nil {
				return nil, fmt.Errorf("%s: parameters of %s: %w", file, e[1], err)
			}
			m.Kernels = append(m.Kernels, Kernel{e[1], size})
		}
		if all := strings.Count(m.Text, ".entry "); all != len(m.Kernels) {
			return nil, fmt.Errorf("%s: %d of its %d kernels take one structure, all are wanted to", file, len(m.Kernels), all)
		}
		all = append(all, m)
	}
	return all, nil
}
