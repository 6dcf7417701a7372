// Package tiles makes a prior of pictures of any size from one of a fixed size. The picture
// is covered by overlapping windows of the base's size, and the noise predictions of the
// windows are blended with smooth weights:
//
//	ε(x, t) = Σ_k W_k R_kᵀ ε_base(R_k x, t),   Σ_k W_k R_kᵀ R_k = I
//
// where R_k cuts window k out and W_k is diagonal. This is linear in the windows' outputs,
// so Jv and D²ε[v, w] blend as the value does, and Jᵀu = Σ_k R_kᵀ J_kᵀ R_k W_k u, exactly.
// The grid of windows moves from timestep to timestep, so that no seam stays in one place.
//
// Averaging overlapping windows is MultiDiffusion's (Bar-Tal et al. 2023,
// arXiv 2302.08113), moving them PaDIS's (Hu et al. 2024, arXiv 2406.02462).
package tiles

import (
	"errors"
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Options say where the windows lie and how many are computed together.
type Options struct {
	// Seed keys how the grid moves. At a timestep all images have the same grid.
	Seed uint64
	// AtOnce is the largest number of windows, of all images of a batch, that the base
	// evaluates together; 0 is all. With fewer, activations are not kept: each derivative
	// evaluates the base again. The results stay the same.
	AtOnce int
}

// Model is a prior of pictures of one size; it implements [prior.Model],
// [prior.MemoryEstimator] and [prior.Coster].
type Model struct {
	base          prior.Model
	height, width int
	side          [2]int // of a window: height, width
	rows, columns axis
	options       Options
	ws            *compute.Workspace
	zeroed        bool   // the tensor of zeros has been written
	point         *point // the valid one
}

// New returns a prior of pictures of height×width. base is the prior of the windows, which
// must not be larger than the picture; it stays the caller's.
func New(base prior.Model, height, width int, o Options) (*Model, error) {
	_, h, w := base.Image()
	if height < h || width < w {
		return nil, fmt.Errorf("a picture of %d×%d is smaller than the prior's windows of %d×%d: pad it to at least their size", width, height, w, h)
	}
	if o.AtOnce < 0 {
		return nil, fmt.Errorf("%d windows at once, a positive number is wanted, or 0 for all", o.AtOnce)
	}
	return &Model{base: base, height: height, width: width, side: [2]int{h, w}, rows: newAxis(height, h), columns: newAxis(width, w),
		options: o, ws: compute.NewWorkspace(base.Device())}, nil
}

// Windows returns the number of windows that cover a picture.
func (m *Model) Windows() int { return m.rows.count * m.columns.count }

// Base returns the prior of the windows.
func (m *Model) Base() prior.Model { return m.base }

// Image implements [prior.Model].
func (m *Model) Image() (channels, height, width int) {
	c, _, _ := m.base.Image()
	return c, m.height, m.width
}

// LearnedVariance implements [prior.Model]. The variance's channels are blended as ε is.
func (m *Model) LearnedVariance() bool { return m.base.LearnedVariance() }

// Steps implements [prior.Model].
func (m *Model) Steps() int { return m.base.Steps() }

// NoiseSchedule implements [prior.Scheduled].
func (m *Model) NoiseSchedule() (name string, betas []float64) {
	if s, ok := m.base.(prior.Scheduled); ok {
		return s.NoiseSchedule()
	}
	return "", nil
}

// Device implements [prior.Model].
func (m *Model) Device() compute.Device { return m.base.Device() }

// Close implements [prior.Model]. The base stays open.
func (m *Model) Close() {
	m.point, m.zeroed = nil, false
	m.ws.Free()
}

// parts returns how many times the base is evaluated for a batch of images, and with how
// many windows each time.
func (m *Model) parts(images int) (count, windows int) {
	all := images * m.Windows()
	if m.options.AtOnce == 0 || m.options.AtOnce >= all {
		return 1, all
	}
	count = (all + m.options.AtOnce - 1) / m.options.AtOnce
	return count, (all + count - 1) / count
}

// PassCost implements [prior.Coster]: a pass takes an evaluation of the base for each window.
func (m *Model) PassCost(images int) prior.PassCost {
	count, windows := m.parts(images)
	c := prior.PassCost{Value: (count*windows + images - 1) / images, Caches: count == 1}
	if count > 1 {
		c.Again = c.Value
	}
	return c
}

// EstimateMemory implements [prior.MemoryEstimator]: what the base takes for the windows that it
// computes together, and the cut and blended tensors.
func (m *Model) EstimateMemory(images int, p compute.Passes) (total, largest int64) {
	count, windows := m.parts(images)
	if count > 1 && p.Cached > 0 {
		p.JVP, p.Second, p.Cached = max(p.JVP, 1), max(p.Second, 1), 0
	}
	if e, ok := m.base.(prior.MemoryEstimator); ok {
		total, largest = e.EstimateMemory(windows, p)
	}
	c, h, w := m.Image()
	out := c
	if m.LearnedVariance() {
		out *= 2
	}
	window, picture := 4*int64(windows*m.side[0]*m.side[1]), 4*int64(images*h*w)
	tensor := func(of int64, n, channels int) {
		total += of * int64(n*channels)
		largest = max(largest, of*int64(n*channels))
	}
	directions := max(p.JVP, p.Second, min(p.Cached, 1))
	tensor(4*int64(m.Windows()*m.side[0]*m.side[1]), 1, 1) // weights
	tensor(4*int64(h*w), 1, 1)                             // zeros
	tensor(window, max(1, directions), c)                  // R_k x, R_k v
	tensor(window, max(1, directions), out)                // W_k ε, R_k W_k u
	tensor(picture, 1, out)
	if p.VJP {
		tensor(window, 1, out)
		tensor(picture, 1, c)
	}
	if directions > 0 {
		tensor(window, directions, c)
		tensor(picture, directions, out) // of JVPs
		tensor(picture, directions, out) // of second derivatives
	}
	return total, largest
}

// At implements [prior.Model]. The point ends with the next call.
func (m *Model) At(x compute.Tensor, t []int) (prior.Point, error) {
	m.point = nil
	channels, _, _ := m.Image()
	if err := m.check("the input", x, channels, max(1, x.N)); err != nil {
		return nil, err
	}
	if len(t) != x.N {
		return nil, fmt.Errorf("%d timesteps for %d images", len(t), x.N)
	}
	p := &point{model: m, x: x, images: x.N, timesteps: t}
	dev, ws := m.Device(), m.ws
	made := map[int]int{} // number of a timestep's grid
	for _, step := range t {
		if step < 0 || step >= m.Steps() {
			return nil, fmt.Errorf("timestep %d is outside 0 … %d", step, m.Steps()-1)
		}
		k, ok := made[step]
		if !ok {
			k = len(made)
			made[step] = k
			g := m.at(step)
			w := ws.Scratch(fmt.Sprintf("weights %d", k), m.Windows(), 1, m.side[0], m.side[1])
			if err := ws.Err(); err != nil {
				return nil, err
			}
			dev.Write(w, g.weights)
			p.grids, p.weights = append(p.grids, g), append(p.weights, w)
		}
		p.gridOf = append(p.gridOf, k)
	}
	// Derivatives in parts need x again, which the caller may change.
	if p.count, p.windows = m.parts(x.N); p.count > 1 {
		p.x = ws.ScratchLike("x", x)
		if err := ws.Err(); err != nil {
			return nil, err
		}
		dev.Combine(p.x, compute.Times(1, x))
	}
	m.point = p
	var err error
	p.out, err = p.blend("out", x.N, func(from int) (compute.Tensor, error) { return p.evaluate(from) })
	if err != nil {
		m.point = nil
		return nil, err
	}
	if p.count == 1 {
		if cache, ok := p.base.(prior.TangentCache); ok {
			return cachingPoint{p, cache}, nil
		}
	}
	return p, nil
}

func (m *Model) check(name string, x compute.Tensor, channels, multiple int) error {
	if x.N < 1 || x.C != channels || x.H != m.height || x.W != m.width || x.N%multiple != 0 {
		return fmt.Errorf("%s is %v, a multiple of %d×%d×%d×%d is wanted", name, x, multiple, channels, m.height, m.width)
	}
	return nil
}

var errEnded = errors.New("the point of the tiles ended when the model was evaluated again or closed")
