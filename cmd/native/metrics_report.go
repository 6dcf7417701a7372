package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/metric/fid"
	"github.com/cmi-diffusion/cmi/sdk/metric/lpips"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// comparer gathers what is measured of pairs of pictures.
type comparer struct {
	perceptual *lpips.Metric
	features   fid.Features
	frechet    string          // what the distance of features is called
	reference  *fid.Statistics // to compare with; nil for those of the true pictures

	pairs []pair
	sets  [2][]float32 // features of the restored and the true pictures
	dim   int          // of one picture's
	apart [2][3][]float64
}

// pair is the quality of a restored picture, or the mean of many. PSNR is nil where it
// is infinite, which JSON can't hold: for equal pictures and for a mean with such.
type pair struct {
	Name       string   `json:"name,omitempty"`
	PSNR       *float64 `json:"psnr"`
	SSIM       float64  `json:"ssim"`
	Perceptual float64  `json:"perceptual"`
}

// distances names those of the exchangeability ratio.
func (c *comparer) distances() [2]string { return [2]string{"squared error", c.perceptual.Name()} }

// add measures the pictures restored, true and, if there, a second sample. scored is called
// before the networks' work.
func (c *comparer) add(ctx context.Context, name string, p []picture.Image, scored func()) error {
	n, ch, h, w := 1, p[0].C, p[0].H, p[0].W
	q, err := interruptible(ctx, func() (scores, error) { return scoreUnit(p[0], p[1]) })
	if err != nil {
		return err
	}
	scored()
	distance, features, err := c.perceptual.DistanceAndFeatures(p[0].Pix, p[1].Pix, n, ch, h, w)
	if err != nil {
		return err
	}
	c.pairs = append(c.pairs, pair{name, finite(q.psnr), q.ssim, distance[0]})
	for k := range c.sets {
		if k == 1 && c.reference != nil {
			break
		}
		if c.features == fid.Features(c.perceptual) {
			c.dim = len(features[k])
		} else if features[k], c.dim, err = c.features.Features(p[k].Pix, n, ch, h, w); err != nil {
			return err
		}
		if c.reference != nil && c.reference.Dim() != c.dim {
			return fmt.Errorf("--statistics are of %d features, %s has %d: was another network meant?", c.reference.Dim(), c.features.Backbone(), c.dim)
		}
		c.sets[k] = append(c.sets[k], features[k]...)
	}
	if len(p) < 3 {
		return nil
	}
	for j, two := range [3][2]int{{0, 2}, {0, 1}, {2, 1}} {
		x, y := p[two[0]].Pix, p[two[1]].Pix
		squared, err := metric.SquaredError(x, y, n, ch, h, w)
		if err != nil {
			return err
		}
		perceptual := distance
		if two != [2]int{0, 1} {
			if perceptual, err = c.perceptual.Distance(x, y, n, ch, h, w); err != nil {
				return err
			}
		}
		c.apart[0][j] = append(c.apart[0][j], squared...)
		c.apart[1][j] = append(c.apart[1][j], perceptual...)
	}
	return nil
}

// finite is nil for values that JSON can't hold.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// report is what the command prints.
type report struct {
	Perceptual      string     `json:"perceptual_name"` // which distance
	Frechet         string     `json:"frechet_name"`
	Images          []pair     `json:"images"`
	Mean            pair       `json:"mean"`
	Distance        *float64   `json:"frechet"` // null for a single picture
	Exchangeability []exchange `json:"exchangeability,omitempty"`
}

type exchange struct {
	Distance string      `json:"distance"`
	Ratio    float64     `json:"ratio"`
	Interval *[2]float64 `json:"interval95"` // null for a single picture
}

// finish computes what belongs to all pictures together; own are the statistics of
// the restored ones, nil for a single one.
func (c *comparer) finish(seed uint64) (r *report, own *fid.Statistics, err error) {
	r = &report{Perceptual: c.perceptual.Name(), Frechet: c.frechet, Images: c.pairs}
	psnr, n := 0.0, float64(len(c.pairs))
	for _, p := range c.pairs {
		if p.PSNR == nil {
			psnr = math.Inf(1)
		} else {
			psnr += *p.PSNR / n
		}
		r.Mean.SSIM += p.SSIM / n
		r.Mean.Perceptual += p.Perceptual / n
	}
	r.Mean.PSNR = finite(psnr)
	if len(c.pairs) > 1 {
		if own, err = fid.NewStatistics(c.sets[0], c.dim); err != nil {
			return nil, nil, err
		}
		reference := c.reference
		if reference == nil {
			if reference, err = fid.NewStatistics(c.sets[1], c.dim); err != nil {
				return nil, nil, err
			}
		}
		d, err := fid.Distance(own, reference)
		if err != nil {
			return nil, nil, err
		}
		r.Distance = &d
	}
	for k, d := range c.distances() {
		a := c.apart[k]
		if len(a[0]) == 0 {
			break
		}
		ratio, lo, hi, err := metric.Exchangeability(a[0], a[1], a[2], 10000, seed)
		if err != nil {
			return nil, nil, err
		}
		one := exchange{Distance: d, Ratio: ratio}
		if !math.IsNaN(lo) {
			one.Interval = &[2]float64{lo, hi}
		}
		r.Exchangeability = append(r.Exchangeability, one)
	}
	return r, own, nil
}

func (r *report) json(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// number prints a PSNR, which is infinite where it is nil.
func number(v *float64, infinite string, digits int) string {
	if v == nil {
		return infinite
	}
	return strconv.FormatFloat(*v, 'f', digits, 64)
}

// inert is a text that no spreadsheet takes for a formula.
func inert(text string) string {
	if strings.ContainsAny(text[:min(1, len(text))], "=+-@\t\r") {
		return "'" + text
	}
	return text
}

func (r *report) csv(w io.Writer) error {
	out := csv.NewWriter(w)
	rows := [][]string{{"name", "PSNR", "SSIM", r.Perceptual}}
	for _, p := range r.Images {
		rows = append(rows, []string{inert(p.Name), number(p.PSNR, "inf", 6), strconv.FormatFloat(p.SSIM, 'f', 6, 64), strconv.FormatFloat(p.Perceptual, 'f', 6, 64)})
	}
	return out.WriteAll(rows) // flushes
}

func (r *report) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "picture\tPSNR (dB)\tSSIM\t%s\n", r.Perceptual)
	mean := r.Mean
	mean.Name = "mean"
	for _, p := range append(r.Images[:len(r.Images):len(r.Images)], mean) {
		fmt.Fprintf(t, "%s\t%s\t%.4f\t%.4f\n", p.Name, number(p.PSNR, "∞", 2), p.SSIM, p.Perceptual)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if r.Distance != nil {
		fmt.Fprintf(w, "%s of %d pictures: %.4g\n", r.Frechet, len(r.Images), *r.Distance)
	} else {
		fmt.Fprintf(w, "%s: at least 2 pictures are wanted\n", r.Frechet)
	}
	for _, e := range r.Exchangeability {
		interval := ""
		if e.Interval != nil {
			interval = fmt.Sprintf(" (%.3f … %.3f)", e.Interval[0], e.Interval[1])
		}
		fmt.Fprintf(w, "exchangeability in %s: %.3f%s\n", e.Distance, e.Ratio, interval)
	}
	return nil
}
