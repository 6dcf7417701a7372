package lpips

// An image that is larger than a tile and two margins passes through the network in tiles,
// so that its memory is bounded. A tile passes with a margin of neighbouring pixels, and of
// each tap's values those count that belong to the tile alone. They are those of the whole
// image but for rounding, because
//
//   - tiles and margins are multiples of the largest stride of a tap, so that a tap's values
//     stand over the same pixels of the image,
//   - the margin is as wide as what a value of the last tap sees beyond its tile: at most 90
//     pixels for VGG-16, 80 for AlexNet and 102 for SqueezeNet.
const tileSide, tileMargin = 640, 112

// span is one side of a tile: the pixels from…to pass through the network, and of those
// first…last count.
type span struct{ from, to, first, last int }

// spans cuts a side into tiles.
func spans(size int) (all []span) {
	if size <= tileSide+2*tileMargin {
		return []span{{0, size, 0, size}}
	}
	for first := 0; first < size; first += tileSide {
		last := min(first+tileSide, size)
		all = append(all, span{max(0, first-tileMargin), min(size, last+tileMargin), first, last})
	}
	return all
}

// Tiles returns how many tiles an image of h×w pixels passes through the network in.
func Tiles(h, w int) int { return len(spans(h)) * len(spans(w)) }

// at returns the span of a tap's values, of which there are so many: they belong to the tile that
// their first pixel, without padding, lies in, and the image's last tile has all that remain.
func (s span) at(stride, size int) span {
	first, last := (s.first-s.from)/stride, size
	if s.to > s.last {
		last = (s.last - s.from) / stride
	}
	return span{0, size, min(first, size), last}
}

// Memory returns about how many bytes the comparison of two images of h×w takes beside them:
// the first convolution's maps of two tiles, which are the largest, before and after a step, on
// the host and on the device.
func (m *Metric) Memory(h, w int) int64 {
	side := func(size int) int64 { return int64(min(size, tileSide+2*tileMargin)) }
	stride := int64(m.strides[0])
	return 4 * 2 * 4 * 64 * side(h) * side(w) / (stride * stride)
}
