//go:build linux && !nocuda && (amd64 || arm64)

package fakecuda

import (
	"strings"

	"github.com/ebitengine/purego"
)

// Control is how a test steers the library and asks it what it saw.
type Control struct {
	fail       func(n int64, result int32)
	calls      func(name string) int64
	live       func() int64
	violations func(to *byte, size int32) int32
	layout     func(kernel string) string
}

// Open loads the library for its control. A binding that opens the same path gets
// the same library.
func Open(path string) (*Control, error) {
	lib, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	c := &Control{}
	for name, to := range map[string]any{
		"fakecuda_fail": &c.fail, "fakecuda_calls": &c.calls, "fakecuda_live": &c.live,
		"fakecuda_violations": &c.violations, "emu_layout": &c.layout,
	} {
		symbol, err := purego.Dlsym(lib, name)
		if err != nil {
			return nil, err
		}
		purego.RegisterFunc(to, symbol)
	}
	return c, nil
}

// Fail lets the n-th call from now fail with a CUresult; 0 takes that back.
func (c *Control) Fail(n, result int) { c.fail(int64(n), int32(result)) }

// Calls returns how often a function was called, of all of them for "".
func (c *Control) Calls(name string) int { return int(c.calls(name)) }

// Live returns how many contexts, handles and pieces of memory there are.
func (c *Control) Live() int { return int(c.live()) }

// Violations returns the things that no correct program does, since it was last asked.
func (c *Control) Violations() []string {
	text := make([]byte, 64<<10)
	if c.violations(&text[0], int32(len(text))) == 0 {
		return nil
	}
	all, _, _ := strings.Cut(string(text), "\x00")
	return strings.Split(strings.TrimSpace(all), "\n")
}

// Layout names the fields of a kernel's parameters: "name offset size", a line each.
func (c *Control) Layout(kernel string) string { return c.layout(kernel) }
