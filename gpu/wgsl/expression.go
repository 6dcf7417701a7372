package wgsl

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// operators of whole numbers, as in Go; those of a higher level bind stronger.
// Comparisons and what joins them are 0 or 1.
var operators = []struct {
	sign  string
	level int
	apply func(a, b int) int
}{
	{"||", 1, func(a, b int) int { return truth(a != 0 || b != 0) }},
	{"&&", 2, func(a, b int) int { return truth(a != 0 && b != 0) }},
	{"==", 3, func(a, b int) int { return truth(a == b) }},
	{"!=", 3, func(a, b int) int { return truth(a != b) }},
	{"<", 3, func(a, b int) int { return truth(a < b) }},
	{"+", 4, func(a, b int) int { return a + b }},
	{"-", 4, func(a, b int) int { return a - b }},
	{"*", 5, func(a, b int) int { return a * b }},
	{"/", 5, func(a, b int) int { return a / b }},
	{"%", 5, func(a, b int) int { return a % b }},
}

func truth(t bool) int {
	if t {
		return 1
	}
	return 0
}

// evaluate computes an expression of whole numbers, names, operators and parentheses.
func evaluate(text string, names map[string]int) (int, error) {
	p := expression{text, names}
	v, err := p.value(1)
	if err == nil && strings.TrimSpace(p.rest) != "" {
		err = fmt.Errorf("unexpected %q", p.rest)
	}
	return v, err
}

// expression is what is left of one.
type expression struct {
	rest  string
	names map[string]int
}

// take removes a sign if it is next.
func (p *expression) take(sign string) (ok bool) {
	p.rest, ok = strings.CutPrefix(strings.TrimLeft(p.rest, " "), sign)
	return ok
}

// value returns an operand with the operators of at least that level after it.
func (p *expression) value(level int) (int, error) {
	a, err := p.operand()
next:
	for err == nil {
		for _, o := range operators {
			if o.level < level || !p.take(o.sign) {
				continue
			}
			var b int
			if b, err = p.value(o.level + 1); err == nil && b == 0 && (o.sign == "/" || o.sign == "%") {
				err = errors.New("division by 0")
			}
			if err == nil {
				a = o.apply(a, b)
			}
			continue next
		}
		break
	}
	return a, err
}

// operand returns a number, a name or an expression in parentheses.
func (p *expression) operand() (int, error) {
	if p.take("(") {
		v, err := p.value(1)
		if err == nil && !p.take(")") {
			err = fmt.Errorf("no ) before %q", p.rest)
		}
		return v, err
	}
	n := 0
	for n < len(p.rest) && (letter(p.rest[n]) || digit(p.rest[n])) {
		n++
	}
	word := p.rest[:n]
	p.rest = p.rest[n:]
	if v, ok := p.names[word]; ok {
		return v, nil
	}
	v, err := strconv.Atoi(word)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", word)
	}
	return v, nil
}
