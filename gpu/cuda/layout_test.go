//go:build linux

package cuda

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// The structures that Go passes are those that the kernels take: fields, offsets and
// sizes, by the compiler's own word.
func TestParameters(t *testing.T) {
	f := newFake(t)
	mirrors := map[string]any{
		"combine":                  combineParams{},
		"addchannel":               addChannelParams{},
		"mul":                      mulParams{},
		"dot dot_sum":              dotParams{},
		"normals":                  normalsParams{},
		"resample":                 resampleParams{},
		"separable separable_rows": separableParams{},
		"correlate correlate_fold": correlateParams{},
		"conv_sum":                 convParams{},
		"conv_weights":             convWeightsParams{},
		"linear":                   linearParams{},
		"attention attention_rows vjp_attention_rows vjp_attention_q vjp_attention_kv": attentionParams{},
		"jvp_attention_rows jvp_attention jet2_attention_rows jet2_attention":          attentionParams{},
	}
	for f := range compute.MapFuncs {
		for order := range 3 {
			if f.Scalar(order) != nil {
				mirrors[compute.Map{Func: f, Order: order}.Kernel()] = mapParams{}
			}
		}
	}
	for _, mode := range precisions {
		mirrors[fmt.Sprintf("conv3_%[1]s_128 conv3_%[1]s_32 conv1_%[1]s_128 conv1_%[1]s_32", mode)] = convParams{}
	}
	for _, kind := range []string{"", "vjp_", "jvp_", "jet2_"} {
		mirrors[kind+"groupnorm"] = normParams{}
	}
	known := map[string]bool{}
	for names, mirror := range mirrors {
		for _, name := range strings.Fields(names) {
			known[name] = true
			m := reflect.TypeOf(mirror)
			if got, want := int(m.Size()), f.params(name); got != want {
				t.Errorf("%s: %v has %d bytes, the kernel takes %d", name, m, got, want)
			}
			for i, line := range strings.Split(strings.TrimSpace(f.layout(name)), "\n") {
				var field string
				var offset, size int
				fmt.Sscan(line, &field, &offset, &size)
				if i >= m.NumField() {
					t.Errorf("%s: %v has no field for %s", name, m, line)
					continue
				}
				g := m.Field(i)
				if strings.ReplaceAll(field, "_", "") != strings.ToLower(g.Name) || uintptr(offset) != g.Offset || uintptr(size) != g.Type.Size() {
					t.Errorf("%s: field %d of %v is %s at %d of %d bytes, the kernel's is %s", name, i, m, g.Name, g.Offset, g.Type.Size(), line)
				}
			}
		}
	}
	for i := int32(0); f.kernel(i) != ""; i++ {
		if !known[f.kernel(i)] {
			t.Errorf("kernel %s has no mirror of its parameters here", f.kernel(i))
		}
	}
}
