// Command ptx compiles the CUDA kernels of gpu/cuda to the PTX that is embedded,
// with the NVRTC of a pinned toolkit; it needs no GPU and fetches nothing.
//
//	ptx build  writes gpu/cuda/ptx/*.ptx.gz
//	ptx check  compiles again and compares every byte of the PTX
//	ptx report assembles the PTX for sm_80 and sm_90, fails if a kernel spills, and
//	           writes registers and shared memory into docs/performance-cuda.md
//
// The toolkit is a folder into which pip has put the wheels of NVRTC, of the
// headers and of ptxas; see the Makefile.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cmi-diffusion/cmi/gpu/cuda/ptx"
	"github.com/cmi-diffusion/cmi/gpu/cuda/ptx/recipe"
)

// options are the folders, relative to the repository's root.
type options struct{ toolkit, sources, out, doc string }

func main() {
	var o options
	flag.StringVar(&o.toolkit, "toolkit", "out/cuda-11.8", "`DIR` with the toolkit's wheels")
	flag.StringVar(&o.sources, "sources", "gpu/cuda", "`DIR` of the kernels")
	flag.StringVar(&o.out, "ptx", "gpu/cuda/ptx", "`DIR` of the PTX")
	flag.StringVar(&o.doc, "doc", "docs/performance-cuda.md", "`FILE` that holds the report; - prints it")
	flag.Parse()
	commands := map[string]func(options) error{"build": build, "check": check, "report": report}
	run := commands[flag.Arg(0)]
	if run == nil || flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "ptx: build, check or report is wanted")
		os.Exit(2)
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "ptx:", err)
		os.Exit(1)
	}
}

// compileAll gives the PTX of every kernel file, by the PTX file's name.
func compileAll(o options) (map[string]string, error) {
	n, err := openNVRTC(o.toolkit)
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(o.sources, "*.cu"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no kernels in %s", o.sources)
	}
	all := map[string]string{}
	for _, file := range files {
		text, err := compile(n, o, file)
		if err != nil {
			return nil, err
		}
		all[strings.TrimSuffix(filepath.Base(file), ".cu")+ptx.Suffix] = text
	}
	return all, nil
}

// compile gives the PTX of one kernel file with the comment that names its recipe.
//
// NVRTC 11.8 does not always give the same text: about one compile in ten of conv_f32.cu names its registers
// otherwise, even at fixed addresses (setarch -R). So the file that is there is taken as made from its source if
// one of a few compiles gives it byte for byte; else the result is the last compile's text.
func compile(n *nvrtc, o options, file string) (string, error) {
	name := filepath.Base(file)
	made, err := recipe.Of(os.DirFS(o.sources), name)
	if err != nil {
		return "", err
	}
	there, _ := ptx.Read(os.DirFS(o.out), strings.TrimSuffix(name, ".cu")+ptx.Suffix) // a missing file equals no text
	whole := ""
	for range 20 {
		text, err := n.compile(file, o.sources)
		if err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		whole = made.Comment() + text
		if !made.Made(whole) {
			return "", fmt.Errorf("%s: this NVRTC is not %s", o.toolkit, recipe.Compiler)
		}
		if whole == there || !made.Made(there) {
			break
		}
	}
	return whole, nil
}

// existing returns the PTX files that are there.
func existing(o options) ([]string, error) { return fs.Glob(os.DirFS(o.out), "*"+ptx.Suffix) }

func build(o options) error {
	all, err := compileAll(o)
	if err != nil {
		return err
	}
	old, err := existing(o)
	if err != nil {
		return err
	}
	for _, name := range old {
		if all[name] == "" {
			if err := os.Remove(filepath.Join(o.out, name)); err != nil {
				return err
			}
		}
	}
	size := 0
	for name, text := range all {
		file := ptx.Compress(text)
		size += len(file)
		if old, err := ptx.Read(os.DirFS(o.out), name); err == nil && old == text {
			continue // another version of Go may compress to other bytes
		}
		if err := os.WriteFile(filepath.Join(o.out, name), file, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%d PTX files, %d KiB\n", len(all), size>>10)
	return nil
}

func check(o options) error {
	all, err := compileAll(o)
	if err != nil {
		return err
	}
	var failures error
	old, err := existing(o)
	if err != nil {
		return err
	}
	for _, name := range old {
		if all[name] == "" {
			failures = errors.Join(failures, fmt.Errorf("%s comes from no kernel file", name))
		}
	}
	for name, want := range all {
		got, err := ptx.Read(os.DirFS(o.out), name)
		if err != nil {
			failures = errors.Join(failures, err)
		} else if got != want {
			failures = errors.Join(failures, fmt.Errorf("%s is not what its sources compile to", name))
		}
	}
	if failures != nil {
		return fmt.Errorf("%w\nrun `make ptx`", failures)
	}
	fmt.Printf("%d PTX files are byte for byte what their sources compile to\n", len(all))
	return nil
}
