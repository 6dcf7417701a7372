package cpu

import "math"

func tileIn4Go(v []float32, stride int, x []float32, pitch int, at []int, skip int, _ []float32) {
	for tile := range 4 * len(at) {
		from := x[at[tile/4]-skip+tile%4*4:]
		var rows [6][6]float32
		for i := range rows {
			rows[i] = forward6((*[6]float32)(from[i*pitch:]))
		}
		for j := range 6 {
			column := forward6(&[6]float32{rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j]})
			for i, value := range column {
				v[(6*i+j)*stride+tile] = value
			}
		}
	}
}

func tileOut4Go(y []float32, width int, at []int, m []float32, stride int, _ []float32, bias float32, add []float32) {
	for tile := range 4 * len(at) {
		var columns [6][4]float32
		for j := range columns {
			var c [6]float32
			for i := range c {
				c[i] = m[(6*i+j)*stride+tile]
			}
			columns[j] = back6(&c)
		}
		for r := range 4 {
			p := at[tile/4] + tile%4*4 + r*width
			for x, value := range back6(&[6]float32{columns[0][r], columns[1][r], columns[2][r], columns[3][r], columns[4][r], columns[5][r]}) {
				value += bias
				if add != nil {
					value += add[p+x]
				}
				y[p+x] = value
			}
		}
	}
}

// forward6 is Bᵀx of one row or column of a tile of F(4×4, 3×3).
func forward6(x *[6]float32) [6]float32 {
	const root, inverse = math.Sqrt2, 1 / math.Sqrt2
	e1, o1 := x[4]-2*x[2], inverse*(x[3]-2*x[1])
	e2, o2 := x[4]-0.5*x[2], root*(x[3]-0.5*x[1])
	return [6]float32{x[0] + x[4] - 2.5*x[2], e1 + o1, e1 - o1, e2 + o2, e2 - o2, x[1] + x[5] - 2.5*x[3]}
}

// back6 is Aᵀm of F(4×4, 3×3).
func back6(m *[6]float32) [4]float32 {
	const root, inverse = math.Sqrt2, 1 / math.Sqrt2
	s1, d1, s2, d2 := m[1]+m[2], m[1]-m[2], m[3]+m[4], m[3]-m[4]
	return [4]float32{m[0] + s1 + s2, inverse*d1 + root*d2, 0.5*s1 + 2*s2, inverse/2*d1 + 2*root*d2 + m[5]}
}

func tileIn2Go(v []float32, stride int, x []float32, pitch int, at []int, skip int, _ []float32) {
	for tile := range 4 * len(at) {
		from := x[at[tile/4]-skip+tile%4*2:]
		var rows [4][4]float32
		for i := range rows {
			rows[i] = forward4((*[4]float32)(from[i*pitch:]))
		}
		for j := range 4 {
			for i, value := range forward4(&[4]float32{rows[0][j], rows[1][j], rows[2][j], rows[3][j]}) {
				v[(4*i+j)*stride+tile] = value
			}
		}
	}
}

func tileOut2Go(y []float32, width int, at []int, m []float32, stride int, _ []float32, bias float32, add []float32) {
	for tile := range 4 * len(at) {
		var columns [4][2]float32
		for j := range columns {
			columns[j] = back4(&[4]float32{m[j*stride+tile], m[(4+j)*stride+tile], m[(8+j)*stride+tile], m[(12+j)*stride+tile]})
		}
		for r := range 2 {
			p := at[tile/4] + tile%4*2 + r*width
			for x, value := range back4(&[4]float32{columns[0][r], columns[1][r], columns[2][r], columns[3][r]}) {
				value += bias
				if add != nil {
					value += add[p+x]
				}
				y[p+x] = value
			}
		}
	}
}

// forward4 is Bᵀx of F(2×2, 3×3).
func forward4(x *[4]float32) [4]float32 {
	return [4]float32{x[0] - x[2], x[1] + x[2], x[2] - x[1], x[3] - x[1]}
}

// back4 is Aᵀm of F(2×2, 3×3).
func back4(m *[4]float32) [2]float32 {
	return [2]float32{m[0] + m[1] + m[2], m[1] - m[2] + m[3]}
}
