package cpu

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Combine implements [compute.Pointwise].
func (d *Device) Combine(dst compute.Tensor, terms ...compute.Term) {
	if !d.CombineFits(dst, terms) {
		return
	}
	d.spans(dst.N, dst.Len(), func(w *worker, n, i, j int) {
		get := func(k int) (float32, []float32) {
			t := terms[k]
			return float32(t.Coef[n%len(t.Coef)]), image(t.X, n)[i:j]
		}
		to := image(dst, n)[i:j]
		out := to
		if len(terms) > 2 {
			out = w.floats(j - i) // the destination may be a later term
		}
		for k := 0; k < len(terms); k += 2 {
			w.act = act{}
			var x, a []float32
			w.act.q, x = get(k)
			if k+1 < len(terms) {
				w.act.p, a = get(k + 1)
				d.k.linear(out, x, a, &w.act, k > 0)
				continue
			}
			if k == 0 {
				w.act.m = w.act.q
				d.k.affine(out, x, &w.act)
				continue
			}
			w.act.p, w.act.q = w.act.q/2, w.act.q/2
			d.k.linear(out, x, x, &w.act, true)
		}
		if len(terms) > 2 {
			copy(to, out)
		}
	})
}

// AddChannel implements [compute.Pointwise].
func (d *Device) AddChannel(dst, x, e compute.Tensor) {
	if !d.AddChannelFits(dst, x, e) {
		return
	}
	hw := dst.H * dst.W
	d.batches(dst.N*dst.C, hw, func(w *worker, i int) {
		n, c := i/dst.C, i%dst.C
		w.act = act{m: 1, c: image(e, n)[c]}
		d.k.affine(image(dst, n)[c*hw:(c+1)*hw], image(x, n)[c*hw:(c+1)*hw], &w.act)
	})
}

// Mul implements [compute.Pointwise].
func (d *Device) Mul(dst, a, b compute.Tensor) {
	if !d.MulFits(dst, a, b) {
		return
	}
	length, repeat := b.Len(), dst.C/b.C
	d.spans(dst.N, length, func(_ *worker, n, i, j int) {
		factor := image(b, n)[i:j]
		if repeat > 1 && overlaps(dst, b) { // channels after the first read the factor again
			factor = append([]float32(nil), factor...)
		}
		to, from := image(dst, n), image(a, n)
		for c := range repeat {
			d.k.mul(to[c*length+i:c*length+j], from[c*length+i:c*length+j], factor)
		}
	})
}

// overlaps says whether two tensors share an array.
func overlaps(a, b compute.Tensor) bool { return a.Buf == b.Buf }

// each maps every value of dst with the sources' values at its place.
func (d *Device) each(op string, f func(dst, x, y []float32), dst, x, y compute.Tensor) {
	if d.PointwiseFits(op, dst, x, y) {
		d.spans(dst.N, dst.Len(), func(_ *worker, n, i, j int) {
			f(image(dst, n)[i:j], image(x, n)[i:j], image(y, n)[i:j])
		})
	}
}

// Clamp implements [compute.Pointwise].
func (d *Device) Clamp(dst, x compute.Tensor, lo, hi float32) {
	d.each("clamp", func(dst, x, _ []float32) {
		for i, v := range x {
			dst[i] = min(max(v, lo), hi)
		}
	}, dst, x, x)
}

// ClampAdjoint implements [compute.Pointwise].
func (d *Device) ClampAdjoint(dst, g, x compute.Tensor, lo, hi float32) {
	d.each("clamp adjoint", func(dst, g, x []float32) {
		for i, v := range x {
			if lo <= v && v <= hi {
				dst[i] = g[i]
			} else {
				dst[i] = 0
			}
		}
	}, dst, g, x)
}

// Exp implements [compute.Pointwise].
func (d *Device) Exp(dst, x compute.Tensor, scale, shift float32) {
	d.each("exp", func(dst, x, _ []float32) { d.k.exp(dst, x, scale, shift) }, dst, x, x)
}

// Pow implements [compute.Pointwise].
func (d *Device) Pow(dst, x compute.Tensor, scale, shift, p float32) {
	power := func(v float64) float64 { return math.Pow(v, float64(p)) }
	switch p {
	case 0.5:
		power = math.Sqrt
	case -0.5:
		power = func(v float64) float64 { return 1 / math.Sqrt(v) }
	case -1:
		power = func(v float64) float64 { return 1 / v }
	}
	d.each("pow", func(dst, x, _ []float32) {
		for i, v := range x {
			dst[i] = float32(power(float64(scale)*float64(v) + float64(shift)))
		}
	}, dst, x, x)
}

// Dot implements [compute.Pointwise].
func (d *Device) Dot(a, b compute.Tensor) ([]float64, error) {
	big := a
	if b.N > a.N {
		big = b
	}
	if _, ok := d.DotFits(a, b); !ok {
		return nil, d.Err()
	}
	pieces := ceil(big.Len(), chunk)
	partial := make([]float64, big.N*pieces)
	d.spans(big.N, big.Len(), func(_ *worker, n, i, j int) {
		var s [4]float64
		x, y := image(a, n)[i:j], image(b, n)[i:j]
		for len(x) >= 4 && len(y) >= 4 {
			s[0] += float64(x[0]) * float64(y[0])
			s[1] += float64(x[1]) * float64(y[1])
			s[2] += float64(x[2]) * float64(y[2])
			s[3] += float64(x[3]) * float64(y[3])
			x, y = x[4:], y[4:]
		}
		for i := range x {
			s[0] += float64(x[i]) * float64(y[i])
		}
		partial[n*pieces+i/chunk] = (s[0] + s[1]) + (s[2] + s[3])
	})
	out := make([]float64, big.N)
	for i, v := range partial {
		out[i/pieces] += v
	}
	return out, nil
}
