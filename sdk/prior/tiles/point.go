package tiles

import (
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// point is the model at N images. Windows are numbered image by image: window k of image n
// is number n·K + k. The base evaluates them in parts of equal size; the last part starts
// early enough to have that size, too.
type point struct {
	model          *Model
	x              compute.Tensor
	images         int
	timesteps      []int
	grids          []grid           // of the different timesteps
	weights        []compute.Tensor // of each grid, [K,1,h,w]
	gridOf         []int            // of each image
	count, windows int              // parts, and windows in one
	base           prior.Point      // at the windows of the part that was evaluated last
	out            compute.Tensor
}

// cachingPoint is a point whose windows are all computed together, by a base that caches tangents.
type cachingPoint struct {
	*point
	cache prior.TangentCache
}

// Out implements [prior.Point].
func (p *point) Out() compute.Tensor { return p.out }

// VJP implements [prior.Point].
func (p *point) VJP(u compute.Tensor) (compute.Tensor, error) {
	m := p.model
	if err := p.check("the cotangent", u, p.out.C); err != nil {
		return u, err
	}
	c, _, _ := m.Image()
	dst := m.ws.Scratch("vjp", u.N, c, m.height, m.width)
	cut := m.ws.Scratch("cotangents", p.windows, u.C, m.side[0], m.side[1])
	if err := m.ws.Err(); err != nil {
		return u, err
	}
	if err := p.clear(dst); err != nil {
		return u, err
	}
	return dst, p.eachPart(func(from, fresh int) error {
		if err := p.again(from); err != nil {
			return err
		}
		p.cut(cut, u, from)
		p.weigh(cut, cut, from)
		grad, err := p.base.VJP(cut)
		if err == nil {
			p.add(dst, grad, from, fresh)
		}
		return err
	})
}

// JVP implements [prior.Point].
func (p *point) JVP(v compute.Tensor) (compute.Tensor, error) {
	if err := p.check("a direction", v, p.x.C); err != nil {
		return v, err
	}
	return p.blend("jvp", v.N, func(from int) (d compute.Tensor, err error) {
		if err := p.again(from); err != nil {
			return d, err
		}
		cut, err := p.cutNew("direction", v, from)
		if err != nil {
			return d, err
		}
		return p.base.JVP(cut)
	})
}

// Second implements [prior.Point].
func (p *point) Second(v, w compute.Tensor) (compute.Tensor, error) {
	for _, x := range []compute.Tensor{v, w} {
		if err := p.check("a direction", x, p.x.C); err != nil {
			return v, err
		}
	}
	return p.blend("second", v.N, func(from int) (d compute.Tensor, err error) {
		if err := p.again(from); err != nil {
			return d, err
		}
		a, err := p.cutNew("direction", v, from)
		b := a
		if err == nil && v != w {
			b, err = p.cutNew("direction 2", w, from)
		}
		if err != nil {
			return d, err
		}
		return p.base.Second(a, b)
	})
}

// JVPCached implements [prior.TangentCache].
func (p cachingPoint) JVPCached(k int, v compute.Tensor) (compute.Tensor, error) {
	if err := p.check("a direction", v, p.x.C); err != nil {
		return v, err
	}
	return p.blend("jvp", v.N, func(from int) (compute.Tensor, error) {
		cut, err := p.cutNew("direction", v, from)
		if err != nil {
			return cut, err
		}
		return p.cache.JVPCached(k, cut)
	})
}

// SecondCached implements [prior.TangentCache].
func (p cachingPoint) SecondCached(coef [][]float64) (compute.Tensor, error) {
	if p.model.point != p.point {
		return compute.Tensor{}, errEnded
	}
	each := make([][]float64, len(coef)) // the factors of each image, for each of its windows
	for k, factors := range coef {
		for n := range p.images {
			for range p.model.Windows() {
				each[k] = append(each[k], factors[n%len(factors)])
			}
		}
	}
	return p.blend("second", p.images, func(int) (compute.Tensor, error) { return p.cache.SecondCached(each) })
}

func (p *point) check(name string, v compute.Tensor, channels int) error {
	if p.model.point != p {
		return errEnded
	}
	return p.model.check(name, v, channels, p.images)
}

// eachPart calls work for each part with its first window and the first of those that no
// earlier part had.
func (p *point) eachPart(work func(from, fresh int) error) error {
	all := p.images * p.model.Windows()
	for k := range p.count {
		if err := work(min(k*p.windows, all-p.windows), k*p.windows); err != nil {
			return err
		}
	}
	return nil
}

// evaluate evaluates the base at a part's windows.
func (p *point) evaluate(from int) (out compute.Tensor, err error) {
	x, err := p.cutNew("windows", p.x, from)
	if err != nil {
		return out, err
	}
	t := make([]int, p.windows)
	for i := range t {
		t[i] = p.timesteps[(from+i)/p.model.Windows()]
	}
	if p.base, err = p.model.base.At(x, t); err != nil {
		return out, err
	}
	return p.base.Out(), nil
}

// again evaluates the base at a part's windows again, where another part came after it.
func (p *point) again(from int) error {
	if p.count == 1 {
		return nil
	}
	_, err := p.evaluate(from)
	return err
}

// blend returns Σ_k W_k R_kᵀ of what each part's windows give, for images images, N or D·N.
func (p *point) blend(name string, images int, part func(from int) (compute.Tensor, error)) (dst compute.Tensor, err error) {
	m := p.model
	err = p.eachPart(func(from, fresh int) error {
		got, err := part(from)
		if err != nil {
			return err
		}
		weighted := m.ws.ScratchLike("weighted", got)
		if dst.Buf == nil {
			dst = m.ws.Scratch(name, images, got.C, m.height, m.width)
			if err := m.ws.Err(); err != nil {
				return err
			}
			if err := p.clear(dst); err != nil {
				return err
			}
		}
		p.weigh(weighted, got, from)
		p.add(dst, weighted, from, fresh)
		return nil
	})
	return dst, err
}

// clear fills a picture with zeros. A product with 0 would keep the NaN of fresh memory.
func (p *point) clear(dst compute.Tensor) error {
	m := p.model
	zero := m.ws.Scratch("zero", 1, 1, m.height, m.width)
	if err := m.ws.Err(); err != nil {
		return err
	}
	if !m.zeroed {
		m.Device().Write(zero, make([]float32, m.height*m.width))
		m.zeroed = true
	}
	planes := compute.Dense(dst.Buf, dst.N*dst.C, 1, dst.H, dst.W)
	m.Device().Combine(planes, compute.Times(1, zero))
	return nil
}

// cutNew cuts a part's windows out of v into the tensor of that name.
func (p *point) cutNew(name string, v compute.Tensor, from int) (compute.Tensor, error) {
	m := p.model
	dst := m.ws.Scratch(name, v.N/p.images*p.windows, v.C, m.side[0], m.side[1])
	if err := m.ws.Err(); err != nil {
		return dst, err
	}
	p.cut(dst, v, from)
	return dst, nil
}

// cut is R_k v of the windows of a part.
func (p *point) cut(dst, v compute.Tensor, from int) {
	p.each(dst, v, from, from, func(window, picture compute.Tensor) {
		p.model.Device().Combine(window, compute.Times(1, picture))
	})
}

// add is dst += Σ_k R_kᵀ src over the windows of a part from number fresh on.
func (p *point) add(dst, src compute.Tensor, from, fresh int) {
	p.each(src, dst, from, fresh, func(window, picture compute.Tensor) {
		p.model.Device().Combine(picture, compute.Times(1, picture), compute.Times(1, window))
	})
}

// each calls work for each channel of each window of a part from number fresh on, with the
// rows of the window and of the picture under it as images of one row.
func (p *point) each(windows, pictures compute.Tensor, from, fresh int, work func(window, picture compute.Tensor)) {
	m := p.model
	k, h, w := m.Windows(), m.side[0], m.side[1]
	rows := func(t compute.Tensor, image, channel, y, x int) compute.Tensor {
		return compute.Tensor{Buf: t.Buf, Off: t.Off + image*t.Pitch + (channel*t.H+y)*t.W + x, N: h, C: 1, H: 1, W: w, Pitch: t.W}
	}
	for d := range pictures.N / p.images {
		for i := fresh - from; i < p.windows; i++ {
			n, window := (from+i)/k, (from+i)%k
			g := p.grids[p.gridOf[n]]
			for c := range pictures.C {
				work(rows(windows, d*p.windows+i, c, 0, 0), rows(pictures, d*p.images+n, c, g.y[window], g.x[window]))
			}
		}
	}
}

// weigh is dst = W_k src of the windows of a part.
func (p *point) weigh(dst, src compute.Tensor, from int) {
	k := p.model.Windows()
	for d := range src.N / p.windows {
		for i := 0; i < p.windows; {
			n, first := (from+i)/k, (from+i)%k
			next := min(i+k-first, p.windows) // the windows of one image
			a, b := d*p.windows+i, d*p.windows+next
			p.model.Device().Mul(dst.Images(a, b), src.Images(a, b), p.weights[p.gridOf[n]].Images(first, first+next-i))
			i = next
		}
	}
}
