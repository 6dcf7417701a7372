package cmi

import "github.com/cmi-diffusion/cmi/sdk/compute"

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

// most is the number of coordinates of the image with the most.
func most(at [][]int) (n int) {
	for _, a := range at {
		n = max(n, len(a))
	}
	return n
}

// each maps directions by the operator, which differs from image to image and knows
// them by their place in the batch.
func (t *Term) each(dst, dirs compute.Tensor, m func(dst, x compute.Tensor)) {
	for from := 0; from < dirs.N; from += t.n {
		m(dst.Images(from, from+t.n), dirs.Images(from, from+t.n))
	}
}

// batches sends count directions of each image, shaped like like, to the device
// in chunks. Direction k of image i is image (k−from)·n + i of dirs.
func (t *Term) batches(count int, like compute.Tensor, f fill, use func(dirs compute.Tensor, from int) error) error {
	size := like.Len()
	for from := 0; from < count; from += DenseDirections {
		images := min(DenseDirections, count-from) * t.n
		host := make([]float32, images*size)
		for r := range images {
			f(host[r*size:(r+1)*size], from+r/t.n, r%t.n)
		}
		dirs, err := compute.FromHost(t.dev, host, images, like.C, like.H, like.W)
		if err != nil {
			return err
		}
		err = use(dirs, from)
		t.dev.Free(dirs.Buf)
		if err != nil {
			return err
		}
	}
	return nil
}

// columns maps count directions of each image by m, which writes into dst, shaped
// like to: [image][direction][coordinate].
func (t *Term) columns(count int, like compute.Tensor, f fill, to compute.Tensor, m func(dst, dirs compute.Tensor) error) ([][][]float64, error) {
	out := make([][][]float64, t.n)
	err := t.batches(count, like, f, func(dirs compute.Tensor, _ int) error {
		dst, err := compute.New(t.dev, dirs.N, to.C, to.H, to.W)
		if err != nil {
			return err
		}
		defer t.dev.Free(dst.Buf)
		if err := m(dst, dirs); err != nil {
			return err
		}
		host, err := compute.ToHost(t.dev, dst)
		size := dst.Len()
		for r := range dirs.N {
			column := make([]float64, size)
			for p := range column {
				column[p] = float64(host[r*size+p])
			}
			out[r%t.n] = append(out[r%t.n], column)
		}
		return err
	})
	return out, err
}

// jets is ½ c Σ_k D²x̂0[v_k, w_k] over count directions of each image; a nil w
// stands for v.
func (t *Term) jets(d Denoiser, l Level, count int, v, w fill) ([][]float64, error) {
	size := t.v.Len()
	sum := make([][]float64, t.n)
	for i := range sum {
		sum[i] = make([]float64, size)
	}
	add := func(v, w compute.Tensor) error {
		second, err := d.Second(v, w)
		if err != nil {
			return err
		}
		host, err := compute.ToHost(t.dev, second)
		for r := range second.N {
			for p := range size {
				sum[r%t.n][p] += 0.5 * l.C() * float64(host[r*size+p])
			}
		}
		return err
	}
	err := t.batches(count, t.v, v, func(v compute.Tensor, from int) error {
		if w == nil {
			return add(v, v)
		}
		host := make([]float32, v.N*size)
		for r := range v.N {
			w(host[r*size:(r+1)*size], from+r/t.n, r%t.n)
		}
		other, err := compute.FromHost(t.dev, host, v.N, v.C, v.H, v.W)
		if err != nil {
			return err
		}
		defer t.dev.Free(other.Buf)
		return add(v, other)
	})
	return sum, err
}
