package ptx

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cmi-diffusion/cmi/gpu/cuda/ptx/recipe"
)

// The PTX in the repository is what its sources, options and compiler make. This
// needs no compiler; .ci/run compiles again and compares bytes.
func TestEveryFileIsMadeByItsSources(t *testing.T) {
	sources := os.DirFS("..")
	kernels, err := fs.Glob(sources, "*.cu")
	if err != nil {
		t.Fatal(err)
	}
	left, err := fs.Glob(embedded, "*"+Suffix)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range kernels {
		made, err := recipe.Of(sources, file)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		name := strings.TrimSuffix(file, ".cu") + Suffix
		text, err := Read(embedded, name)
		if err != nil {
			t.Errorf("%s has no %s: run `make ptx`", file, name)
			continue
		}
		if !made.Made(text) {
			t.Errorf("%s was made from other sources, options or compiler than %v (recipe %s): run `make ptx`", name, made.Sources, made.Sum)
		}
		left = slices.DeleteFunc(left, func(n string) bool { return n == name })
	}
	if len(left) > 0 {
		t.Errorf("%v come from no kernel file: remove them", left)
	}
}

func TestKernelsHaveOnePlace(t *testing.T) {
	modules, err := Modules(8, 0)
	if err != nil {
		t.Fatal(err)
	}
	where := map[string]string{}
	for _, m := range modules {
		if len(m.Kernels) == 0 {
			t.Errorf("%s holds no kernel", m.Name)
		}
		for _, k := range m.Kernels {
			if other, ok := where[k.Name]; ok {
				t.Errorf("kernel %s stands in %s and in %s", k.Name, other, m.Name)
			}
			where[k.Name] = m.Name
		}
	}
	if len(where) == 0 {
		t.Error("no kernels at all")
	}
}

func TestChoiceByCapability(t *testing.T) {
	files := fstest.MapFS{
		"conv.ptx.gz":        {Data: Compress(kernel("conv_forward", 40))},
		"conv.sm_90a.ptx.gz": {Data: Compress(kernel("conv_forward", 40) + "// wgmma")},
		"norm.ptx.gz":        {Data: Compress(kernel("norm_stats", 8) + kernel("norm", 96))},
	}
	for _, c := range []struct {
		major, minor int
		wgmma        bool
	}{{8, 0, false}, {8, 9, false}, {9, 0, true}, {10, 0, false}, {12, 0, false}} {
		got, err := choose(files, c.major, c.minor)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || got[0].Name != "conv" || got[1].Name != "norm" {
			t.Fatalf("%d.%d: modules %v", c.major, c.minor, got)
		}
		if strings.Contains(got[0].Text, "wgmma") != c.wgmma {
			t.Errorf("%d.%d got %q", c.major, c.minor, got[0].Text)
		}
		if !slices.Equal(got[1].Kernels, []Kernel{{"norm_stats", 8}, {"norm", 96}}) {
			t.Errorf("kernels %v", got[1].Kernels)
		}
	}
	if _, err := choose(files, 7, 5); err == nil {
		t.Error("7.5 was given kernels")
	}
	files["old.ptx.gz"] = &fstest.MapFile{Data: Compress(".visible .entry scale(\n\t.param .u64 scale_param_0\n)")}
	if _, err := choose(files, 8, 0); err == nil || !strings.Contains(err.Error(), "old.ptx") {
		t.Errorf("a kernel without a structure: %v", err)
	}
}

// kernel returns the head of one as NVRTC writes it.
func kernel(name string, size int) string {
	return fmt.Sprintf(".visible .entry %s(\n\t.param .align 8 .b8 %s_param_0[%d]\n)\n", name, name, size)
}
