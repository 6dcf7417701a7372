package diffusion

import (
	"fmt"
	"math/rand/v2"
)

// Purpose says what random numbers are for, so that no two uses share any.
type Purpose uint8

// The purposes. Their numbers are part of what makes an old run repeatable:
// add at the end, never renumber.
const (
	Initial     Purpose = iota // x_T
	StepNoise                  // the noise of a reverse step
	Measurement                // the noise of a synthetic measurement
	Probe                      // Rademacher probes of the information term
	MethodNoise                // a method's own noise, like MCG's noised measurement
	Degradation                // a random operator: masks, boxes, kernels
	Synthetic                  // test data
	Tiling                     // how the windows of a prior of tiles move; Step and Draw hold the timestep
)

// Stream names one sequence of random numbers. Streams that differ in any field
// are independent, and a stream's values depend on nothing else: not on the
// device, the batch, or what was drawn before.
//
// The Philox key is (Seed low, Seed high). Block b of four words has the counter
//
//	word 0: b (24 bits) | Purpose << 24
//	word 1: Image, low half
//	word 2: Image, high half
//	word 3: Step (16 bits) | Draw << 16
//
// so a stream holds 2^26 words.
type Stream struct {
	Seed    uint64
	Image   uint64 // number of the image in the user's set
	Step    uint16 // index of the respaced step, 0 the last
	Draw    uint16 // number within a step: the k-th probe
	Purpose Purpose
}

// maxBlocks is the number of Philox blocks of a stream.
const maxBlocks = 1 << 24

// within panics where a stream has no block b. Beyond its end it would repeat
// another purpose's words, so that is a fault of the program.
func within(b int) {
	if b >= maxBlocks {
		panic(fmt.Sprintf("diffusion: a random stream has %d words, more were drawn", 4*maxBlocks))
	}
}

// block returns the b-th four words of the stream.
func (s Stream) block(b int) [4]uint32 {
	within(b)
	counter, key := s.First()
	counter[0] |= uint32(b)
	return Philox(counter, key)
}

// First returns the counter and the key of the stream's first block, for devices that
// draw the numbers themselves.
func (s Stream) First() (counter [4]uint32, key [2]uint32) {
	return [4]uint32{uint32(s.Purpose) << 24, uint32(s.Image), uint32(s.Image >> 32), uint32(s.Step) | uint32(s.Draw)<<16},
		[2]uint32{uint32(s.Seed), uint32(s.Seed >> 32)}
}

// Normals fills dst with the stream's first values of N(0, 1), by Box–Muller from
// each pair of words (see [boxMuller]): at most 6.77 in size, the same bits on
// every architecture. At most 2^26 values.
func (s Stream) Normals(dst []float32) {
	within((len(dst) - 1) / 4)
	counter, key := s.First()
	Normals(dst, counter, key)
}

// Normals is [Stream.Normals] from the blocks that follow a counter: block b has
// its word 0 raised by b.
func Normals(dst []float32, counter [4]uint32, key [2]uint32) {
	for i := 0; i < len(dst); i += 4 {
		w := Philox(counter, key)
		counter[0]++
		a, b := boxMuller(w[0], w[1])
		c, d := boxMuller(w[2], w[3])
		copy(dst[i:], []float32{a, b, c, d})
	}
}

// Rademacher fills dst with values −1 and 1 of equal probability: value j is +1
// where bit j mod 32 of word j/32 is set.
func (s Stream) Rademacher(dst []float32) {
	for i := 0; i < len(dst); i += 128 {
		w := s.block(i / 128)
		for j := range dst[i:min(i+128, len(dst))] {
			dst[i+j] = 2*float32(w[j/32]>>(j%32)&1) - 1
		}
	}
}

// Uniform fills dst with values of U[0, 1): the upper 24 bits of each word. At
// most 2^26 values.
func (s Stream) Uniform(dst []float32) {
	for i := 0; i < len(dst); i += 4 {
		w := s.block(i / 4)
		for j := range dst[i:min(i+4, len(dst))] {
			dst[i+j] = float32(w[j]>>8) / (1 << 24)
		}
	}
}

// Rand returns the stream as a standard generator, for permutations and the like.
// Word 2k is the low half of its k-th 64-bit value.
func (s Stream) Rand() *rand.Rand { return rand.New(&source{stream: s}) }

// source implements [rand.Source].
type source struct {
	stream Stream
	words  [4]uint32
	next   int // of 64-bit values
}

func (s *source) Uint64() uint64 {
	if s.next%2 == 0 {
		s.words = s.stream.block(s.next / 2)
	}
	at := s.next % 2 * 2
	s.next++
	return uint64(s.words[at]) | uint64(s.words[at+1])<<32
}
