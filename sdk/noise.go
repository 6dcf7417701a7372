package sdk

import (
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
)

// philox draws every number from a counter keyed by seed, image, step and
// purpose, so that a picture does not depend on the batch it is in, on the device,
// or on where a run was interrupted.
type philox struct {
	seed   uint64
	images []uint64
}

func newPhilox(seed uint64, images []uint64, n int) *philox {
	if images == nil {
		for i := range n {
			images = append(images, uint64(i))
		}
	}
	return &philox{seed, images}
}

// streams returns the images' streams of a step and a purpose.
func (p *philox) streams(index, draw int, purpose diffusion.Purpose) []diffusion.Stream {
	all := make([]diffusion.Stream, len(p.images))
	for n, image := range p.images {
		all[n] = diffusion.Stream{Seed: p.seed, Image: image, Step: uint16(index), Draw: uint16(draw), Purpose: purpose}
	}
	return all
}

// each fills dst with one stream for each image.
func each(dst []float32, streams []diffusion.Stream, fill func(diffusion.Stream, []float32)) {
	size := len(dst) / len(streams)
	for n, s := range streams {
		fill(s, dst[n*size:(n+1)*size])
	}
}

func (p *philox) initial() []diffusion.Stream { return p.streams(0, 0, diffusion.Initial) }
func (p *philox) step(index int) []diffusion.Stream {
	return p.streams(index, 0, diffusion.StepNoise)
}

func (p *philox) Initial(x []float32)         { each(x, p.initial(), diffusion.Stream.Normals) }
func (p *philox) Step(z []float32, index int) { each(z, p.step(index), diffusion.Stream.Normals) }

func (p *philox) Probe(z []float32, index, probe int) {
	each(z, p.streams(index, probe, diffusion.Probe), diffusion.Stream.Rademacher)
}

func (p *philox) Method(z []float32, index, draw int) {
	each(z, p.streams(index, draw, diffusion.MethodNoise), diffusion.Stream.Normals)
}

// initial makes the first state: x_T, drawn on the device where that can draw it, or what the
// options or the method make of it.
func (s *Solver) initial() error {
	s.next = s.o.Schedule.Len() - 1
	if p, ok := s.o.Noise.(*philox); !ok || !s.drawn(s.step.X, p.initial()) {
		s.o.Noise.Initial(s.host)
		s.dev.Write(s.step.X, s.host)
	}
	s.clearCarried()
	start := func(*guide.Step) error { return nil }
	if s.o.FromMeasurement {
		start = guide.FromMeasurement
	} else if m, ok := s.o.Method.(guide.Starter); ok {
		start = m.Start
	}
	s.step.Index = s.next
	if err := start(&s.step); err != nil {
		return err
	}
	return s.dev.Sync()
}

// stepNoise draws z of a step, likewise.
func (s *Solver) stepNoise(z compute.Tensor, index int) {
	if p, ok := s.o.Noise.(*philox); ok && s.drawn(z, p.step(index)) {
		return
	}
	s.o.Noise.Step(s.host, index)
	s.dev.Write(z, s.host)
}

// drawn has the device draw normals, and says whether it can.
func (s *Solver) drawn(dst compute.Tensor, streams []diffusion.Stream) bool {
	d, ok := s.dev.(compute.Drawer)
	if ok {
		first := make([]compute.PhiloxBlock, len(streams))
		for n, stream := range streams {
			first[n].Counter, first[n].Key = stream.First()
		}
		d.Normals(dst, first)
	}
	return ok
}
