package cuda

import "github.com/cmi-diffusion/cmi/sdk/compute"

// normalsImages is the images of one launch: normals_images of normals.cu.
const normalsImages = 64

type normalsParams struct {
	dst           view
	first, length int32
	blocks        [normalsImages * 6]uint32
}

// Normals implements [compute.Drawer]: the same bits as the host's.
func (d *Device) Normals(dst compute.Tensor, first []compute.PhiloxBlock) {
	if !d.NormalsFits(dst, first) {
		return
	}
	for from := 0; from < dst.N; from += normalsImages {
		images := min(normalsImages, dst.N-from)
		p := normalsParams{dst: viewOf(dst), first: int32(from), length: int32(dst.Len())}
		for n, b := range first[from : from+images] {
			copy(p.blocks[n*6:], b.Counter[:])
			copy(p.blocks[n*6+4:], b.Key[:])
		}
		launch(d, "normals", over(dst.Len(), images, 1), row(threads), 0, &p)
	}
}
