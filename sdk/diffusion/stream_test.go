package diffusion_test

import (
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// The known-answer vectors published with Random123 (kat_vectors, philox 4x32 10).
func TestPhiloxKnownAnswers(t *testing.T) {
	ones := uint32(math.MaxUint32)
	for _, v := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{want: [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{ones, ones, ones, ones}, [2]uint32{ones, ones}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		assert.Equal(t, v.want, diffusion.Philox(v.counter, v.key))
	}
}

// The counter layout is a promise to other implementations and to old runs.
func TestStreamLayout(t *testing.T) {
	s := diffusion.Stream{Seed: 0x1122334455667788, Image: 0x99aabbccddeeff00, Step: 0x1234, Draw: 0x5678, Purpose: diffusion.Probe}
	key := [2]uint32{0x55667788, 0x11223344}
	word := func(i int) uint32 {
		return diffusion.Philox([4]uint32{uint32(i/4) | 3<<24, 0xddeeff00, 0x99aabbcc, 0x56781234}, key)[i%4]
	}
	uniform, signs, normals := make([]float32, 23), make([]float32, 300), make([]float32, 23)
	s.Uniform(uniform)
	s.Rademacher(signs)
	s.Normals(normals)
	for i, v := range uniform {
		assert.Equal(t, float32(word(i)>>8)/(1<<24), v)
	}
	for i, v := range signs {
		assert.Equal(t, 2*float32(word(i/32)>>(i%32)&1)-1, v)
	}
	for i := 0; i+1 < len(normals); i += 2 {
		u, w := (float64(word(i))+0.5)/(1<<32), (float64(word(i+1))+0.5)/(1<<32)
		r, angle := math.Sqrt(-2*math.Log(u)), 2*math.Pi*(w-0.125)
		assert.InDelta(t, r*math.Cos(angle), normals[i], 1e-6)
		assert.InDelta(t, r*math.Sin(angle), normals[i+1], 1e-6)
	}
	rng := s.Rand()
	for k := range 5 {
		assert.Equal(t, uint64(word(2*k))|uint64(word(2*k+1))<<32, rng.Uint64())
	}
}

// The bits of 2^16 normals, the same for every architecture this test runs on.
func TestNormalsBits(t *testing.T) {
	x := make([]float32, 1<<16)
	diffusion.Stream{Seed: 7}.Normals(x)
	raw := make([]byte, 0, 4*len(x))
	for _, v := range x {
		b := math.Float32bits(v)
		raw = append(raw, byte(b), byte(b>>8), byte(b>>16), byte(b>>24))
	}
	assert.Equal(t, "a4f30f29", fmt.Sprintf("%08x", crc32.ChecksumIEEE(raw)))
}

// A prefix of a stream does not depend on how much of it is drawn.
func TestStreamPrefix(t *testing.T) {
	for name, fill := range map[string]func(diffusion.Stream, []float32){
		"normals": diffusion.Stream.Normals, "signs": diffusion.Stream.Rademacher, "uniform": diffusion.Stream.Uniform,
	} {
		s := diffusion.Stream{Seed: 3, Image: 9, Step: 2}
		all := make([]float32, 517)
		fill(s, all)
		for _, n := range []int{0, 1, 3, 4, 127, 128, 129, 516} {
			part := make([]float32, n)
			fill(s, part)
			assert.True(t, slices.Equal(all[:n], part), "%s, %d values", name, n)
		}
	}
}

// Moments of N(0, 1), each within five standard errors, and the shares beyond
// one, two and three.
func TestNormalMoments(t *testing.T) {
	const n = 1 << 18
	x := make([]float32, n)
	diffusion.Stream{Seed: 1, Purpose: diffusion.StepNoise}.Normals(x)
	var m [5]float64
	var beyond [4]float64
	largest := 0.0
	for _, v := range x {
		p := 1.0
		for k := range m {
			m[k] += p / n
			p *= float64(v)
		}
		for k := range beyond {
			if math.Abs(float64(v)) > float64(k) {
				beyond[k] += 1.0 / n
			}
		}
		largest = max(largest, math.Abs(float64(v)))
	}
	root := math.Sqrt(n)
	assert.InDelta(t, 0, m[1], 5/root)
	assert.InDelta(t, 1, m[2], 5*math.Sqrt2/root)
	assert.InDelta(t, 0, m[3], 5*math.Sqrt(15)/root)
	assert.InDelta(t, 3, m[4], 5*math.Sqrt(96)/root)
	for k := 1; k <= 3; k++ {
		p := math.Erfc(float64(k) / math.Sqrt2)
		assert.InDelta(t, p, beyond[k], 5*math.Sqrt(p*(1-p))/root, "beyond %d", k)
	}
	assert.Less(t, largest, 6.77)
}

// Streams that differ in one field, neighbouring values of one stream, and the
// same places of neighbouring blocks are uncorrelated.
func TestStreamsAreIndependent(t *testing.T) {
	const n = 1 << 15
	base := diffusion.Stream{Seed: 5, Image: 1, Step: 4, Draw: 2, Purpose: diffusion.Measurement}
	fill := func(f func(diffusion.Stream, []float32), s diffusion.Stream) []float32 {
		x := make([]float32, n)
		f(s, x)
		return x
	}
	correlation := func(a, b []float32) float64 {
		sum := 0.0
		for i := range b {
			sum += float64(a[i]) * float64(b[i])
		}
		return sum / float64(len(b))
	}
	bound := 5 / math.Sqrt(n)
	for name, change := range map[string]func(*diffusion.Stream){
		"seed": func(s *diffusion.Stream) { s.Seed++ }, "high seed": func(s *diffusion.Stream) { s.Seed ^= 1 << 40 },
		"image": func(s *diffusion.Stream) { s.Image++ }, "high image": func(s *diffusion.Stream) { s.Image ^= 1 << 50 },
		"step": func(s *diffusion.Stream) { s.Step++ }, "draw": func(s *diffusion.Stream) { s.Draw++ },
		"purpose": func(s *diffusion.Stream) { s.Purpose++ },
		"swapped": func(s *diffusion.Stream) { s.Step, s.Draw = s.Draw, s.Step },
	} {
		other := base
		change(&other)
		for kind, f := range map[string]func(diffusion.Stream, []float32){"normals": diffusion.Stream.Normals, "signs": diffusion.Stream.Rademacher} {
			assert.InDelta(t, 0, correlation(fill(f, base), fill(f, other)), bound, "%s, %s", name, kind)
		}
	}
	for kind, f := range map[string]func(diffusion.Stream, []float32){"normals": diffusion.Stream.Normals, "signs": diffusion.Stream.Rademacher} {
		x := fill(f, base)
		for _, lag := range []int{1, 2, 3, 4, 32, 128} {
			assert.InDelta(t, 0, correlation(x, x[lag:]), bound, "%s, lag %d", kind, lag)
		}
	}
	purposes := map[diffusion.Purpose]bool{}
	for _, p := range []diffusion.Purpose{diffusion.Initial, diffusion.StepNoise, diffusion.Measurement, diffusion.Probe,
		diffusion.MethodNoise, diffusion.Degradation, diffusion.Synthetic} {
		assert.False(t, purposes[p], "purpose %d twice", p)
		purposes[p] = true
	}
}

func TestUniformAndSigns(t *testing.T) {
	const n = 1 << 17
	x := make([]float32, n)
	diffusion.Stream{Seed: 2}.Uniform(x)
	bins := make([]float64, 16)
	for _, v := range x {
		assert.True(t, v >= 0 && v < 1)
		bins[int(v*16)]++
	}
	chi2 := 0.0
	for _, b := range bins {
		chi2 += (b - n/16) * (b - n/16) / (n / 16)
	}
	assert.Less(t, chi2, 44.3, "χ² with 15 degrees of freedom, p = 1e-4")

	diffusion.Stream{Seed: 2}.Rademacher(x)
	sum := 0.0
	for _, v := range x {
		assert.True(t, v == 1 || v == -1)
		sum += float64(v)
	}
	assert.InDelta(t, 0, sum/n, 5/math.Sqrt(n))
}

// The noise of image 12 in step 40 of a run is the same wherever it is computed.
func ExampleStream_Normals() {
	z := make([]float32, 3)
	diffusion.Stream{Seed: 1, Image: 12, Step: 40, Purpose: diffusion.StepNoise}.Normals(z)
	fmt.Println(z)
	// Output: [-0.7551206 2.250559 -2.2023416]
}
