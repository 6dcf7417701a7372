package experiment

import (
	"errors"
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/metric"
)

// measures are what is averaged over the pictures, in the order of the tables.
var measures = [3]struct {
	name   string // in table.csv
	unit   string
	digits int
	higher bool // is better
	of     func(*Result) float64
}{
	{"psnr", "dB", 2, true, func(r *Result) float64 {
		if r.PSNR == nil {
			return math.NaN()
		}
		return *r.PSNR
	}},
	{"ssim", "", 4, true, func(r *Result) float64 { return r.SSIM }},
	{"lpips", "", 4, false, func(r *Result) float64 { return r.LPIPS }},
}

// Interval is a value with its 95 % bootstrap interval over the pictures; Low and High
// are NaN for a single one.
type Interval struct {
	Value, Low, High float64
	Pictures         int // that it is over
}

// Decided says whether the interval leaves zero out and is over enough pictures for
// that to mean anything.
func (i Interval) Decided() bool {
	return i.Pictures >= metric.FewestImages && (i.Low > 0 || i.High < 0)
}

// CellSummary is what all results of a cell say together.
type CellSummary struct {
	Cell
	Pictures int // finished, with all their samples
	// Mean are PSNR in dB, SSIM and the perceptual distance: the mean over pictures of
	// the mean over samples.
	Mean [3]Interval
	// Difference is this cell's Mean less its base's, paired by picture; nil where the
	// cell is a base or has none.
	Difference *[3]Interval
	// Exchangeability are the ratios in squared error and in the perceptual distance;
	// nil without second samples. See [metric.Exchangeability].
	Exchangeability *[2]Interval
	// Frechet is the distance between the sets of restored and true pictures; nil where
	// it was not computed. See [Folder.Frechet].
	Frechet *float64

	Passes   float64 // network passes of a run: mean
	Limited  float64 // fraction of the steps with information whose term was shortened
	Residual Curve   // mean over the runs of each step
	// Information is the mean estimate of I(x0; y | x_t) in nats; nil at a base.
	Information Curve
}

// Summary is the whole experiment.
type Summary struct {
	Cells     []CellSummary // in the order of [Grid.Cells]
	LPIPSName string        // what the perceptual distance is called
	Frechet   string        // what the Fréchet distance is called; empty: not computed
	Done      int           // finished jobs
}

// resamples is the number of resamples of every bootstrap, which fixes the interval's ends
// to about 2 % of its width.
const resamples = 2000

// mostValues bounds the values of a cell that a bootstrap is over, so that a table's memory does not
// grow with the pictures. Of more pictures, each value is the mean of as many neighbouring ones,
// whose mean and standard error are the same.
const mostValues = 10000

// gathered are a cell's results while they are read.
type gathered struct {
	of              int          // pictures in a value, the last one's being fewer; 1 up to mostValues pictures
	pictures        int          // so far
	values          [3][]float64 // means of so many pictures; NaN where one of them has none
	sums            [3]float64   // over the pictures
	apart, toTruth  [2][]float64
	toTruth2        [2][]float64
	runs            int
	passes, limited float64
	active          float64 // steps with information
	residual, info  Curve
	counts          []float64 // runs with information in each step
}

// Summarise reads the results. Pictures that not all cells have finished are left
// out. seed is that of the bootstraps.
func (f *Folder) Summarise(seed uint64) (*Summary, error) {
	cells, pictures, name, err := f.gather()
	if err != nil {
		return nil, err
	}
	s := &Summary{Done: f.done, LPIPSName: name}
	for _, c := range f.grid.Cells() {
		one, err := cells[c].summarise(seed)
		if err == nil {
			if base, ok := cells[c.base()]; ok && c.CMI != Without {
				one.Difference, err = difference(cells[c], base, seed)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", c.Task, c.Arm(), err)
		}
		one.Cell, one.Pictures = c, pictures
		s.Cells = append(s.Cells, *one)
	}
	return s, nil
}

// gather reads the results of the pictures that are finished in all cells.
func (f *Folder) gather() (cells map[Cell]*gathered, pictures int, lpipsName string, err error) {
	g := f.grid
	perPicture := g.Len() / len(g.Names)
	if pictures = f.done / perPicture; pictures == 0 {
		return nil, 0, "", fmt.Errorf("%s: no picture is finished in all cells, of %d results for each %d are there", f.dir, perPicture, f.done)
	}
	cells = map[Cell]*gathered{}
	for _, c := range g.Cells() {
		cells[c] = &gathered{of: (pictures + mostValues - 1) / mostValues}
	}
	k := 0
	err = f.read(func(r *Result, _ int64) error {
		if k++; k > pictures*perPicture {
			return nil
		}
		if lpipsName != "" && lpipsName != r.LPIPSName {
			return fmt.Errorf("perceptual distances of two kinds, %s and %s", lpipsName, r.LPIPSName)
		}
		lpipsName = r.LPIPSName
		cells[r.Cell].add(r, g.Samples)
		return nil
	})
	return cells, pictures, lpipsName, err
}

func (c *gathered) add(r *Result, samples int) {
	if r.Sample == 1 {
		c.pictures++
	}
	within := (c.pictures-1)%c.of + 1 // the picture's place among those of its value, from 1
	for m := range measures {
		value := measures[m].of(r) / float64(samples)
		c.sums[m] += value
		mean(&c.values[m], value, within, r.Sample == 1)
	}
	for d, distance := range [2]float64{r.MSE, r.LPIPS} {
		if r.Sample == 1 {
			mean(&c.toTruth[d], distance, within, true)
		} else if r.Apart != nil {
			mean(&c.toTruth2[d], distance, within, true)
			mean(&c.apart[d], [2]float64{r.Apart.MSE, r.Apart.LPIPS}[d], within, true)
		}
	}
	c.runs++
	c.passes, c.limited = c.passes+float64(r.Passes), c.limited+float64(r.Limited)
	if c.residual == nil {
		c.residual = make(Curve, len(r.Residual))
		c.info, c.counts = make(Curve, len(r.Information)), make([]float64, len(r.Information))
	}
	for i := range min(len(r.Residual), len(c.residual)) {
		c.residual[i] += r.Residual[i]
	}
	for i := range min(len(r.Information), len(c.info)) {
		if v := r.Information[i]; !math.IsNaN(v) {
			c.info[i] += v
			c.counts[i]++
			c.active++
		}
	}
}

// mean adds a value to the last of means: that of the n-th of its pictures, or more of that picture's.
func mean(means *[]float64, value float64, n int, first bool) {
	if n == 1 && first {
		*means = append(*means, 0)
	}
	last := &(*means)[len(*means)-1]
	if first {
		*last *= float64(n-1) / float64(n)
	}
	*last += value / float64(n)
}

func (c *gathered) summarise(seed uint64) (*CellSummary, error) {
	s := &CellSummary{Passes: c.passes / float64(c.runs), Limited: c.limited / max(1, c.active), Residual: c.residual}
	for i := range s.Residual {
		s.Residual[i] /= float64(c.runs)
	}
	if len(c.info) > 0 {
		s.Information = c.info
		for i := range c.info {
			c.info[i] /= c.counts[i] // NaN where it never acted
		}
	}
	for m, values := range c.values {
		var err error
		if s.Mean[m], err = paired(values, make([]float64, len(values)), seed); err != nil {
			return nil, err
		}
		c.whole(&s.Mean[m], c.sums[m])
	}
	if len(c.apart[0]) == 0 {
		return s, nil
	}
	s.Exchangeability = &[2]Interval{}
	for d := range s.Exchangeability {
		e := &s.Exchangeability[d]
		var err error
		e.Pictures = len(c.apart[d])
		if e.Value, e.Low, e.High, err = metric.Exchangeability(c.apart[d], c.toTruth[d], c.toTruth2[d], resamples, seed); err != nil {
			return nil, err
		}
		e.Pictures = min(len(c.apart[d])*c.of, c.pictures)
	}
	return s, nil
}

// difference returns a's measures less b's, picture by picture.
func difference(a, b *gathered, seed uint64) (*[3]Interval, error) {
	var out [3]Interval
	for m := range out {
		var err error
		if out[m], err = paired(a.values[m], b.values[m], seed); err != nil {
			return nil, err
		}
		a.whole(&out[m], a.sums[m]-b.sums[m])
	}
	return &out, nil
}

// whole makes of an interval over means of several pictures one over the pictures: they are what it
// counts, and its value is their mean, though the last of the means is of fewer. Where a picture has
// no value, those beside it are left out with it.
func (c *gathered) whole(i *Interval, sum float64) {
	i.Pictures = min(i.Pictures*c.of, c.pictures)
	if c.of > 1 && !math.IsNaN(sum) && !math.IsInf(sum, 0) {
		i.Value = sum / float64(c.pictures)
	}
}

// paired returns the mean of a − b with its interval, over the pictures where both are
// finite: PSNR is infinite where a picture equals the truth. NaN where there is none.
func paired(a, b []float64, seed uint64) (Interval, error) {
	if len(a) != len(b) {
		return Interval{}, errors.New("not the same pictures")
	}
	var x, y []float64
	for i := range a {
		if d := a[i] - b[i]; !math.IsNaN(d) && !math.IsInf(d, 0) {
			x, y = append(x, a[i]), append(y, b[i])
		}
	}
	if len(x) == 0 {
		return Interval{math.NaN(), math.NaN(), math.NaN(), 0}, nil
	}
	mean, low, high, err := metric.PairedBootstrap(x, y, resamples, seed)
	return Interval{mean, low, high, len(x)}, err
}

// cell finds a cell's summary; nil if there is none.
func (s *Summary) cell(c Cell) *CellSummary {
	for i := range s.Cells {
		if s.Cells[i].Cell == c {
			return &s.Cells[i]
		}
	}
	return nil
}
