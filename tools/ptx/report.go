package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cmi-diffusion/cmi/gpu/cuda/ptx"
)

// architectures are those that the PTX is assembled for, as the driver would.
var architectures = []string{"sm_80", "sm_90"}

// usage is what ptxas says of a kernel.
type usage struct {
	file, kernel             string
	registers, shared, spill int // 32-bit registers a thread; bytes a block; bytes stored and loaded
}

func report(o options) error {
	files, err := existing(o)
	if err != nil {
		return err
	}
	assembled := map[string][]usage{}
	var spills error
	for _, arch := range architectures {
		for _, file := range files {
			kernels, err := assemble(o, arch, file)
			if err != nil {
				return err
			}
			for _, k := range kernels {
				if k.spill > 0 {
					spills = errors.Join(spills, fmt.Errorf("%s: %s spills %d bytes on %s", file, k.kernel, k.spill, arch))
				}
			}
			assembled[arch] = append(assembled[arch], kernels...)
		}
	}
	most, err := launches()
	if err != nil {
		return err
	}
	table := tabulate(assembled, most)
	if o.doc == "-" {
		fmt.Print(table)
		return spills
	}
	doc, err := os.ReadFile(o.doc)
	if err != nil {
		return err
	}
	text, err := replaceBetween(string(doc), "<!-- ptxas -->", "<!-- end of ptxas -->", table)
	if err != nil {
		return fmt.Errorf("%s: %w", o.doc, err)
	}
	return errors.Join(spills, os.WriteFile(o.doc, []byte(text), 0o644))
}

func assemble(o options, arch, file string) ([]usage, error) {
	text, err := ptx.Read(os.DirFS(o.out), file)
	if err != nil {
		return nil, err
	}
	plain, err := os.CreateTemp("", "*.ptx")
	if err != nil {
		return nil, err
	}
	defer os.Remove(plain.Name())
	_, err = plain.WriteString(text)
	if err = errors.Join(err, plain.Close()); err != nil {
		return nil, err
	}
	ptxas := exec.Command(filepath.Join(o.toolkit, "nvidia/cuda_nvcc/bin/ptxas"), "--gpu-name="+arch, "--verbose", "--output-file=/dev/null", plain.Name())
	said, err := ptxas.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", ptxas, err, said)
	}
	return parse(file, string(said))
}

var (
	entryLine  = regexp.MustCompile(`Compiling entry function '(\w+)'`)
	spillLine  = regexp.MustCompile(`(\d+) bytes spill stores, (\d+) bytes spill loads`)
	usageLine  = regexp.MustCompile(`Used (\d+) registers`)
	smemInLine = regexp.MustCompile(`(\d+) bytes smem`)
)

// parse reads what ptxas --verbose says: for each kernel a line that names it, one
// with spills and one with what it uses.
func parse(file, text string) (all []usage, err error) {
	number := func(s string) int {
		v, e := strconv.Atoi(s)
		err = errors.Join(err, e)
		return v
	}
	spillsKnown := false
	for line := range strings.Lines(text) {
		if m := entryLine.FindStringSubmatch(line); m != nil {
			all, spillsKnown = append(all, usage{file: strings.TrimSuffix(file, ptx.Suffix), kernel: m[1], registers: -1}), false
			continue
		}
		if len(all) == 0 {
			continue
		}
		now := &all[len(all)-1]
		if m := spillLine.FindStringSubmatch(line); m != nil {
			now.spill, spillsKnown = number(m[1])+number(m[2]), true
		}
		if m := usageLine.FindStringSubmatch(line); m != nil {
			if !spillsKnown {
				return nil, fmt.Errorf("ptxas tells no spills of %s: another version?", now.kernel)
			}
			now.registers = number(m[1])
			if m := smemInLine.FindStringSubmatch(line); m != nil {
				now.shared = number(m[1])
			}
		}
	}
	for _, k := range all {
		if k.registers < 0 {
			err = errors.Join(err, fmt.Errorf("ptxas tells no registers of %s: another version?", k.kernel))
		}
	}
	return all, err
}

func tabulate(assembled map[string][]usage, most map[string]launch) string {
	var b strings.Builder
	b.WriteString("| kernel | file | threads a block | shared memory, bytes a block |")
	for _, arch := range architectures {
		fmt.Fprintf(&b, " %s: registers | spilled bytes |", arch)
	}
	b.WriteString("\n|---|---|---|---|" + strings.Repeat("---|---|", len(architectures)) + "\n")
	byName := func(a, b usage) int { return cmp.Compare(a.kernel, b.kernel) }
	for _, arch := range architectures {
		slices.SortFunc(assembled[arch], byName)
	}
	for i, k := range assembled[architectures[0]] {
		launched := "not launched | |"
		if l, ok := most[k.kernel]; ok {
			launched = fmt.Sprintf("%d | %d |", l.threads, int(l.shared)+k.shared)
		}
		fmt.Fprintf(&b, "| `%s` | %s.cu | %s", k.kernel, k.file, launched)
		for _, arch := range architectures {
			k := assembled[arch][i]
			fmt.Fprintf(&b, " %d | %d |", k.registers, k.spill)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// replaceBetween puts text between two lines of a document.
func replaceBetween(doc, begin, end, text string) (string, error) {
	head, rest, ok := strings.Cut(doc, begin+"\n")
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", fmt.Errorf("no place for the report between %q and %q", begin, end)
	}
	return head + begin + "\n" + text + end + tail, nil
}
