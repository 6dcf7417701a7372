package recipe

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A change of anything that a PTX file depends on changes its recipe; what it does
// not depend on doesn't.
func TestRecipe(t *testing.T) {
	base := func() fstest.MapFS {
		return fstest.MapFS{
			"a.cu":       {Data: []byte("#include \"warp.h\"\n  #include \"emu/emu.h\"\n#include <cuda_bf16.h>\nkernel")},
			"warp.h":     {Data: []byte("#include \"deep.h\"\n")},
			"deep.h":     {Data: []byte("#include \"warp.h\"\n")},
			"emu/emu.h":  {Data: []byte("host")},
			"unused.h":   {Data: []byte("x")},
			"another.cu": {Data: []byte("y")},
		}
	}
	sum := func(files fstest.MapFS) string {
		t.Helper()
		r, err := Of(files, "a.cu")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(r.Sources, []string{"a.cu", "warp.h", "deep.h"}) {
			t.Fatalf("sources %v", r.Sources)
		}
		return r.Sum
	}
	want := sum(base())
	for name := range base() {
		files := base()
		files[name].Data = append(files[name].Data, '\n')
		changes := sum(files) != want
		if used := name == "a.cu" || name == "warp.h" || name == "deep.h"; changes != used {
			t.Errorf("%s: the recipe changes %v, want %v", name, changes, used)
		}
	}
	saved := Options
	Options = append(slices.Clone(Options), "--fmad=false")
	if sum(base()) == want {
		t.Error("options don't change the recipe")
	}
	Options = saved
	r, _ := Of(base(), "a.cu")
	good := r.Comment() + "// Cuda compilation tools, release 11.8, V" + Compiler + "\n"
	if !r.Made(good) || r.Made(strings.Replace(good, Compiler, "12.1.105", 1)) || r.Made(good[1:]) {
		t.Error("a file's comments are not judged")
	}
	if _, err := Of(fstest.MapFS{"a.cu": {Data: []byte("#include \"gone.h\"")}}, "a.cu"); err == nil {
		t.Error("a missing header is no error")
	}
}
