package study

import (
	"math"

	"gonum.org/v1/gonum/floats"

	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// Where says at which state a row was measured.
type Where struct {
	Task     string  `json:"task"`
	Image    string  `json:"image"`
	State    string  `json:"state"`    // "true": the true image, noised; or the method whose run led there
	AlphaBar float64 `json:"alphaBar"` // ᾱ_t
}

// Estimate is what one state says of the probes' estimate of ∇I: g of a probe against G, the trace.
type Estimate struct {
	Where
	Measurements int     `json:"measurements"`
	NotPositive  int     `json:"notPositive"` // eigenvalues of A Σ Aᵀ that are not
	Information  float64 `json:"information"` // I, in nats
	Norm         float64 `json:"norm"`        // ‖G‖
	Negative     float64 `json:"negative"`    // ‖what the eigenvalues ≤ 0 would add‖/‖G‖
	Probes       []Probe `json:"probes"`      // for each number of Lanczos steps
	Shared       float64 `json:"shared"`      // correlation of g − Eg with that at the next step, same probes
	Split        float64 `json:"split"`       // E‖·−G‖²/‖G‖² of four probes on disjoint measurements, K = 2
	Moves        []Move  `json:"moves"`
}

// Probe is how one probe's g lies to G.
type Probe struct {
	Lanczos  int     `json:"lanczos"`
	Cosine   float64 `json:"cosine"`   // mean of cos(g, G), 0 where g is
	Slope    float64 `json:"slope"`    // ⟨Eg, G⟩/‖G‖²: 1 without bias
	Bias     float64 `json:"bias"`     // ‖Eg − G‖²/‖G‖², estimated without its own bias: may be below 0
	Variance float64 `json:"variance"` // E‖g − Eg‖²/‖G‖²
}

// Move is a step x_t + δ along a direction, and what it changes I by.
type Move struct {
	Direction string  `json:"direction"`
	Predicted float64 `json:"predicted"` // ⟨G, δ⟩, in nats
	Measured  float64 `json:"measured"`  // I(x_t + δ) − I(x_t), in nats
}

// Estimation says how a state is measured.
type Estimation struct {
	Lanczos []int
	Probes  int // of each
	Seed    uint64
	Image   uint64  // keys the probes
	Length  float64 // of a Move, in standard deviations of the reverse step
}

const splitProbes = 4

// Measure fills an Estimate at x, the state before step index ≥ 1; next is that before the step after
// it, with the same noise.
func (e Estimation) Measure(l *Lens, at Where, x, next []float32, index int) (row Estimate, err error) {
	row.Where = at
	row.AlphaBar = l.schedule.AlphaBar(index)
	if err := l.At(x, index); err != nil {
		return row, err
	}
	exact, err := l.Exact()
	if err != nil {
		return row, err
	}
	g2 := floats.Dot(exact.Gradient, exact.Gradient)
	row.Measurements, row.NotPositive, row.Information, row.Norm = exact.Eigenvalues, exact.NotPositive, exact.Information, math.Sqrt(g2)
	row.Negative = floats.Norm(exact.Negative, 2) / row.Norm
	var first, second [][]float64 // K = 2, here and at the next step
	for _, k := range e.Lanczos {
		all, err := e.probes(l, index, k)
		if err != nil {
			return row, err
		}
		if k == 2 {
			first = all
		}
		row.Probes = append(row.Probes, against(k, all, exact.Gradient))
	}
	if first == nil {
		if first, err = e.probes(l, index, 2); err != nil {
			return row, err
		}
	}
	if row.Split, err = e.split(l, index, exact.Gradient); err != nil {
		return row, err
	}
	if row.Moves, err = e.moves(l, x, index, exact, first[0]); err != nil {
		return row, err
	}
	if err := l.At(next, index-1); err != nil {
		return row, err
	}
	if second, err = e.probes(l, index, 2); err != nil {
		return row, err
	}
	row.Shared = correlation(first, second)
	return row, nil
}

func (e Estimation) stream(index, draw int) diffusion.Stream {
	return diffusion.Stream{Seed: e.Seed, Image: e.Image, Step: uint16(index), Draw: uint16(draw), Purpose: diffusion.Probe}
}

// probes returns g of each of the probes that are drawn for a step, at the lens's state.
func (e Estimation) probes(l *Lens, index, k int) (all [][]float64, err error) {
	z := make([]float32, l.z.Len())
	for p := range e.Probes {
		e.stream(index, p).Rademacher(z)
		jet, err := l.Probe(z, k)
		if err != nil {
			return nil, err
		}
		all = append(all, jet.Vector)
	}
	return all, nil
}

// mean returns the mean of vectors and the mean of their squared norms.
func mean(all [][]float64) (of []float64, squared float64) {
	of = make([]float64, len(all[0]))
	for _, g := range all {
		floats.AddScaled(of, 1/float64(len(all)), g)
		squared += floats.Dot(g, g) / float64(len(all))
	}
	return of, squared
}

// pairs is the mean of ⟨a, b⟩ over pairs of different vectors: ‖E‖² without the variance.
func pairs(all [][]float64) float64 {
	n := float64(len(all))
	of, squared := mean(all)
	return (n*floats.Dot(of, of) - squared) / (n - 1)
}

// against compares probes with the trace.
func against(k int, all [][]float64, trace []float64) Probe {
	p := Probe{Lanczos: k}
	g2 := floats.Dot(trace, trace)
	var off [][]float64
	for _, g := range all {
		if length := floats.Norm(g, 2); length > 0 { // it is zero where no eigenvalue of K Lanczos steps is positive
			p.Cosine += floats.Dot(g, trace) / (length * math.Sqrt(g2) * float64(len(all)))
		}
		d := append([]float64(nil), g...)
		floats.Sub(d, trace)
		off = append(off, d)
	}
	of, squared := mean(all)
	p.Slope = floats.Dot(of, trace) / g2
	p.Bias = pairs(off) / g2
	p.Variance = (squared - pairs(all)) / g2
	return p
}

// correlation is that of the deviations of a from its mean with those of b.
func correlation(a, b [][]float64) float64 {
	am, _ := mean(a)
	bm, _ := mean(b)
	var ab, aa, bb float64
	for k := range a {
		for i := range am {
			x, y := a[k][i]-am[i], b[k][i]-bm[i]
			ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
		}
	}
	if aa*bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

// split sums probes on disjoint measurements, the k-th of which has every fourth one: without the products of two
// measurements in different ones, where a probe's variance comes from.
func (e Estimation) split(l *Lens, index int, trace []float64) (float64, error) {
	const repeats = 2
	z, part := make([]float32, l.z.Len()), make([]float32, l.z.Len())
	total := 0.0
	for r := range repeats {
		e.stream(index, 1000+r).Rademacher(z)
		order := e.stream(index, 2000+r).Rand().Perm(len(z))
		sum := make([]float64, len(trace))
		for k := range splitProbes {
			for i, p := range order {
				if part[p] = 0; i%splitProbes == k {
					part[p] = z[p]
				}
			}
			jet, err := l.Probe(part, 2)
			if err != nil {
				return 0, err
			}
			floats.Add(sum, jet.Vector)
		}
		total += math.Pow(floats.Distance(sum, trace, 2), 2) / repeats
	}
	return total / floats.Dot(trace, trace), nil
}

// moves measures I beside the state.
func (e Estimation) moves(l *Lens, x []float32, index int, exact Trace, probe []float64) ([]Move, error) {
	length := e.Length * math.Sqrt(l.schedule.PosteriorVariance(index)*float64(len(x)))
	random := make([]float32, len(x))
	e.stream(index, 3000).Normals(random)
	out := []Move{{Direction: "trace"}, {Direction: "−trace"}, {Direction: "one probe"}, {Direction: "random"}}
	for k, sign := range []float64{1, -1, 1, 1} {
		of := [][]float64{exact.Gradient, exact.Gradient, probe, make([]float64, len(x))}[k]
		if k == 3 {
			for i, v := range random {
				of[i] = float64(v)
			}
		}
		norm := floats.Norm(of, 2)
		if norm == 0 {
			continue
		}
		scale := sign * length / norm
		moved := make([]float32, len(x))
		for i := range moved {
			moved[i] = x[i] + float32(scale*of[i])
		}
		if err := l.At(moved, index); err != nil {
			return nil, err
		}
		nats, err := l.Information()
		if err != nil {
			return nil, err
		}
		out[k].Predicted, out[k].Measured = scale*floats.Dot(of, exact.Gradient), nats-exact.Information
	}
	return out, nil
}

// Curvature is what one state says of the curvature C at its innovation beside ∇I, both by K Krylov
// steps. Sums of its products over states give the numbers of [Gather].
type Curvature struct {
	Where
	CC float64 `json:"cc"` // ‖C‖²
	CG float64 `json:"cg"` // ⟨C, ∇I⟩
	GG float64 `json:"gg"` // ‖∇I‖², without the probes' variance
	PP float64 `json:"pp"` // E‖g‖² of one probe
	WW float64 `json:"ww"` // ‖w‖², w = AᵀS⁻¹r
	VV float64 `json:"vv"` // E‖v‖² of the probes: what ‖w‖² is on average where r ~ N(0, S)
}

// MeasureCurvature fills a Curvature at x, the state before step index, for a measurement y.
func (e Estimation) MeasureCurvature(l *Lens, at Where, x, y []float32, index, k int) (row Curvature, err error) {
	row.Where = at
	row.AlphaBar = l.schedule.AlphaBar(index)
	if err := l.At(x, index); err != nil {
		return row, err
	}
	c, err := l.Curvature(y, k)
	if err != nil {
		return row, err
	}
	var all [][]float64
	z := make([]float32, l.z.Len())
	for p := range e.Probes {
		e.stream(index, p).Rademacher(z)
		jet, err := l.Probe(z, k)
		if err != nil {
			return row, err
		}
		all = append(all, jet.Vector)
		row.VV += jet.Length / float64(e.Probes)
	}
	g, squared := mean(all)
	row.CC, row.CG, row.GG, row.PP, row.WW = floats.Dot(c.Vector, c.Vector), floats.Dot(c.Vector, g), pairs(all), squared, c.Length
	return row, nil
}

// Together is what the states of one level say.
type Together struct {
	States int
	Norm   float64 // root mean square ‖∇I‖; NaN where the probes' variance hides it
	// Slope is κ = Σ⟨C, ∇I⟩/Σ‖∇I‖²: 1 where the innovations are as large as S says.
	Slope, Error float64 // with its standard error, over images
	Cosine       float64 // Σ⟨C, ∇I⟩/√(Σ‖C‖² Σ‖∇I‖²): how well +∇I predicts C
	OneProbe     float64 // the same of one probe's estimate in place of C
	Size         float64 // Σ‖w‖²/ΣE‖v‖²: 1 where r ~ N(0, S)
}

// Gather sums the rows of one level. Rows of one image are one unit of the standard error.
func Gather(rows []Curvature) (t Together) {
	var cc, cg, gg, pp, ww, vv float64
	byImage := map[string][2]float64{}
	for _, r := range rows {
		cc, cg, gg, pp, ww, vv = cc+r.CC, cg+r.CG, gg+r.GG, pp+r.PP, ww+r.WW, vv+r.VV
		s := byImage[r.Image]
		byImage[r.Image] = [2]float64{s[0] + r.CG, s[1] + r.GG}
	}
	t.Norm = math.Sqrt(gg / float64(len(rows)))
	t.States, t.Slope, t.Cosine, t.OneProbe, t.Size = len(rows), cg/gg, cg/math.Sqrt(cc*gg), math.Sqrt(gg/pp), ww/vv
	n, sum := float64(len(byImage)), 0.0
	for _, s := range byImage { // the delta method for a ratio
		d := s[0] - t.Slope*s[1]
		sum += d * d
	}
	t.Error = math.Sqrt(sum*n/(n-1)) / math.Abs(gg)
	return t
}

// Nearest returns the steps of a schedule whose ᾱ are nearest to the given ones.
func Nearest(s *diffusion.Schedule, alphaBars ...float64) []int {
	out := make([]int, len(alphaBars))
	for k, a := range alphaBars {
		for i := range s.Len() {
			if math.Abs(s.AlphaBar(i)-a) < math.Abs(s.AlphaBar(out[k])-a) {
				out[k] = i
			}
		}
	}
	return out
}
