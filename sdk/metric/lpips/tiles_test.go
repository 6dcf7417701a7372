package lpips

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
)

// narrow returns images of so many rows, of noise that grows downwards.
func narrow(h, w int, seed uint64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 0))
	x := make([]float32, 3*h*w)
	for i := range x {
		x[i] = float32(rng.Float64() * float64(1+i/w%h) / float64(h))
	}
	return x
}

type formula struct{ checkpoint.Formula }

func (formula) Floats(name string, shape ...int) ([]float32, error) {
	count := checkpoint.Tensor{Shape: shape}.Len()
	if len(shape) == 1 {
		return checkpoint.FormulaValues(name, count, 300), nil
	}
	return checkpoint.FormulaValues(name, count, float64(count/shape[0])/2), nil
}

// Tiles give what the whole image gives, in either direction, whatever is left for the last.
func TestTiles(t *testing.T) {
	dev := cpu.New(0)
	defer func() { require.NoError(t, dev.Close()) }()
	for name := range networks {
		m, err := Load(dev, name, formula{})
		require.NoError(t, err)
		defer m.Close()
		for _, size := range [][2]int{{865, 33}, {1283, 40}, {36, 1400}} {
			h, w := size[0], size[1]
			if name != "squeeze" && h != 865 {
				continue
			}
			x, y := narrow(h, w, 1), narrow(h, w, 2)
			whole := func(size int) []span { return []span{{0, size, 0, size}} }
			want, features, err := m.tiled(1, h, w, whole(h), whole(w), [][]float32{x, y})
			require.NoError(t, err)
			tiles := 0
			m.Watch(nil, func() { tiles++ })
			got, gotFeatures, err := m.DistanceAndFeatures(x, y, 1, 3, h, w)
			require.NoError(t, err)
			require.Equal(t, Tiles(h, w), tiles)
			require.Greater(t, tiles, 1)
			require.InEpsilon(t, want[0], got[0], 1e-5, "%s of %d×%d", name, h, w)
			for k := range features {
				require.InDeltaSlice(t, features[k], gotFeatures[k], 1e-5, "%s of %d×%d", name, h, w)
			}
		}
	}
}

// A check that fails ends the work before the next convolution.
func TestWatch(t *testing.T) {
	dev := cpu.New(0)
	defer func() { require.NoError(t, dev.Close()) }()
	m, err := Like(dev)
	require.NoError(t, err)
	defer m.Close()
	calls, enough := 0, errors.New("enough")
	m.Watch(func() error {
		if calls++; calls == 3 {
			return enough
		}
		return nil
	}, nil)
	x := narrow(64, 64, 1)
	_, err = m.Distance(x, x, 1, 3, 64, 64)
	require.ErrorIs(t, err, enough)
	require.Equal(t, 3, calls)
}
