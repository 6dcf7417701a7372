//go:build linux

package cuda

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/ebitengine/purego"
)

type trial struct{ from, to *float32 }

type trialLibrary struct {
	launch func(name string, gx, gy, gz, bx, by, bz, shared uint32, p *trial) int32
}

func loadTrial(t *testing.T) *trialLibrary {
	compiler := os.Getenv("CXX")
	if compiler == "" {
		compiler = "g++"
	}
	if _, err := exec.LookPath(compiler); err != nil {
		t.Skip("needs a C++ compiler: install g++, or name one in CXX")
	}
	path := filepath.Join(t.TempDir(), "trial.so")
	out, err := exec.Command(compiler, "-std=c++17", "-O2", "-fPIC", "-shared", "-ffp-contract=off", "-Wall", "-o", path, "emu/emu.cpp", "-x", "c++", "emu/testdata/trial.cu").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		t.Fatal(err)
	}
	l := &trialLibrary{}
	purego.RegisterLibFunc(&l.launch, handle, "emu_launch")
	return l
}

// The emulation finds what a GPU would do wrong silently, and multiplies as tensor
// cores do.
func TestEmulation(t *testing.T) {
	l := loadTrial(t)
	values := make([]float32, 512)
	for i := range values {
		values[i] = float32(i*i%23) - 11 // small integers: all products and sums are exact
	}
	run := func(name string, threads, shared int) ([]float32, int32) {
		to := make([]float32, 256)
		code := l.launch(name, 1, 1, 1, uint32(threads), 1, 1, uint32(shared), &trial{unsafe.SliceData(values), unsafe.SliceData(to)})
		return to, code
	}
	for _, c := range []struct {
		name            string
		threads, shared int
		want            int32
	}{
		{"lost_barrier", 64, 0, 3}, {"torn_warp", 64, 0, 3}, {"crooked_copy", 32, 256, 3}, {"far_copy", 32, 256, 3}, {"plain_barrier", 32, 0, 3},
		{"no_such_kernel", 32, 0, 1}, {"lost_barrier", 128, 0, 2}, {"lost_barrier", 48, 0, 2}, {"lost_barrier", 64, 1 << 20, 4},
		{"sum_of_block", 256, 256, 0}, // after all those failures
	} {
		if _, code := run(c.name, c.threads, c.shared); code != c.want {
			t.Errorf("%s with %d threads and %d bytes: %d, want %d", c.name, c.threads, c.shared, code, c.want)
		}
	}
	to, code := run("hasty_copy", 32, 256)
	if code != 0 || to[0] == to[0] || to[1] == to[1] || to[2] != values[0] || to[3] != 0 {
		t.Errorf("a copy gave %v (code %d), want NaN before it is waited for, then %v, and 0", to[:4], code, values[0])
	}
	to, _ = run("sum_of_block", 256, 256)
	var sum float32
	for _, v := range values[:256] {
		sum += v
	}
	for i, v := range to {
		if v != sum {
			t.Fatalf("thread %d has the sum %v, want %v", i, v, sum)
		}
	}
	for _, c := range []struct {
		name  string
		depth int
	}{{"product_tf32", 8}, {"product_bf16", 16}} {
		a, b := values[:16*c.depth], values[16*c.depth:]
		old := b[8*c.depth:]
		to, code := run(c.name, 32, 0)
		for i := range 16 {
			for j := range 8 {
				want := old[i*8+j]
				for k := range c.depth {
					want += a[i*c.depth+k] * b[k*8+j]
				}
				if to[i*8+j] != want || code != 0 {
					t.Fatalf("%s[%d][%d] = %v (code %d), want %v", c.name, i, j, to[i*8+j], code, want)
				}
			}
		}
	}
	// Factors are rounded to 11 bits, and sums are cut off rather than rounded.
	clear(values)
	values[0], values[128], values[192] = 1, 1+float32(math.Ldexp(1, -12)), 0
	if to, _ := run("product_tf32", 32, 0); to[0] != 1 {
		t.Errorf("1·(1 + 2⁻¹²) is %v in TF32, want 1", to[0])
	}
	values[0], values[128], values[192] = float32(math.Ldexp(1, -24)), 1.5, 1
	if to, _ := run("product_tf32", 32, 0); to[0] != 1 {
		t.Errorf("1 + 1.5·2⁻²⁴ is %v, want 1: cut off", to[0])
	}
}
