package cuda

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The table of shared memory in the documentation is the one that the device asks
// for, and the kernels of the default precision leave room for a second block on a
// multiprocessor of an A100 (164 KiB, of which a block takes 1 KiB more than it asks for).
func TestSharedMemory(t *testing.T) {
	const a100 = 164 << 10
	var b strings.Builder
	b.WriteString("| kernel | shared memory a block, bytes | blocks a multiprocessor of an A100 has it for |\n|---|---|---|\n")
	add := func(name string, bytes int) int {
		blocks := a100 / (bytes + 1<<10)
		fmt.Fprintf(&b, "| `%s` | %d | %d |\n", name, bytes, blocks)
		if blocks == 0 {
			t.Errorf("%s: %d bytes of shared memory do not fit", name, bytes)
		}
		return blocks
	}
	for _, p := range []Precision{TF32, BF16, TF32x3, F32} {
		d := &Device{precision: p}
		for _, outs := range []int{128, 32} {
			for _, tile := range []int{32, 16, 8} {
				if n := add(fmt.Sprintf("conv3_%v_%d`, rows of `%d", p, outs, tile), d.convShared(3, tile, outs)); n < 2 && p == TF32 {
					t.Errorf("a 3×3 convolution in TF32, tile %d, has room for %d blocks", tile, n)
				}
			}
			add(fmt.Sprintf("conv1_%v_%d", p, outs), d.convShared(1, 128, outs))
		}
	}
	for _, k := range []struct {
		name          string
		sets, weights int
	}{{"attention", 1, 1}, {"jvp_attention", 2, 2}, {"jet2_attention", 4, 4}, {"vjp_attention_q", 2, 2}, {"vjp_attention_kv", 2, 2}} {
		second, first := attentionShared(k.sets, k.weights)
		add(k.name, second)
		if !strings.HasSuffix(k.name, "_kv") {
			add(strings.TrimSuffix(k.name, "_q")+"_rows", first)
		}
	}
	add("groupnorm`, `vjp_…`, `jvp_…`, `jet2_…", normShared)
	add("separable`, `separable_rows", separableShared)
	add("correlate", correlateShared)
	add("dot`, `dot_sum", dotShared)
	text := b.String()
	const doc = "../../docs/performance-cuda.md"
	have, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(have), text) {
		t.Errorf("%s should have this table:\n%s", doc, text)
	}
}
