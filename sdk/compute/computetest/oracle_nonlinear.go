package computetest

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

func silu(x float64) float64 {
	if x < 0 { // exp of a positive number would overflow
		e := math.Exp(x)
		return x * e / (1 + e)
	}
	return x / (1 + math.Exp(-x))
}

// RefNorm is [compute.Norm] for the oracle. Scale and Shift are [B,C,1,1], image
// n reading n mod B, or empty for none.
type RefNorm struct {
	Groups       int
	Eps          float64
	Gamma, Beta  []float64
	Scale, Shift Array
	SiLU         bool
}

// RefGroupNorm returns the normalisation described at [compute.Norm], and the groups'
// means, then their 1/√(var + eps), as [N, 2·Groups, 1, 1].
func RefGroupNorm(x Array, p RefNorm) (y, stats Array) {
	y, stats = x.Like(), NewArray(x.N, 2*p.Groups, 1, 1)
	per, size := x.C/p.Groups, x.H*x.W
	for n := range x.N {
		for g := range p.Groups {
			values := x.Image(n)[g*per*size : (g+1)*per*size]
			var mean, variance float64
			for _, v := range values {
				mean += v / float64(len(values))
			}
			for _, v := range values {
				variance += (v - mean) * (v - mean) / float64(len(values))
			}
			inverse := 1 / math.Sqrt(variance+p.Eps)
			stats.Image(n)[g], stats.Image(n)[p.Groups+g] = mean, inverse
			for c := g * per; c < (g+1)*per; c++ {
				src, dst := x.Plane(n, c), y.Plane(n, c)
				for i, v := range src {
					dst[i] = p.affine(n, c, (v-mean)*inverse)
				}
			}
		}
	}
	return y, stats
}

func (p RefNorm) affine(n, c int, z float64) float64 {
	z = z*p.Gamma[c] + p.Beta[c]
	if p.Scale.N > 0 {
		z = z*(1+p.Scale.Image(n)[c]) + p.Shift.Image(n)[c]
	}
	if p.SiLU {
		z = silu(z)
	}
	return z
}

// RefAttention is softmax(qᵀk/√ch) applied to v, per head, for x = qkv
// [N, 3C, H, W] in the channel order that h names. The result is [N, C, H, W].
func RefAttention(x Array, h compute.Heads) Array {
	channels, pixels := x.C/3, x.H*x.W
	ch := channels / h.Count
	y := NewArray(x.N, channels, x.H, x.W)
	weight := make([]float64, pixels)
	for n := range x.N {
		for head := range h.Count {
			first, step := head*3*ch, ch // of q, and from q to k to v
			if h.Split {
				first, step = head*ch, channels
			}
			for t := range pixels {
				scores(weight, x, n, first, first+step, ch, t)
				softmax(weight)
				for c := range ch {
					var sum float64
					for u, v := range x.Plane(n, first+2*step+c) {
						sum += weight[u] * v
					}
					y.Plane(n, head*ch+c)[t] = sum
				}
			}
		}
	}
	return y
}

// scores is the row t of qᵀk/√ch.
func scores(row []float64, x Array, n, q, k, ch, t int) {
	clear(row)
	for c := range ch {
		qt := x.Plane(n, q+c)[t] / math.Sqrt(float64(ch))
		for u, v := range x.Plane(n, k+c) {
			row[u] += qt * v
		}
	}
}

func softmax(row []float64) {
	top := math.Inf(-1)
	for _, v := range row {
		top = max(top, v)
	}
	var sum float64
	for i, v := range row {
		row[i] = math.Exp(v - top)
		sum += row[i]
	}
	for i := range row {
		row[i] /= sum
	}
}
