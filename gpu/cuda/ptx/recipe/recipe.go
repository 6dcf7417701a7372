// Package recipe says what a PTX file is made of: sources, options and compiler.
package recipe

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Compiler is the version of NVRTC that makes the PTX. 11.8 writes ISA 7.8, which
// every driver from 520 on takes.
const Compiler = "11.8.89"

// Options are what NVRTC is given, the include paths apart.
var Options = []string{"--gpu-architecture=compute_80", "--std=c++17"}

// Recipe is everything that decides a PTX file's bytes: its sources, the options
// and the compiler. Each file names the recipe it was made by.
type Recipe struct {
	Sources []string // the .cu file, then the headers of this repository that it includes
	Sum     string   // SHA-256 of all of it, in hex
}

var include = regexp.MustCompile(`(?m)^[ \t]*#[ \t]*include[ \t]*"([^"]+)"`)

// Of returns the recipe of a kernel file in the folder of the sources. Headers of
// the emulator never reach NVRTC and are left out.
func Of(sources fs.FS, file string) (Recipe, error) {
	var r Recipe
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%q\n", Compiler, Options)
	for queue := []string{file}; len(queue) > 0; queue = queue[1:] {
		name := queue[0]
		if slices.Contains(r.Sources, name) {
			continue
		}
		text, err := fs.ReadFile(sources, name)
		if err != nil {
			return r, err
		}
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		fmt.Fprintf(sum, "%s %d\n%s", name, len(text), text)
		r.Sources = append(r.Sources, name)
		for _, m := range include.FindAllSubmatch(text, -1) {
			if header := path.Join(path.Dir(name), string(m[1])); !strings.HasPrefix(header, "emu/") {
				queue = append(queue, header)
			}
		}
	}
	r.Sum = hex.EncodeToString(sum.Sum(nil))
	return r, nil
}

// Comment returns what stands before the PTX that the recipe makes.
func (r Recipe) Comment() string {
	return fmt.Sprintf("// Made by `make ptx` from %s.\n// Recipe %s\n", strings.Join(r.Sources, ", "), r.Sum)
}

// Made says whether the text is what the recipe makes, as far as its comments tell.
func (r Recipe) Made(text string) bool {
	return strings.HasPrefix(text, r.Comment()) && strings.Contains(text, "V"+Compiler)
}
