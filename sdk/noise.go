package sdk

import "github.com/cmi-diffusion/cmi/sdk/diffusion"

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

// each fills dst with one stream for each image.
func (p *philox) each(dst []float32, index, draw int, purpose diffusion.Purpose, fill func(diffusion.Stream, []float32)) {
	size := len(dst) / len(p.images)
	for n, image := range p.images {
		s := diffusion.Stream{Seed: p.seed, Image: image, Step: uint16(index), Draw: uint16(draw), Purpose: purpose}
		fill(s, dst[n*size:(n+1)*size])
	}
}

func (p *philox) Initial(x []float32) {
	p.each(x, 0, 0, diffusion.Initial, diffusion.Stream.Normals)
}

func (p *philox) Step(z []float32, index int) {
	p.each(z, index, 0, diffusion.StepNoise, diffusion.Stream.Normals)
}

func (p *philox) Probe(z []float32, index, probe int) {
	p.each(z, index, probe, diffusion.Probe, diffusion.Stream.Rademacher)
}

func (p *philox) Method(z []float32, index, draw int) {
	p.each(z, index, draw, diffusion.MethodNoise, diffusion.Stream.Normals)
}
