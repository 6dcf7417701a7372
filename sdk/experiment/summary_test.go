package experiment

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// made returns a folder of made-up results: PSNR 20 + 2 i for picture i at a base, and as
// much as change says more with the information term.
func made(t *testing.T, names []string, results int, change func(image int) float64) *Folder {
	t.Helper()
	g := Grid{Tasks: []string{"sr4"}, Methods: []string{"dps", "mcg"}, CMI: []Term{Without, With}, Names: names, Samples: 2}
	f, err := Open(t.TempDir(), settings, g)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, f.Close()) })
	for k := range results {
		j := g.Job(k)
		psnr := 20 + 2*float64(j.Image) + float64(2*j.Sample-3) // samples are 1 dB about their mean
		r := &Result{Cell: j.Cell, Image: j.Name, Sample: j.Sample, SSIM: 0.5, LPIPS: 0.2, LPIPSName: "made", MSE: 0.01, Passes: 7, Residual: Curve{1, float64(j.Image)}}
		if j.CMI == With {
			psnr += change(j.Image)
			r.Information, r.Limited = Curve{math.NaN(), 3}, 1
		}
		if j.Sample == 2 {
			r.Apart = &Apart{MSE: 0.008, LPIPS: 0.1}
		}
		if r.PSNR = &psnr; j.Method == "mcg" && j.Image == 1 && j.CMI == With {
			r.PSNR = nil // equal to the truth
		}
		require.NoError(t, f.add(r))
	}
	return f
}

func TestPairedDifferences(t *testing.T) {
	names := strings.Split("abcdefgh", "")
	f := made(t, names, 8*8, func(image int) float64 { return 0.5 + 0.1*float64(image%2) })
	s, err := f.Summarise(1)
	require.NoError(t, err)

	base, term := s.cell(Cell{"sr4", "dps", Without}), s.cell(Cell{"sr4", "dps", With})
	assert.InDelta(t, 27, base.Mean[0].Value, 1e-9)
	assert.InDelta(t, 27.55, term.Mean[0].Value, 1e-9)
	assert.Nil(t, base.Difference)
	d := term.Difference[0]
	assert.InDelta(t, 0.55, d.Value, 1e-9)
	assert.True(t, d.Low >= 0.5 && d.Low < 0.55 && d.High > 0.55 && d.High <= 0.6, "pairs differ by 0.5 or 0.6: %v", d)
	assert.True(t, d.Decided())
	assert.Greater(t, base.Mean[0].High-base.Mean[0].Low, 3.0, "the pictures themselves differ by much more")
	assert.Equal(t, Interval{Pictures: 8}, term.Difference[1])
	assert.False(t, term.Difference[1].Decided())

	assert.InDelta(t, 0.8, term.Exchangeability[0].Value, 1e-9)
	assert.InDelta(t, 0.5, term.Exchangeability[1].Value, 1e-9)
	assert.Equal(t, 7.0, term.Passes)
	assert.Equal(t, 1.0, term.Limited, "one step of one")
	assert.InDeltaSlice(t, []float64{1, 3.5}, []float64(base.Residual), 1e-9)
	assert.True(t, math.IsNaN(term.Information[0]) && term.Information[1] == 3 && base.Information == nil)

	// Where PSNR is infinite, the picture is left out of that mean alone.
	mcg := s.cell(Cell{"sr4", "mcg", With})
	assert.InDelta(t, 27+0.55+(27-22+0.55-0.6)/7, mcg.Mean[0].Value, 1e-9)
	assert.InDelta(t, (8*0.55-0.6)/7, mcg.Difference[0].Value, 1e-9)
	assert.Equal(t, 0.5, mcg.Mean[1].Value)
}

// Pictures that are not finished in all cells do not count.
func TestUnfinishedPictures(t *testing.T) {
	f := made(t, []string{"a", "b", "c"}, 2*8+3, func(int) float64 { return 0 })
	s, err := f.Summarise(1)
	require.NoError(t, err)
	for _, c := range s.Cells {
		assert.Equal(t, 2, c.Pictures)
		if c.Method == "dps" {
			assert.InDelta(t, 21, c.Mean[0].Value, 1e-9)
		}
	}
	assert.Contains(t, f.progress(s), "2 of 3")
	assert.Contains(t, f.progress(s), "19 of 24 runs")
}

// Of more pictures than a bootstrap is over, tables have the same means, intervals that are as wide as those over all, and
// take memory for the values of mostValues pictures in each cell, not for all.
func TestManyPictures(t *testing.T) {
	const pictures = 3*mostValues - 5
	g := Grid{Tasks: []string{"sr4"}, Methods: []string{"dps"}, CMI: []Term{Without, With}, Samples: 2}
	random := rand.New(rand.NewPCG(1, 2))
	base, term := &gathered{of: 3}, &gathered{of: 3}
	var psnr, change []float64
	for range pictures {
		x, d := 25+3*random.NormFloat64(), 0.05+random.NormFloat64()
		psnr, change = append(psnr, x), append(change, d)
		for sample := 1; sample <= g.Samples; sample++ {
			a, b := x+float64(2*sample-3), x+d+float64(2*sample-3)
			r := &Result{Sample: sample, PSNR: &a, MSE: 0.01, LPIPS: 0.2}
			if sample == 2 {
				r.Apart = &Apart{MSE: 0.008, LPIPS: 0.1}
			}
			base.add(r, g.Samples)
			r.PSNR = &b
			term.add(r, g.Samples)
		}
	}
	assert.Len(t, base.values[0], mostValues-1)
	assert.Len(t, base.apart[0], mostValues-1)
	s, err := base.summarise(1)
	require.NoError(t, err)
	all, err := paired(psnr, make([]float64, pictures), 1)
	require.NoError(t, err)
	assert.InDelta(t, all.Value, s.Mean[0].Value, 1e-9)
	assert.InEpsilon(t, all.High-all.Low, s.Mean[0].High-s.Mean[0].Low, 0.1)
	assert.Equal(t, pictures, s.Mean[0].Pictures)
	assert.InDelta(t, 0.8, s.Exchangeability[0].Value, 1e-9)
	assert.Equal(t, pictures, s.Exchangeability[0].Pictures)
	d, err := difference(term, base, 1)
	require.NoError(t, err)
	all, err = paired(change, make([]float64, pictures), 1)
	require.NoError(t, err)
	assert.InDelta(t, all.Value, d[0].Value, 1e-9)
	assert.InEpsilon(t, all.High-all.Low, d[0].High-d[0].Low, 0.1)
}

func TestCurve(t *testing.T) {
	data, err := json.Marshal(Result{Residual: Curve{1.0 / 3, math.NaN(), math.Inf(1), -2e-9}})
	require.NoError(t, err)
	assert.Contains(t, string(data), `"residual":[0.333333,null,null,-2e-09]`)
	var r Result
	require.NoError(t, json.Unmarshal(data, &r))
	assert.Equal(t, 0.333333, r.Residual[0])
	assert.True(t, math.IsNaN(r.Residual[1]))
}

// The paper's rows stand beside those of the same preset and task, and say so.
func TestPaperRows(t *testing.T) {
	ffhq, err := FindPreset("paper-ffhq")
	require.NoError(t, err)
	imagenet, err := FindPreset("paper-imagenet")
	require.NoError(t, err)
	assert.Equal(t, PaperRow{35.24, .209, .854}, ffhq.Paper[Cell{"sr4", "dps", With}])
	assert.Equal(t, PaperRow{20.15, .207, .885}, ffhq.Paper[Cell{"inpaint", "dsg", Without}])
	assert.Equal(t, PaperRow{53.85, .366, .673}, imagenet.Paper[Cell{"motion", "pigdm", With}])
	for _, p := range []Preset{ffhq, imagenet} {
		assert.Len(t, p.Paper, 5*8-2, "MCG has no motion blur")
		assert.NotContains(t, p.Paper, Cell{"motion", "mcg", With})
		weights, config, err := p.Formula()
		require.NoError(t, err)
		assert.True(t, len(weights) > 200 && json.Valid(config))
	}
	_, err = FindPreset("paper")
	assert.ErrorContains(t, err, "faces64, photos64, paper-ffhq, paper-imagenet")
	_, _, err = Presets[0].Formula()
	assert.ErrorContains(t, err, "embedded")

	f := made(t, []string{"a", "b"}, 16, func(int) float64 { return 1 })
	s, err := f.Summarise(1)
	require.NoError(t, err)
	assert.Contains(t, s.Text(ffhq), "*35.24 0.209 0.854*")
	assert.Contains(t, s.Text(ffhq), "*CMI+DPS (paper)*")
	assert.NotContains(t, s.Text(Presets[0]), "paper)")
	out, err := s.csv(imagenet)
	require.NoError(t, err)
	assert.Contains(t, out, "arXiv 2501.02880,sr4,mcg,true")
}

func TestTicks(t *testing.T) {
	for _, r := range [][2]float64{{0, 1}, {-0.03, 0.011}, {12.3, 31}, {0, 25000}, {-1e-5, 2e-5}} {
		got := ticks(r[0], r[1])
		assert.True(t, len(got) >= 3 && len(got) <= 7, "%v: %v", r, got)
		seen := map[string]bool{}
		for _, k := range got {
			assert.True(t, k.Value >= r[0]-1e-9 && k.Value <= r[1]+1e-9)
			assert.False(t, seen[k.Label], "%v: %s twice", r, k.Label)
			seen[k.Label] = true
		}
	}
	assert.Len(t, ticks(2, 2), 1)
}

// One picture has no interval, and few decide nothing however alike they are.
func TestFewPictures(t *testing.T) {
	for _, n := range []int{1, 5, 6} {
		f := made(t, strings.Split("abcdef", "")[:n], n*8, func(int) float64 { return 0.18 })
		s, err := f.Summarise(1)
		require.NoError(t, err)
		d := s.cell(Cell{"sr4", "dps", With}).Difference[0]
		assert.InDelta(t, 0.18, d.Value, 1e-9)
		assert.Equal(t, n == 1, math.IsNaN(d.Low) && math.IsNaN(d.High))
		assert.Equal(t, n == 6, d.Decided(), n)
		text := s.Text(Preset{})
		assert.Equal(t, n > 1, strings.Contains(text, "+0.18 (+0.18 … +0.18)"), text)
		assert.Equal(t, n == 6, strings.Contains(text, "**"), text)
		_, _, err = s.plots()
		require.NoError(t, err)
	}
}
