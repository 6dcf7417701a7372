package golden

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// operatorCases checks operators.safetensors: NAME.y = A x, NAME.adjoint_z = Aᵀ z
// and, for blurs, the same with a circular border.
func operatorCases(dir fs.FS, _ Options) ([]computetest.Case, error) {
	v, ok, err := open(dir, "operators.safetensors")
	if err != nil || !ok {
		return nil, err
	}
	var cases []computetest.Case
	for _, name := range v.Names() {
		operator, quantity, _ := strings.Cut(name, ".")
		circular := strings.HasPrefix(quantity, "circular_")
		quantity = strings.TrimPrefix(quantity, "circular_")
		if quantity != "y" && quantity != "adjoint_z" {
			continue
		}
		cases = append(cases, check("operator", name, 1e-6, func(_ context.Context, dev compute.Device) (float64, error) {
			op, err := operatorNamed(v, operator, circular, dev)
			if err != nil {
				return 0, err
			}
			defer op.Close()
			ws := compute.NewWorkspace(dev)
			defer ws.Free()
			from, shape, run := "x", op.Out, op.Apply
			if quantity == "adjoint_z" {
				from, shape, run = operator+".z", op.In, op.Adjoint
			}
			x, err := v.load(ws, from)
			if err != nil {
				return 0, err
			}
			c, h, w := shape()
			dst := ws.New(x.N, c, h, w)
			if err := ws.Err(); err != nil {
				return 0, err
			}
			run(dst, x)
			return v.compare(dev, dst, name)
		}))
	}
	return cases, nil
}

// operatorNamed is srF, or a blur with the kernel of that name in the file.
func operatorNamed(v *vectors, name string, circular bool, dev compute.Device) (measure.Linear, error) {
	s, err := v.shape("x")
	if err != nil {
		return nil, err
	}
	factor := 0
	if n, _ := fmt.Sscanf(name, "sr%d", &factor); n == 1 {
		return measure.NewSuperResolution(dev, s[1], s[2], s[3], factor)
	}
	kernel, err := v.kernel(name + ".kernel")
	if err != nil {
		return nil, err
	}
	border := compute.Reflect
	if circular {
		border = compute.Circular
	}
	return measure.NewBlur(dev, s[1], s[2], s[3], kernel, border)
}

// kernel returns a blur kernel of the file.
func (v *vectors) kernel(name string) (measure.Kernel, error) {
	values, err := v.values(name)
	if err != nil {
		return measure.Kernel{}, err
	}
	s, err := v.shape(name)
	return measure.Kernel{H: s[2], W: s[3], Weights: widen(values)}, err
}
