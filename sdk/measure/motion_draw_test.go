package measure

import (
	"encoding/json"
	"math"
	"math/cmplx"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Random paths drawn with Pillow's line, GaussianBlur and LANCZOS resize, in
// testdata/motion.json (43 KiB), by the total variation between the kernels. Pillow
// makes its Gaussian of boxes, and sets lines of even width, from 107 pixels on, to
// one side by half a pixel of the canvas.
func TestExposureAgainstPillow(t *testing.T) {
	data, err := os.ReadFile("testdata/motion.json")
	require.NoError(t, err)
	var cases []struct {
		Size   int
		Path   [][2]float64
		Levels []byte
	}
	require.NoError(t, json.Unmarshal(data, &cases))
	require.Len(t, cases, 7)
	for _, c := range cases {
		var path []complex128
		for _, p := range c.Path {
			path = append(path, complex(p[0], p[1]))
		}
		kernel, err := exposure(c.Size, path)
		require.NoError(t, err)
		total, variation := 0.0, 0.0
		for _, v := range c.Levels {
			total += float64(v)
		}
		for i, v := range kernel.Weights {
			variation += math.Abs(v-float64(c.Levels[i])/total) / 2
		}
		bound := 0.015
		if c.Size >= 107 {
			bound = 0.1
		}
		assert.Less(t, variation, bound, "size %d", c.Size)
	}
}

// Means over 3000 paths of the recipe in NumPy, whose standard errors are below 1 %:
// number of points, root mean square distance from the centre, way, and end to end.
func TestMotionPathStatistics(t *testing.T) {
	const paths = 3000
	for intensity, want := range map[float64][4]float64{
		0:   {11.675, 19.92, 64.5, 64.5},
		0.5: {25.30, 22.60, 81.2, 74.9},
		1:   {235.2, 22.42, 130.4, 72.9},
	} {
		rng := rand.New(rand.NewPCG(1, 2))
		var got [4]float64
		for range paths {
			path := motionPath(61, intensity, rng)
			var mean complex128
			square := 0.0
			for i, p := range path {
				mean += p / complex(float64(len(path)), 0)
				square += math.Pow(cmplx.Abs(p-(61+61i)), 2) / float64(len(path))
				got[2] += cmplx.Abs(p-path[max(i-1, 0)]) / paths
			}
			require.Less(t, cmplx.Abs(mean-(61+61i)), 1e-9, "centred")
			got[0] += float64(len(path)) / paths
			got[1] += math.Sqrt(square) / paths
			got[3] += cmplx.Abs(path[len(path)-1]-path[0]) / paths
		}
		for i, v := range want {
			assert.InEpsilon(t, v, got[i], 0.05, "intensity %v, statistic %d", intensity, i)
		}
	}
}

// At intensity 0 every path is a straight line, its direction uniform in [0, π).
func TestMotionPathStraight(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var sines, cosines float64
	for range 2000 {
		path := motionPath(61, 0, rng)
		along := path[len(path)-1] - path[0]
		for _, p := range path {
			require.InDelta(t, 0, imag((p-path[0])*cmplx.Conj(along)), 1e-9)
		}
		angle := cmplx.Phase(along)
		require.True(t, angle >= 0)
		sines += math.Sin(angle) / 2000
		cosines += math.Cos(angle) / 2000
	}
	assert.InDelta(t, 2/math.Pi, sines, 0.03)
	assert.InDelta(t, 0, cosines, 0.06)
}

// A draw of Beta(1, 30) below a limit has mean ∫ x f / ∫ f, and half the limit where
// that is small; it is never zero nor beyond.
func TestBetaBelow(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for limit, mean := range map[float64]float64{1e-12: 0.5e-12, 1: 1 / 31., 7: 1 / 31.} {
		sum := 0.0
		for range 20000 {
			v := betaBelow(limit, rng)
			require.True(t, v > 0 && v <= min(limit, 1), "%v below %v", v, limit)
			sum += v / 20000
		}
		assert.InEpsilon(t, mean, sum, 0.04)
	}
}

// No motion at all is a point in the middle, and a path beyond the canvas is cut.
func TestExposureOfDegeneratePaths(t *testing.T) {
	point, err := exposure(15, []complex128{15 + 15i})
	require.NoError(t, err)
	assert.Positive(t, point.Weights[7*15+7])
	_, err = exposure(15, []complex128{-50 - 50i, 0 + 15i, 500 + 15i})
	require.NoError(t, err)
	_, err = exposure(15, []complex128{-50 - 50i, -50 - 60i})
	assert.ErrorContains(t, err, "the blur kernel is zero")
}
