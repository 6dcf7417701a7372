package experiment

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/stat"

	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/metric/fid"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// Measures are what [Folder.Compare] compares by, in its order. The exchangeability ratios are
// compared by their distance from 1, which is |log ratio|.
var Measures = [6]string{"PSNR", "SSIM", "LPIPS", "FID", "exchangeability, squared error", "exchangeability, LPIPS"}

// Comparison is one measure of a cell with the information term against the same cell without it.
type Comparison struct {
	Cell
	Measure int // of Measures
	// Without and With are the measure's values.
	Without, With float64
	// Better is how much better the cell is with the term: With − Without or, where less is better,
	// Without − With; of a ratio |log Without| − |log With|.
	Better float64
	Error  float64 // its standard error, over the pictures
	P      float64 // of a two-sided paired t test of Better = 0
	Holm   float64 // P corrected for all comparisons of the same arm, see [metric.Holm]
}

// Significant says that a difference is not chance at 5 %, after the correction.
func (c Comparison) Significant() bool { return c.Holm < 0.05 }

// Compare compares each arm with the one without the information term, by every measure, over the
// pictures that are finished in all cells: two at least. The Fréchet distance is of all samples' features, against
// the true pictures'.
//
// Pictures are paired. The standard error of the first three is that of the mean difference; of the
// others it is the standard deviation over resamples of the pictures, the same ones for both arms
// and for the truth. The test takes n − 1 degrees of freedom. Without second samples the ratios
// are left out.
func (f *Folder) Compare(ctx context.Context, features fid.Features, seed uint64, onPicture func()) ([]Comparison, error) {
	cells, pictures, _, err := f.gather()
	if err != nil {
		return nil, err
	}
	if pictures < 2 {
		return nil, fmt.Errorf("%s: %d picture is finished in all cells, at least 2 are wanted for a comparison", f.dir, pictures)
	}
	sets, err := f.features(ctx, features, pictures, onPicture)
	if err != nil {
		return nil, err
	}
	resamples, err := f.resample(ctx, cells, sets, pictures, seed)
	if err != nil {
		return nil, err
	}
	var all []Comparison
	for _, c := range f.grid.Cells() {
		if c.CMI == Without || cells[c.base()] == nil {
			continue
		}
		with, without := cells[c], cells[c.base()]
		for m := range Measures {
			one := Comparison{Cell: c, Measure: m}
			if m < len(measures) {
				one.Without, one.With = finiteMean(without.values[m]), finiteMean(with.values[m])
				one.Better, one.Error = pairedDifference(with.values[m], without.values[m])
				if !measures[m].higher {
					one.Better = -one.Better
				}
			} else {
				a, b := resamples[c.base()], resamples[c]
				if m > 3 && len(with.apart[0]) == 0 {
					continue
				}
				gain := make([]float64, len(a)-1)
				for r := range a {
					d := badness(m, a[r][m-3]) - badness(m, b[r][m-3])
					if r == 0 { // the pictures as they are
						one.Without, one.With, one.Better = a[0][m-3], b[0][m-3], d
					} else {
						gain[r-1] = d
					}
				}
				one.Error = stat.StdDev(gain, nil)
			}
			one.P = metric.TwoSided(one.Better/one.Error, pictures-1)
			all = append(all, one)
		}
	}
	for _, arm := range f.grid.CMI {
		var p []float64
		for _, c := range all {
			if c.CMI == arm {
				p = append(p, c.P)
			}
		}
		corrected := metric.Holm(p)
		for i := range all {
			if all[i].CMI == arm {
				all[i].Holm, corrected = corrected[0], corrected[1:]
			}
		}
	}
	return all, nil
}

// badness makes less better.
func badness(m int, v float64) float64 {
	if m > 3 {
		return math.Abs(math.Log(v))
	}
	return v
}

func finiteMean(values []float64) float64 {
	sum, n := 0.0, 0
	for _, v := range values {
		if v-v == 0 {
			sum, n = sum+v, n+1
		}
	}
	return sum / float64(n)
}

// pairedDifference returns the mean of a − b and its standard error, over the pictures where both are
// finite.
func pairedDifference(a, b []float64) (mean, err float64) {
	var d []float64
	for i := range a {
		if v := a[i] - b[i]; v-v == 0 {
			d = append(d, v)
		}
	}
	mean, std := stat.MeanStdDev(d, nil)
	return mean, std / math.Sqrt(float64(len(d)))
}

// featureSet is the features of each picture of a cell, all samples of it one after the other.
type featureSet struct {
	of  [][]float32
	dim int
}

func (s featureSet) statistics(pictures []int) (*fid.Statistics, error) {
	var all []float32
	for _, i := range pictures {
		all = append(all, s.of[i]...)
	}
	return fid.NewStatistics(all, s.dim)
}

// features computes those of the restored pictures of each cell, and of the truths under the zero Cell.
func (f *Folder) features(ctx context.Context, features fid.Features, pictures int, onPicture func()) (map[Cell]featureSet, error) {
	sets := map[Cell]featureSet{}
	add := func(c Cell, i int, path string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := picture.Open(f.path(path))
		if err != nil {
			return err
		}
		one, dim, err := features.Features(metric.Unit(p.Pix), 1, p.C, p.H, p.W)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		s := sets[c]
		if s.of == nil {
			s = featureSet{make([][]float32, pictures), dim}
		}
		s.of[i] = append(s.of[i], one...)
		sets[c] = s
		if onPicture != nil {
			onPicture()
		}
		return nil
	}
	for i, name := range f.grid.Names[:pictures] {
		if err := add(Cell{}, i, truthPath(name)); err != nil {
			return nil, err
		}
		for _, c := range f.grid.Cells() {
			for sample := range f.grid.Samples {
				if err := add(c, i, Job{Cell: c, Name: name, Sample: sample + 1}.picturePath()); err != nil {
					return nil, err
				}
			}
		}
	}
	return sets, nil
}

// Pictures returns the number of pictures that are finished in all cells.
func (f *Folder) Pictures() int { return f.done / (f.grid.Len() / len(f.grid.Names)) }

// ComparePictures returns the number of picture files that [Folder.Compare] reads.
func (f *Folder) ComparePictures() int {
	return f.Pictures() * (1 + len(f.grid.Cells())*f.grid.Samples)
}

// distanceResamples is the number of resamples of the Fréchet distance, which fixes its standard
// error to 5 %.
const distanceResamples = 200

// resample computes, for each cell, the Fréchet distance and the two exchangeability ratios of the
// pictures as they are and then of resamples of them.
func (f *Folder) resample(ctx context.Context, cells map[Cell]*gathered, sets map[Cell]featureSet, pictures int, seed uint64) (map[Cell][][3]float64, error) {
	out := map[Cell][][3]float64{}
	rng := rand.New(rand.NewPCG(seed, 0))
	for r := range distanceResamples + 1 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		drawn := make([]int, pictures)
		for i := range drawn {
			if drawn[i] = i; r > 0 {
				drawn[i] = rng.IntN(pictures)
			}
		}
		truth, err := sets[Cell{}].statistics(drawn)
		if err != nil {
			return nil, err
		}
		for _, c := range f.grid.Cells() {
			own, err := sets[c].statistics(drawn)
			if err != nil {
				return nil, err
			}
			var v [3]float64
			if v[0], err = fid.Distance(own, truth); err != nil {
				return nil, err
			}
			for d := range 2 {
				var apart, toTruth float64
				if len(cells[c].apart[d]) > 0 {
					for _, i := range drawn {
						apart += cells[c].apart[d][i]
						toTruth += (cells[c].toTruth[d][i] + cells[c].toTruth2[d][i]) / 2
					}
				}
				v[1+d] = apart / toTruth
			}
			out[c] = append(out[c], v)
		}
	}
	return out, nil
}
