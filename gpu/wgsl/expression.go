package wgsl

import (
	"fmt"
	"strconv"
	"strings"
)

// evaluate computes an expression of whole numbers and names with
//
//	|| && == != < + - * / % ( )
//
// in the usual order; comparisons are 0 or 1.
func evaluate(text string, names map[string]int) (int, error) {
	p := expressionParser{rest: text, names: names}
	v := p.binary(0)
	if p.space(); p.err == nil && p.rest != "" {
		p.fail("unexpected %q", p.rest)
	}
	return v, p.err
}

type expressionParser struct {
	rest  string
	names map[string]int
	err   error
}

func (p *expressionParser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

func (p *expressionParser) space() { p.rest = strings.TrimLeft(p.rest, " ") }

// take removes a prefix if it is there.
func (p *expressionParser) take(word string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, word)
	p.rest = rest
	return ok
}

// operators by rising precedence.
var operators = [][]string{{"||"}, {"&&"}, {"==", "!=", "<"}, {"+", "-"}, {"*", "/", "%"}}

func (p *expressionParser) binary(level int) int {
	if level == len(operators) {
		return p.atom()
	}
	a := p.binary(level + 1)
	for {
		op := ""
		for _, o := range operators[level] {
			if p.take(o) {
				op = o
				break
			}
		}
		if op == "" {
			return a
		}
		a = p.apply(op, a, p.binary(level+1))
	}
}

func (p *expressionParser) apply(op string, a, b int) int {
	truth := func(t bool) int {
		if t {
			return 1
		}
		return 0
	}
	switch op {
	case "||":
		return truth(a != 0 || b != 0)
	case "&&":
		return truth(a != 0 && b != 0)
	case "==":
		return truth(a == b)
	case "!=":
		return truth(a != b)
	case "<":
		return truth(a < b)
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	}
	if b == 0 {
		p.fail("division by 0")
		return 0
	}
	if op == "/" {
		return a / b
	}
	return a % b
}

func (p *expressionParser) atom() int {
	if p.take("(") {
		v := p.binary(0)
		if !p.take(")") {
			p.fail("no ) before %q", p.rest)
		}
		return v
	}
	n := 0
	for n < len(p.rest) && (letter(p.rest[n]) || digit(p.rest[n])) {
		n++
	}
	word := p.rest[:n]
	p.rest = p.rest[n:]
	if v, ok := p.names[word]; ok {
		return v
	}
	v, err := strconv.Atoi(word)
	if err != nil {
		p.fail("%q is no number", word)
	}
	return v
}
