package cuda

import "github.com/cmi-diffusion/cmi/sdk/compute"

func (d *Device) Attention(dst, x compute.Tensor, h compute.Heads)                            {}
func (d *Device) AttentionAdjoint(dx, x, dy compute.Tensor, h compute.Heads, accumulate bool) {}
func (d *Device) AttentionTangent(dst, x, a compute.Tensor, h compute.Heads)                  {}
func (d *Device) AttentionSecond(dst, x, a, b, ab compute.Tensor, h compute.Heads)            {}
