package main

import (
	"strings"
	"testing"
)

const verbose = `ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'silu' for 'sm_80'
ptxas info    : Function properties for silu
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 30 registers, 456 bytes cmem[0]
ptxas info    : Compiling entry function 'norm' for 'sm_80'
ptxas info    : Function properties for norm
    8 bytes stack frame, 12 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 255 registers, 1024 bytes smem, 456 bytes cmem[0]
`

func TestParse(t *testing.T) {
	got, err := parse("a.ptx.gz", verbose)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].kernel != "silu" || got[0].registers != 30 || got[0].shared != 0 || got[0].spill != 0 ||
		got[1].kernel != "norm" || got[1].registers != 255 || got[1].shared != 1024 || got[1].spill != 16 {
		t.Errorf("read %+v", got)
	}
	for _, missing := range []string{"bytes spill stores", "registers"} {
		if _, err := parse("a.ptx.gz", strings.ReplaceAll(verbose, missing, "things")); err == nil {
			t.Errorf("output without %q is taken", missing)
		}
	}
}

func TestReplaceBetween(t *testing.T) {
	got, err := replaceBetween("a\n<b>\nold\n<e>\nz\n", "<b>", "<e>", "new\n")
	if want := "a\n<b>\nnew\n<e>\nz\n"; got != want || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := replaceBetween("a", "<b>", "<e>", ""); err == nil {
		t.Error("a document without the place is taken")
	}
}

// Every kernel is launched in the paper run, within what a block may have.
func TestLaunches(t *testing.T) {
	most, err := launches()
	if err != nil {
		t.Fatal(err)
	}
	if len(most) < 40 {
		t.Errorf("only %d kernels are launched", len(most))
	}
	for name, l := range most {
		if l.threads < 32 || l.threads > 1024 || l.shared > 163<<10 {
			t.Errorf("%s: %+v", name, l)
		}
	}
}
