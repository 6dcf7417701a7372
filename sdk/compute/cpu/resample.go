package cpu

import "github.com/cmi-diffusion/cmi/sdk/compute"

// resampleCall is a Resample being run.
type resampleCall struct {
	dst, src   compute.Tensor
	rows       func(k *kernels, dst, src []float32, w, y int, scale float32)
	scale      float32
	accumulate bool
}

// Resample implements [compute.Linear].
func (d *Device) Resample(dst, src compute.Tensor, kind compute.Resampling, scale float32, accumulate bool) {
	if !d.ResampleFits(dst, src, kind) {
		return
	}
	rows := [...]func(k *kernels, dst, src []float32, w, y int, scale float32){up2, sumDown2, subsample2, zeroInsert2}[kind]
	d.resample = resampleCall{dst, src, rows, scale, accumulate}
	d.batches(dst.N*dst.C, dst.H*dst.W, func(d *Device, wk *worker, i int) {
		r := &d.resample
		n, c, h, w := i/r.dst.C, i%r.dst.C, r.dst.H, r.dst.W
		to := image(r.dst, n)[c*h*w : (c+1)*h*w]
		size := r.src.H * r.src.W
		from := image(r.src, n)[c*size : (c+1)*size]
		wk.act = act{p: 1, q: 1}
		for y := range h {
			row := to[y*w : (y+1)*w]
			if r.accumulate {
				add := wk.floats(w)
				r.rows(d.k, add, from, r.src.W, y, r.scale)
				d.k.linear(row, row, add, &wk.act, false)
			} else {
				r.rows(d.k, row, from, r.src.W, y, r.scale)
			}
		}
	})
}

// Each of these computes row y of the result from a channel src of rows of w.

func up2(k *kernels, dst, src []float32, w, y int, scale float32) {
	k.up2(dst, src[y/2*w:(y/2+1)*w], scale)
}

func sumDown2(k *kernels, dst, src []float32, w, y int, scale float32) {
	k.down2(dst, src[2*y*w:][:w], src[(2*y+1)*w:][:w], scale)
}

func subsample2(_ *kernels, dst, src []float32, w, y int, scale float32) {
	from := src[2*y*w:][:w]
	for x := range dst {
		dst[x] = scale * from[2*x]
	}
}

func zeroInsert2(_ *kernels, dst, src []float32, w, y int, scale float32) {
	clear(dst)
	if y%2 == 0 {
		for x, v := range src[y/2*w : (y/2+1)*w] {
			dst[2*x] = scale * v
		}
	}
}
