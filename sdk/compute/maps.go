package compute

import "math"

// Map is a pointwise map y = f(x), or a directional derivative of it, for
// [Pointwise.Map]. [Clamp], [Exp], [Pow] and [SiLU] are the values; [Map.Tangent],
// [Map.Adjoint] and [Map.Second] the derivatives.
type Map struct {
	Func MapFunc
	// Order 0 is the value f(x). Order 1 is the tangent f′(x)·a. Order 2 is the second
	// coefficient f″(x)·a·b + f′(x)·ab.
	Order int
	// Accumulate adds the result to the destination. It is for order 1 alone, as
	// adjoints need it.
	Accumulate bool
	P          [3]float32 // parameters of f, see MapFunc
}

// MapFunc names a scalar function f with up to three parameters p.
type MapFunc int

// The scalar functions.
const (
	MapClamp MapFunc = iota // min(max(x, p₀), p₁)
	MapExp                  // exp(p₀·x + p₁)
	MapPow                  // (p₀·x + p₁)^p₂ for non-negative bases
	MapSiLU                 // x·sigmoid(x)
	MapFuncs                // how many there are
)

// scalars is the scalar functions and, where something differentiates them, f′ and
// f″, as elementary expressions: f[k] is the k-th derivative.
var scalars = [MapFuncs]struct {
	name string
	f    [3]func(x float64, p *[3]float32) float64
}{
	MapClamp: {"clamp", [3]func(float64, *[3]float32) float64{
		func(x float64, p *[3]float32) float64 { return min(max(x, float64(p[0])), float64(p[1])) },
		func(x float64, p *[3]float32) float64 {
			if float64(p[0]) <= x && x <= float64(p[1]) {
				return 1
			}
			return 0
		},
	}},
	MapExp: {"exp", [3]func(float64, *[3]float32) float64{
		func(x float64, p *[3]float32) float64 { return math.Exp(affine(x, p)) },
	}},
	MapPow: {"pow", [3]func(float64, *[3]float32) float64{
		func(x float64, p *[3]float32) float64 {
			switch base := affine(x, p); p[2] {
			case 0.5:
				return math.Sqrt(base)
			case -0.5:
				return 1 / math.Sqrt(base)
			case -1:
				return 1 / base
			default:
				return math.Pow(base, float64(p[2]))
			}
		},
	}},
	MapSiLU: {"silu", [3]func(float64, *[3]float32) float64{
		func(x float64, _ *[3]float32) float64 { return x * sigmoid(x) },
		func(x float64, _ *[3]float32) float64 { return sigmoid(x) * (1 + x*sigmoid(-x)) },
		func(x float64, _ *[3]float32) float64 {
			s, t := sigmoid(x), sigmoid(-x) // t = 1 − s
			return s * t * (2 + x*(t-s))
		},
	}},
}

func affine(x float64, p *[3]float32) float64 { return float64(p[0])*x + float64(p[1]) }

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// Clamp limits every value to [lo, hi]. Its slope is 1 at the limits, too.
func Clamp(lo, hi float32) Map { return Map{Func: MapClamp, P: [3]float32{lo, hi}} }

// Exp is exp(scale·x + shift).
func Exp(scale, shift float32) Map { return Map{Func: MapExp, P: [3]float32{scale, shift}} }

// Pow is (scale·x + shift)^p for non-negative bases.
func Pow(scale, shift, p float32) Map { return Map{Func: MapPow, P: [3]float32{scale, shift, p}} }

// SiLU is x·sigmoid(x).
func SiLU() Map { return Map{Func: MapSiLU} }

// Tangent is f′(x)·a. Its sources are x and a.
func (m Map) Tangent() Map {
	m.Order = 1
	return m
}

// Adjoint is f′(x)·g, added to the destination where accumulate: the Jacobian of a
// pointwise map is diagonal, and so its own transpose. Its sources are x and g.
func (m Map) Adjoint(accumulate bool) Map {
	m.Order, m.Accumulate = 1, accumulate
	return m
}

// Second is f″(x)·a·b + f′(x)·ab. Its sources are x, a, b and ab.
func (m Map) Second() Map {
	m.Order = 2
	return m
}

// Scalar returns the derivative of f that order names, 0 for f itself, in float64; nil where
// the function has none.
func (f MapFunc) Scalar(order int) func(x float64, p *[3]float32) float64 { return scalars[f].f[order] }

// String returns the function's name: "silu".
func (f MapFunc) String() string { return scalars[f].name }

// Kernel returns the name of the map's kernel: "map_silu", "jvp_map_silu", "jet2_map_silu".
func (m Map) Kernel() string {
	return [...]string{"", "jvp_", "jet2_"}[m.Order] + "map_" + m.Func.String()
}

// sources returns how many sources the map has.
func (m Map) sources() int { return [...]int{1, 2, 4}[m.Order] }

// valid says whether f is known and has the derivatives that the map needs.
func (m Map) valid() bool {
	return m.Func >= 0 && m.Func < MapFuncs && m.Order >= 0 && m.Order <= 2 && m.Func.Scalar(m.Order) != nil &&
		(!m.Accumulate || m.Order == 1)
}
