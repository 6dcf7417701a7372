package mixture

import (
	"fmt"
	"math"
	"runtime"
	"sync"

	"gonum.org/v1/gonum/floats"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Model is the mixture as a noise predictor ε(x_t, t) = −√(1−ᾱ_t) ∇ log p_t(x_t).
// A vector of length n is an image of one channel, height 1 and width n. The
// values live on a device in float32; the arithmetic between is float64 on the
// host. Like its device it is used by one goroutine at a time.
type Model struct {
	marginals []*Marginal // one for each timestep
	width     int
	dev       compute.Device
	out       [4]compute.Tensor // the results of Out, VJP, JVP and Second
	point     *point            // the valid one
}

var _ prior.Model = (*Model)(nil)

// The results that a model owns, one tensor each.
const (
	outTensor = iota
	vjpTensor
	jvpTensor
	secondTensor
)

var methodNames = [...]string{"At", "VJP", "JVP", "Second"}

// NewModel returns the noise predictor of m with T = len(alphaBar) timesteps, ᾱ_t in
// [0, 1]. The mixture must not change afterwards. The caller keeps the device
// and closes it after the model.
func NewModel(m *Mixture, alphaBar []float64, dev compute.Device) (*Model, error) {
	if len(alphaBar) == 0 {
		return nil, fmt.Errorf("mixture: no timesteps, want at least one alphaBar")
	}
	if dev == nil {
		return nil, fmt.Errorf("mixture: no device")
	}
	model := &Model{width: m.Dim(), dev: dev}
	for t, ab := range alphaBar {
		p, err := m.Marginal(ab)
		if err != nil {
			return nil, fmt.Errorf("timestep %d: %w", t, err)
		}
		model.marginals = append(model.marginals, p)
	}
	return model, nil
}

// Image is 1, 1, n.
func (m *Model) Image() (channels, height, width int) { return 1, 1, m.width }

// LearnedVariance is false.
func (m *Model) LearnedVariance() bool { return false }

// Steps returns the length of the ᾱ table.
func (m *Model) Steps() int { return len(m.marginals) }

// Device returns the one given to [NewModel].
func (m *Model) Device() compute.Device { return m.dev }

// Close frees the results' memory. The last point ends with it.
func (m *Model) Close() {
	for i, t := range m.out {
		if t.Buf != nil {
			m.dev.Free(t.Buf)
		}
		m.out[i] = compute.Tensor{}
	}
	m.point = nil
}

// At evaluates ε at x [N,1,1,n]. Earlier points report an error from then on.
func (m *Model) At(x compute.Tensor, t []int) (prior.Point, error) {
	m.point = nil
	if len(t) != x.N {
		return nil, fmt.Errorf("mixture: %d timesteps for %d images, want one each", len(t), x.N)
	}
	for i, step := range t {
		if step < 0 || step >= len(m.marginals) {
			return nil, fmt.Errorf("mixture: timestep %d of image %d, want 0 … %d", step, i, len(m.marginals)-1)
		}
	}
	p := &point{model: m, locals: make([]Local, x.N)}
	components := len(m.marginals[0].offset)
	stride := 2*m.width + components
	flat := make([]float64, x.N*stride)
	for i := range p.locals {
		f := flat[i*stride : (i+1)*stride]
		p.locals[i] = Local{x: f[:m.width], mean: f[m.width : 2*m.width], resp: f[2*m.width:]}
	}
	failures := make([]error, x.N)
	_, err := p.apply(outTensor, []compute.Tensor{x}, func(i int, dst []float64, args [][]float64) {
		l := &p.locals[i]
		copy(l.x, args[0])
		if failures[i] = l.evaluate(m.marginals[t[i]]); failures[i] == nil {
			l.Score(dst)
		}
	})
	if err != nil {
		return nil, err
	}
	for i, err := range failures {
		if err != nil {
			return nil, fmt.Errorf("image %d: %w", i, err)
		}
	}
	m.point = p
	return p, nil
}

// point is the model at N images.
type point struct {
	model  *Model
	locals []Local
}

func (p *point) Out() compute.Tensor { return p.model.out[outTensor] }

// VJP is JVP of one direction an image: the Hessian is symmetric.
func (p *point) VJP(u compute.Tensor) (compute.Tensor, error) {
	if u.N != len(p.locals) {
		return compute.Tensor{}, fmt.Errorf("mixture: VJP of %d images at a point of %d, want as many", u.N, len(p.locals))
	}
	return p.derivative(vjpTensor, []compute.Tensor{u}, func(l *Local, dst []float64, args [][]float64) {
		l.HessianVec(dst, args[0])
	})
}

func (p *point) JVP(v compute.Tensor) (compute.Tensor, error) {
	return p.derivative(jvpTensor, []compute.Tensor{v}, func(l *Local, dst []float64, args [][]float64) {
		l.HessianVec(dst, args[0])
	})
}

func (p *point) Second(v, w compute.Tensor) (compute.Tensor, error) {
	return p.derivative(secondTensor, []compute.Tensor{v, w}, func(l *Local, dst []float64, args [][]float64) {
		l.Third(dst, args[0], args[1])
	})
}

// derivative applies f at the valid point, direction i at image i mod N.
func (p *point) derivative(result int, args []compute.Tensor, f func(l *Local, dst []float64, args [][]float64)) (compute.Tensor, error) {
	if p.model.point != p {
		return compute.Tensor{}, fmt.Errorf("mixture: %s at a point that ended when the model was evaluated again or closed", methodNames[result])
	}
	return p.apply(result, args, func(i int, dst []float64, args [][]float64) {
		f(&p.locals[i%len(p.locals)], dst, args)
	})
}

// apply reads args, computes −σ_t·f for each of their images, f a derivative of
// log p_t, and writes the result to the tensor kept for it.
func (p *point) apply(result int, args []compute.Tensor, f func(i int, dst []float64, args [][]float64)) (compute.Tensor, error) {
	m, name := p.model, methodNames[result]
	count, n := args[0].N, m.width
	host := make([][]float32, len(args))
	for k, a := range args {
		switch {
		case a.C != 1 || a.H != 1 || a.W != n:
			return compute.Tensor{}, fmt.Errorf("mixture: %s of a tensor %v, want images 1×1×%d", name, a, n)
		case a.N != count:
			return compute.Tensor{}, fmt.Errorf("mixture: %s of tensors %v and %v, want the same shape", name, args[0], a)
		case a.N == 0 || a.N%len(p.locals) != 0:
			return compute.Tensor{}, fmt.Errorf("mixture: %s of %d images at a point of %d, want a positive multiple", name, a.N, len(p.locals))
		}
		host[k] = make([]float32, count*n)
		if err := m.dev.Read(host[k], a); err != nil {
			return compute.Tensor{}, fmt.Errorf("mixture: reading the argument of %s: %w", name, err)
		}
	}
	values := make([]float32, count*n)
	inParallel(count, func(from, to int) {
		scratch := make([]float64, (1+len(args))*n)
		dst, vectors := scratch[:n], make([][]float64, len(args))
		for i := from; i < to; i++ {
			for k := range vectors {
				vectors[k] = scratch[(1+k)*n : (2+k)*n]
				for j, v := range host[k][i*n : (i+1)*n] {
					vectors[k][j] = float64(v)
				}
			}
			f(i, dst, vectors)
			floats.Scale(-math.Sqrt(p.locals[i%len(p.locals)].p.sigma2), dst)
			for j, v := range dst {
				values[i*n+j] = float32(v)
			}
		}
	})
	for i, v := range values {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return compute.Tensor{}, fmt.Errorf("mixture: %s of image %d is %g in float32; its argument is too large or not a number", name, i/n, v)
		}
	}
	out := &m.out[result]
	if out.N != count {
		if out.Buf != nil {
			m.dev.Free(out.Buf)
		}
		var err error
		if *out, err = compute.New(m.dev, count, 1, 1, n); err != nil {
			*out = compute.Tensor{}
			return compute.Tensor{}, fmt.Errorf("mixture: result of %s: %w", name, err)
		}
	}
	m.dev.Write(*out, values)
	return *out, nil
}

// inParallel splits 0 … count−1 into one range for each processor.
func inParallel(count int, f func(from, to int)) {
	workers := min(runtime.GOMAXPROCS(0), count)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { f(w*count/workers, (w+1)*count/workers) })
	}
	wg.Wait()
}
