// Notices prints the licences of what the programs contain and did not come from
// here: Go, the modules of every build, libraries inside them, weights.
//
//	go run ./tools/notices > NOTICE
//	go run ./tools/notices ./wasm/engine                            # of one program
//	go run ./tools/notices ./deploy/objects > deploy/objects/NOTICE # of the one in a module of its own
package main

import (
	_ "embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

//go:embed others.txt
var others string

// build is a program that is given to people: settings, the folder of its module, and its package there.
type build struct{ settings, module, program string }

var builds = []build{
	{"GOOS=linux GOARCH=amd64 CGO_ENABLED=1", ".", "./cmd/native"},
	{"GOOS=windows GOARCH=amd64 CGO_ENABLED=1", ".", "./cmd/native"},
	{"GOOS=darwin GOARCH=arm64 CGO_ENABLED=1", ".", "./cmd/native"},
	{"GOOS=js GOARCH=wasm CGO_ENABLED=0", ".", "./wasm/engine"},
}

// objects has notices of its own, because it is a module of its own.
var objects = build{"GOOS=linux GOARCH=amd64", "./deploy/objects", "."}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
}

// modules is path, version and folder of the modules that builds hold, sorted, without this project's.
func modules(builds []build) ([][3]string, error) {
	const format = `{{with .Module}}{{if not (or .Main .Replace)}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}`
	var all [][3]string
	for _, b := range builds {
		c := exec.Command("go", "-C", b.module, "list", "-deps", "-f", format, b.program)
		c.Env = append(os.Environ(), strings.Fields(b.settings)...)
		c.Stderr = os.Stderr
		out, err := c.Output()
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", b.settings, b.program, err)
		}
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) == 3 {
				all = append(all, [3]string(f))
			}
		}
	}
	slices.SortFunc(all, func(a, b [3]string) int { return strings.Compare(a[0], b[0]) })
	return slices.Compact(all), nil
}

var licenceFile = regexp.MustCompile(`(?i)^((third_party_)?licen[cs]es?|copying|notice|patents)([-.].*)?$|^ftl\.txt$`)

// text returns what a module's folder says of its licence, folders of licences included.
func text(dir string) (string, error) {
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, f fs.DirEntry, err error) error {
		within := filepath.Dir(path) != dir // a folder of licences
		known := licenceFile.MatchString(f.Name()) || strings.HasSuffix(f.Name(), "-LICENSE")
		switch {
		case err != nil || path == dir:
			return err
		case f.IsDir() && (within || !known):
			return filepath.SkipDir
		case f.IsDir() || !known:
			return nil
		}
		data, err := os.ReadFile(path)
		for line := range strings.Lines(strings.ReplaceAll(string(data), "\r", "")) {
			all.WriteString(strings.TrimRight("    "+line, " \n") + "\n")
		}
		all.WriteByte('\n')
		return err
	})
	if err == nil && all.Len() == 0 {
		err = fmt.Errorf("%s has no licence", dir)
	}
	return all.String(), err
}

func run() error {
	wanted, others := builds, others
	switch {
	case len(os.Args) == 1:
	case os.Args[1] == objects.module:
		wanted, others = []build{objects}, "" // no weights in it
	default:
		wanted = slices.DeleteFunc(slices.Clone(builds), func(b build) bool { return b.program != os.Args[1] })
	}
	found, err := modules(wanted)
	if err != nil {
		return err
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	found = slices.Insert(found, 0, [3]string{"Go", "its runtime, standard library and wasm_exec.js", strings.TrimSpace(string(root))})
	fmt.Print("The programs of this repository contain the following works of others, under these terms. Made by `make notices`.\n\n")
	holders := map[string][]string{} // of each text
	var texts []string
	for _, m := range found {
		licence, err := text(m[2])
		if err != nil {
			return err
		}
		if holders[licence] == nil {
			texts = append(texts, licence)
		}
		holders[licence] = append(holders[licence], m[0]+" ("+m[1]+")")
	}
	for _, licence := range texts {
		fmt.Printf("%s:\n\n%s", strings.Join(holders[licence], ",\n"), licence)
	}
	fmt.Print(others)
	return nil
}
