package tiles

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// axis is one direction of the grid: count windows of side pixels that cover length pixels.
type axis struct{ length, side, count int }

// newAxis takes as few windows as give a mean distance of at most 5/8 of a window.
func newAxis(length, side int) axis {
	a := axis{length, side, 1}
	if slack := length - side; slack > 0 {
		distance := max(1, 5*side/8)
		a.count = 1 + (slack+distance-1)/distance
	}
	return a
}

// starts returns the first pixel of each window. The first and the last window touch the
// picture's edges; those between move together by u in [0, 1), as far as an eighth of a
// window is left of each overlap.
func (a axis) starts(u float64) []int {
	starts := make([]int, a.count)
	slack := a.length - a.side
	mean := float64(slack) / float64(max(1, a.count-1))
	reach := max(0, min(mean, float64(7*a.side/8)-mean))
	for i := range starts {
		switch i {
		case 0:
		case a.count - 1:
			starts[i] = slack
		default:
			starts[i] = min(max(int(math.Round(float64(i)*mean+(2*u-1)*reach)), 0), slack)
		}
	}
	return starts
}

// weights returns the weight of each pixel of each window, sin² across a window and divided
// by the sum over the windows, so that the weights of a pixel add up to 1.
func (a axis) weights(starts []int) [][]float64 {
	bump := func(i int) float64 { s := math.Sin(math.Pi * (float64(i) + 0.5) / float64(a.side)); return s * s }
	sum := make([]float64, a.length)
	for _, start := range starts {
		for i := range a.side {
			sum[start+i] += bump(i)
		}
	}
	all := make([][]float64, len(starts))
	for k, start := range starts {
		for i := range a.side {
			all[k] = append(all[k], bump(i)/sum[start+i])
		}
	}
	return all
}

// grid is where the windows lie at one timestep, and their weights.
type grid struct {
	y, x    []int     // first row and column of each window
	weights []float32 // [window, side, side]
}

// at returns the grid of a timestep, which the seed and the timestep alone decide.
func (m *Model) at(timestep int) grid {
	var u [2]float32
	diffusion.Stream{Seed: m.options.Seed, Step: uint16(timestep), Draw: uint16(timestep >> 16), Purpose: diffusion.Tiling}.Uniform(u[:])
	rows, columns := m.rows.starts(float64(u[0])), m.columns.starts(float64(u[1]))
	down, across := m.rows.weights(rows), m.columns.weights(columns)
	var g grid
	for i, y := range rows {
		for j, x := range columns {
			g.y, g.x = append(g.y, y), append(g.x, x)
			for _, a := range down[i] {
				for _, b := range across[j] {
					g.weights = append(g.weights, float32(a*b))
				}
			}
		}
	}
	return g
}
