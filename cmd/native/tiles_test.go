package main

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// Pictures of any size come back at it, also where they are smaller than a window or no
// multiple of the task's factor, and do not depend on the batch or on how many windows are
// computed together.
func TestPicturesOfAnySize(t *testing.T) {
	dir := t.TempDir()
	in := func(name string, h, w int) string {
		p := picture.Image{C: 3, H: h, W: w, Pix: make([]float32, 3*h*w)}
		for i := range p.Pix {
			p.Pix[i] = float32(rand.New(rand.NewPCG(1, uint64(i/40))).Float64())*2 - 1
		}
		path := filepath.Join(dir, name)
		require.NoError(t, p.SavePNG(path))
		return path
	}
	wide, small, mask := in("wide.png", 66, 101), in("small.png", 30, 65), filepath.Join(dir, "mask.png")
	hole := picture.Image{C: 1, H: 30, W: 65, Pix: make([]float32, 30*65)}
	for i := range hole.Pix {
		hole.Pix[i] = float32(2*(i%3%2) - 1)
	}
	require.NoError(t, hole.SavePNG(mask))
	run := func(args ...string) string {
		out := t.TempDir()
		code, _, stderr := tool(context.Background(), append([]string{"restore", "--steps", "2", "--method", "diffpir", "--npy", "--out", out}, args...)...)
		require.Zero(t, code, stderr)
		return out
	}
	size := func(out, name string, h, w int) picture.Image {
		p, err := picture.OpenArray(filepath.Join(out, name), -1, 1)
		require.NoError(t, err)
		assert.Equal(t, [3]int{3, h, w}, [3]int{p.C, p.H, p.W})
		return p
	}
	two := run(wide, small, "--prior", "photos64", "--batch", "2")
	size(two, "small.npy", 30, 65)
	alone := run(wide, "--tiles", "--prior", "photos64", "--windows", "1")
	assert.InDeltaSlice(t, size(alone, "wide.npy", 66, 101).Pix, size(two, "wide.npy", 66, 101).Pix, 1e-4)
	again := run(filepath.Join(two, "wide.measurement.npy"), "--measured", "--prior", "photos64")
	size(again, "wide.measurement.npy", 17*4, 26*4)
	size(run(small, "--prior", "photos64", "--task", "mask", "--mask", mask), "small.npy", 30, 65)
	size(run(small, "--prior", "photos64", "--resize"), "small.npy", 64, 64)

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{wide}, "wide.png is 101×66, the prior wants 64×64: pass --resize or --crop, or --tiles to keep its size"},
		{[]string{wide, "--tiles", "--crop"}, "--tiles keeps the pictures' size, --resize and --crop change it: give one of them"},
		{[]string{wide, "--windows", "3"}, "--windows 3 would do nothing"},
		{[]string{wide, "--tiles", "--windows=-3"}, "--windows is -3"},
		{[]string{wide, "--tiles", "--task", "mask", "--mask", mask}, "65×30"},
	} {
		code, _, stderr := tool(context.Background(), append([]string{"restore", "--steps", "2", "--out", t.TempDir()}, c.args...)...)
		assert.NotZero(t, code)
		assert.Contains(t, stderr, c.want)
	}
	_, err := os.Stat(filepath.Join(two, "small.measurement.png"))
	require.NoError(t, err)
}

// --whole applies the network to all of a picture, whose size it keeps; at the prior's own
// size it gives what restore gives without it.
func TestWhole(t *testing.T) {
	big := filepath.Join(t.TempDir(), "big.png")
	p := picture.Image{C: 3, H: 70, W: 101, Pix: make([]float32, 3*70*101)}
	for i := range p.Pix {
		p.Pix[i] = float32(i%97)/97 - 0.5
	}
	require.NoError(t, p.SavePNG(big))
	run := func(input string, more ...string) string {
		out := t.TempDir()
		code, _, stderr := tool(t.Context(), append([]string{"restore", input, "--task", "sr4", "--steps", "3", "--out", out}, more...)...)
		require.Zero(t, code, stderr)
		return out
	}
	got, err := picture.Open(filepath.Join(run(big, "--whole", "--prior", "photos64", "--method", "pathwise"), "big.png"))
	require.NoError(t, err)
	require.Equal(t, [2]int{70, 101}, [2]int{got.H, got.W})
	run(big, "--whole", "--prior", "../../testdata/golden/formats/edm-skips/model.pkl", "--class", "1")

	same, err := os.ReadFile(filepath.Join(run(face), "01.png"))
	require.NoError(t, err)
	whole, err := os.ReadFile(filepath.Join(run(face, "--whole"), "01.png"))
	require.NoError(t, err)
	require.Equal(t, same, whole)

	_, _, stderr := tool(t.Context(), "restore", big, "--whole", "--tiles", "--out", t.TempDir())
	require.Contains(t, stderr, "give one of them")
	_, _, stderr = tool(t.Context(), "restore", big, "--whole", "--crop", "--out", t.TempDir())
	require.Contains(t, stderr, "--whole keeps the pictures' size")
}
