package pretrained

import "github.com/cmi-diffusion/cmi/sdk/compute"

// conv is Conv2d: a change of resolution by a filter, then a convolution; either may be missing.
func (b *edmBuilder) conv(x compute.Node, name string) compute.Node {
	up, down, fused := b.flag(name, "up"), b.flag(name, "down"), b.flag(name, "fused_resample")
	kernel, out := 0, 0
	if t, ok := b.from.Info(name + ".weight"); ok {
		if len(t.Shape) != 4 || t.Shape[2] != t.Shape[3] || t.Shape[2] != 1 && t.Shape[2] != 3 {
			return b.fail(x, "tensor %.100q has shape %v; convolutions of 1×1 and 3×3 pixels are supported", name+".weight", t.Shape)
		}
		kernel, out = t.Shape[2], b.rows(name)
	}
	var taps []float64
	if up || down {
		if taps = b.taps(name); taps == nil {
			return x
		}
	}
	_, h, w := b.Shape(x)
	convolve := func(x compute.Node) compute.Node {
		if kernel == 0 || b.err != nil {
			return x
		}
		return b.Conv(x, compute.Layer{Name: name, Out: out, Kernel: kernel})
	}
	switch {
	case down && (h%2 != 0 || w%2 != 0):
		return b.fail(x, "module %.100q halves %d×%d pixels", name, h, w)
	case fused && up && kernel > 0:
		return b.fail(x, "module %.100q: a convolution fused with an increase of resolution is not supported", name)
	case fused && down && kernel > 0: // the filter sees the convolution's values beyond the edge, too
		margin := (len(taps) - 1) / 2
		pad := func(size int) []float32 { return padding(size, margin) }
		x = convolve(b.Separable(x, pad(h), pad(w)))
		return b.Separable(x, shrinking(h, margin, taps), shrinking(w, margin, taps))
	case up && up2(taps):
		x = b.Resample(x, compute.Up2, 1)
	case up:
		x = b.Separable(x, growing(h, taps), growing(w, taps))
	case down && up2(taps):
		x = b.Resample(x, compute.SumDown2, 0.25)
	case down:
		x = b.Separable(x, shrinking(h, 0, taps), shrinking(w, 0, taps))
	}
	return convolve(x)
}

// taps returns the filter of a module along one axis, of sum 1; nil after a failure.
func (b *edmBuilder) taps(name string) []float64 {
	if taps, ok := b.filters[name]; ok {
		return taps
	}
	t, _ := b.from.Info(name + ".resample_filter")
	if len(t.Shape) != 4 || t.Shape[2] != t.Shape[3] || t.Shape[2]%2 != 0 || t.Shape[2] < 2 || t.Shape[2] > 16 {
		b.fail(0, "tensor %.100q has shape %v, a filter of even length is wanted", name+".resample_filter", t.Shape)
		return nil
	}
	f, err := b.from.Floats(name+".resample_filter", t.Shape...)
	if err != nil {
		b.fail(0, "%w", err)
		return nil
	}
	k := t.Shape[2]
	taps := make([]float64, k) // the filter is the outer product of its rows' sums
	for i := range taps {
		for j := range k {
			taps[i] += float64(f[i*k+j])
		}
	}
	b.filters[name] = taps
	return taps
}

// up2 says whether a filter is the mean of two pixels.
func up2(taps []float64) bool { return len(taps) == 2 && taps[0] == 0.5 && taps[1] == 0.5 }

// padding returns the matrix [size + 2·margin, size] that surrounds a row with zeros.
func padding(size, margin int) []float32 {
	m := make([]float32, (size+2*margin)*size)
	for i := range size {
		m[(i+margin)*size+i] = 1
	}
	return m
}

// shrinking returns the matrix [size/2, size + 2·margin] of a filter with stride 2, on a row that
// has margin values more at either end.
func shrinking(size, margin int, taps []float64) []float32 {
	columns := size + 2*margin
	m := make([]float32, size/2*columns)
	for i := range size / 2 {
		for k, f := range taps {
			if j := 2*i + k - (len(taps)-1)/2 + margin; j >= 0 && j < columns {
				m[i*columns+j] = float32(f)
			}
		}
	}
	return m
}

// growing returns the matrix [2·size, size] that is twice the transpose of the filter with stride 2.
func growing(size int, taps []float64) []float32 {
	m := make([]float32, 2*size*size)
	for i := range size {
		for k, f := range taps {
			if j := 2*i + k - (len(taps)-1)/2; j >= 0 && j < 2*size {
				m[j*size+i] = float32(2 * f)
			}
		}
	}
	return m
}
