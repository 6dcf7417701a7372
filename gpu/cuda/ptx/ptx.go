// Package ptx holds the kernels of gpu/cuda as PTX, NVIDIA's portable assembly,
// which the driver compiles for the GPU at hand. `make ptx` makes the files, which are
// compressed; no toolkit is needed to build with them or to run them.
package ptx

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

//go:embed *.ptx.gz
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

// Modules returns the embedded ones for a GPU of that compute capability.
func Modules(major, minor int) ([]Module, error) { return choose(embedded, major, minor) }

// Suffix ends the name of a PTX file.
const Suffix = ".ptx.gz"

// Read gives a PTX file's text.
func Read(files fs.FS, name string) (string, error) {
	f, err := files.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return string(text), nil
}

// Compress makes a PTX file of a text.
func Compress(text string) []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // a level that exists
	z.Write([]byte(text))                                 // to memory: never fails
	z.Close()
	return b.Bytes()
}

// A file NAME.ptx.gz runs on every GPU from 8.0 on. NAME.sm_90a.ptx.gz takes its place on
// 9.0: it holds instructions that no other GPU has, not even newer ones.
const special = ".sm_90a"

var entry = regexp.MustCompile(`\.entry\s+(\w+)\s*\(\s*\.param\s+\.align\s+\d+\s+\.b8\s+\w+\[(\d+)\]\s*\)`)

func choose(files fs.FS, major, minor int) ([]Module, error) {
	if major < 8 {
		return nil, fmt.Errorf("compute capability %d.%d: 8.0 (A100) or newer is wanted", major, minor)
	}
	names, err := fs.Glob(files, "*"+Suffix)
	if err != nil {
		return nil, err
	}
	var all []Module
	for _, file := range names {
		name := strings.TrimSuffix(file, Suffix)
		base, isSpecial := strings.CutSuffix(name, special)
		wants := major == 9 && minor == 0
		if isSpecial && !wants {
			continue
		}
		if !isSpecial && wants {
			if _, err := fs.Stat(files, base+special+Suffix); err == nil {
				continue
			}
		}
		text, err := Read(files, file)
		if err != nil {
			return nil, err
		}
		m := Module{Name: base, Text: text}
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
