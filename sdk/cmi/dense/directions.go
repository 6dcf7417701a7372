//go:build !page

package dense

import (
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// fill writes direction k of an image into dst, which is zero.
type fill func(dst []float32, k, image int)

// unit directions along each image's coordinates; zero where it has fewer than another.
func unit(at [][]int) fill {
	return func(dst []float32, k, image int) {
		if k < len(at[image]) {
			dst[at[image][k]] = 1
		}
	}
}

// most returns the number of coordinates of the image with the most.
func most(at [][]int) (n int) {
	for _, a := range at {
		n = max(n, len(a))
	}
	return n
}

// each applies m to one batch of n images at a time, because a per-image operator picks its
// mask or kernel by the position in the batch.
func (est *Estimator) each(dst, dirs compute.Tensor, m func(dst, x compute.Tensor)) {
	for from := 0; from < dirs.N; from += est.n {
		m(dst.Images(from, from+est.n), dirs.Images(from, from+est.n))
	}
}

// batches sends count directions of each image, shaped like like, to the device
// in chunks. Direction k of image i is image (k−from)·n + i of dirs.
func (est *Estimator) batches(count int, like compute.Tensor, f fill, use func(dirs compute.Tensor, from int) error) error {
	size := like.Len()
	for from := 0; from < count; from += Directions {
		images := min(Directions, count-from) * est.n
		host := make([]float32, images*size)
		for r := range images {
			f(host[r*size:(r+1)*size], from+r/est.n, r%est.n)
		}
		dirs, err := compute.FromHost(est.dev, host, images, like.C, like.H, like.W)
		if err != nil {
			return err
		}
		err = use(dirs, from)
		est.dev.Free(dirs.Buf)
		if err != nil {
			return err
		}
	}
	return nil
}

// columns maps count directions of each image by m, which writes into dst, shaped
// like to: [image][direction][coordinate].
func (est *Estimator) columns(count int, like compute.Tensor, f fill, to compute.Tensor, m func(dst, dirs compute.Tensor) error) ([][][]float64, error) {
	out := make([][][]float64, est.n)
	err := est.batches(count, like, f, func(dirs compute.Tensor, _ int) error {
		dst, err := compute.New(est.dev, dirs.N, to.C, to.H, to.W)
		if err != nil {
			return err
		}
		defer est.dev.Free(dst.Buf)
		if err := m(dst, dirs); err != nil {
			return err
		}
		host, err := compute.ToHost(est.dev, dst)
		size := dst.Len()
		for r := range dirs.N {
			column := make([]float64, size)
			for p := range column {
				column[p] = float64(host[r*size+p])
			}
			out[r%est.n] = append(out[r%est.n], column)
		}
		return err
	})
	return out, err
}

// jets is ½ c Σ_k D²x̂0[v_k, w_k] over count directions of each image; a nil w
// stands for v.
func (est *Estimator) jets(d prior.Denoiser, l krylov.Level, count int, v, w fill) ([][]float64, error) {
	size := est.grad.Len()
	sum := make([][]float64, est.n)
	for i := range sum {
		sum[i] = make([]float64, size)
	}
	add := func(v, w compute.Tensor) error {
		second, err := d.Second(v, w)
		if err != nil {
			return err
		}
		host, err := compute.ToHost(est.dev, second)
		for r := range second.N {
			for p := range size {
				sum[r%est.n][p] += 0.5 * l.C() * float64(host[r*size+p])
			}
		}
		return err
	}
	err := est.batches(count, est.grad, v, func(v compute.Tensor, from int) error {
		if w == nil {
			return add(v, v)
		}
		host := make([]float32, v.N*size)
		for r := range v.N {
			w(host[r*size:(r+1)*size], from+r/est.n, r%est.n)
		}
		other, err := compute.FromHost(est.dev, host, v.N, v.C, v.H, v.W)
		if err != nil {
			return err
		}
		defer est.dev.Free(other.Buf)
		return add(v, other)
	})
	return sum, err
}
