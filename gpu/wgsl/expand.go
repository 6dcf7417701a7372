package wgsl

import (
	"embed"
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// The kernels are WGSL with a little text substitution, because natively the
// compiler takes no constants of a pipeline and folds no constant arithmetic. (In the
// browser's program text/template would take 585 kB, and go/parser for expressions
// 90 kB, of 1.3 MB allowed.) A line that begins with # directs it:
//
//	#include NAME     the text of NAME.wgsl
//	#entry NAME       what follows belongs to this entry point alone
//	#if EXPRESSION    up to #else or #end, where it is not 0
//	#for V < COUNT    up to #end, once for each V from 0
//
// A line that begins with enable is put before all others, where WGSL wants it.
// ${EXPRESSION} is a number, see expression.go; $x is the array that holds the
// argument x, or the text that the call has for x.

//go:embed *.wgsl
var kernelFiles embed.FS

func kernelText(name string) (string, error) {
	text, err := kernelFiles.ReadFile(name + ".wgsl")
	return string(text), err
}

// expansion is the state of one substitution.
type expansion struct {
	entry   string
	ints    map[string]int
	arrays  map[string]string
	head    strings.Builder // directives of WGSL
	out     strings.Builder
	skipped bool // inside another entry point
}

// expand returns the text of one entry point of a kernel: what must come first, and the
// rest.
func expand(kernel, entry string, ints map[string]int, arrays map[string]string) (head, body string, err error) {
	text, err := kernelText(kernel)
	if err != nil {
		return "", "", err
	}
	e := expansion{entry: entry, ints: maps.Clone(ints), arrays: arrays}
	if e.ints == nil {
		e.ints = map[string]int{}
	}
	if err := e.lines(strings.Split(text, "\n")); err != nil {
		return "", "", fmt.Errorf("%s.wgsl: %w", kernel, err)
	}
	return e.head.String(), e.out.String(), nil
}

func (e *expansion) lines(lines []string) error {
	for i := 0; i < len(lines); i++ {
		word, rest, _ := strings.Cut(strings.TrimSpace(lines[i]), " ")
		if word == "#entry" {
			e.skipped = rest != e.entry
			continue
		}
		if e.skipped {
			continue
		}
		var err error
		switch {
		case word == "#include":
			var text string
			if text, err = kernelText(rest); err == nil {
				err = e.lines(strings.Split(text, "\n"))
			}
		case word == "#if" || word == "#for":
			middle, end := closing(lines, i)
			if end == len(lines) {
				return fmt.Errorf("line %d: no #end", i+1)
			}
			err = e.block(word, rest, lines[i+1:middle], lines[min(middle+1, end):end])
			i = end
		case word == "enable":
			e.head.WriteString(lines[i] + "\n")
		case !strings.HasPrefix(word, "//"):
			err = e.line(lines[i])
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return nil
}

// closing finds the #else, or else the #end, and the #end of the block that line
// from opens.
func closing(lines []string, from int) (middle, end int) {
	depth, middle := 0, -1
	for i := from; i < len(lines); i++ {
		switch word, _, _ := strings.Cut(strings.TrimSpace(lines[i]), " "); word {
		case "#if", "#for":
			depth++
		case "#else":
			if depth == 1 {
				middle = i
			}
		case "#end":
			if depth--; depth == 0 {
				if middle < 0 {
					middle = i
				}
				return middle, i
			}
		}
	}
	return len(lines), len(lines)
}

func (e *expansion) block(word, rest string, body, otherwise []string) error {
	if word == "#if" {
		v, err := evaluate(rest, e.ints)
		switch {
		case err != nil:
			return err
		case v != 0:
			return e.lines(body)
		default:
			return e.lines(otherwise)
		}
	}
	name, limit, ok := strings.Cut(rest, "<")
	if !ok {
		return fmt.Errorf("#for %s: want V < COUNT", rest)
	}
	name = strings.TrimSpace(name)
	count, err := evaluate(limit, e.ints)
	if err != nil {
		return err
	}
	for v := range count {
		e.ints[name] = v
		if err := e.lines(body); err != nil {
			return err
		}
	}
	delete(e.ints, name)
	return nil
}

// line substitutes first ${…}, then $name.
func (e *expansion) line(s string) error {
	for {
		before, after, found := strings.Cut(s, "${")
		expr, rest, closed := strings.Cut(after, "}")
		if !found {
			break
		}
		if !closed {
			return fmt.Errorf("no } after ${%s", after)
		}
		v, err := evaluate(expr, e.ints)
		if err != nil {
			return err
		}
		s = before + strconv.Itoa(v) + rest
	}
	for {
		before, after, found := strings.Cut(s, "$")
		e.out.WriteString(before)
		if !found {
			break
		}
		n := 0
		for n < len(after) && (letter(after[n]) || digit(after[n])) {
			n++
		}
		array, ok := e.arrays[after[:n]]
		if !ok {
			return fmt.Errorf("no argument $%s", after[:n])
		}
		e.out.WriteString(array)
		s = after[n:]
	}
	e.out.WriteByte('\n')
	return nil
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }
