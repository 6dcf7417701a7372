//go:build linux

package cuda

import (
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// The device draws the same bits as the host, in images that are no multiple of four
// and more of them than one launch takes.
func TestNormals(t *testing.T) {
	d := emulated(t, TF32)
	defer d.Close()
	const images, length = normalsImages + 3, 3 * 35
	x, err := compute.New(d, images, 3, 5, 7)
	if err != nil {
		t.Fatal(err)
	}
	streams := make([]diffusion.Stream, images)
	first := make([]compute.PhiloxBlock, images)
	for n := range streams {
		streams[n] = diffusion.Stream{Seed: 1<<40 + 7, Image: uint64(n) << 30, Step: 999, Draw: 3, Purpose: diffusion.StepNoise}
		first[n].Counter, first[n].Key = streams[n].First()
	}
	d.Normals(x, first)
	got, err := compute.ToHost(d, x)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]float32, length)
	for n, s := range streams {
		s.Normals(want)
		for i, w := range want {
			if got[n*length+i] != w {
				t.Fatalf("image %d, value %d: %v, the host has %v", n, i, got[n*length+i], w)
			}
		}
	}
}
