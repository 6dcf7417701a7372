package main

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"sync"

	"gonum.org/v1/plot/palette/moreland"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/certainty"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// mostOfEach bounds --samples.
const mostOfEach = 10_000

// level is the probability of the intervals that are written.
const level = 0.9

// eachSample returns the images with --samples of each, the first one's name being the image's.
func (f *restoreFlags) eachSample(images []job.Image) []job.Image {
	all := make([]job.Image, 0, len(images)*f.samples)
	for _, image := range images {
		for k := range f.samples {
			one := image
			one.Sample = k
			if k > 0 {
				one.Name = fmt.Sprintf("%s, sample %d", image.Name, k+1)
			}
			all = append(all, one)
		}
	}
	return all
}

// sampleName returns the name of a result's sample, from 0: the first is the result itself.
func sampleName(name string, k int) string {
	if k == 0 {
		return name
	}
	return fmt.Sprintf("%s.sample%d", name, k+1)
}

// certaintyFiles returns the files that --samples adds to a picture's.
func (f *restoreFlags) certaintyFiles(name string) (files []string) {
	if f.samples == 1 {
		return nil
	}
	ext := pictureFormats[f.format].ext
	for k := 1; k < f.samples; k++ {
		files = append(files, sampleName(name, k)+ext)
	}
	files = append(files, name+".mean"+ext, name+".std.png", name+".width90.png")
	if !f.Measured {
		files = append(files, name+".truth"+ext)
	}
	if f.npy {
		for k := 1; k < f.samples; k++ {
			files = append(files, sampleName(name, k)+".npy")
		}
		for _, what := range []string{"mean", "std", "low90", "high90"} {
			files = append(files, name+"."+what+".npy")
		}
		if !f.Measured {
			files = append(files, name+".truth.npy")
		}
	}
	return files
}

// drawing gathers the samples of a picture until all are there.
type drawing struct {
	samples []picture.Image
	left    int
	job     *job.Job // of the first sample, in which it is number in
	in      int

	particles *particlesOf
}

// particlesOf is what a manifest says of a picture's particles, after the last step.
type particlesOf struct {
	ESS         float64 `json:"ess"`         // effective sample size of their weights
	LogEvidence float64 `json:"logEvidence"` // estimate of log p(y), in nats
}

// drawings are those of a run, by the pictures' places in the list.
type drawings struct {
	lock sync.Mutex
	of   map[int]*drawing
}

// add keeps sample number i of a job, whose last step is told too. It returns the picture's drawing when all its samples are
// there, and nil before.
func (d *drawings) add(at, samples int, j *job.Job, i int, restored picture.Image, last sdk.Progress) *drawing {
	d.lock.Lock()
	defer d.lock.Unlock()
	one := d.of[at]
	if one == nil {
		one = &drawing{samples: make([]picture.Image, samples), left: samples}
		d.of[at] = one
	}
	k := j.Images[i].Sample
	one.samples[k] = restored
	if k == 0 {
		one.job, one.in = j, i
		if last.ESS != nil {
			one.particles = &particlesOf{last.ESS[i], last.LogEvidence[i]}
		}
	}
	if one.left--; one.left > 0 {
		return nil
	}
	delete(d.of, at)
	return one
}

// certaintyOf is what a manifest says of a picture's samples.
type certaintyOf struct {
	Samples  int      `json:"samples"`
	MeanStd  float64  `json:"meanStd"`            // mean standard deviation, pictures in [−1, 1]
	Half     float64  `json:"half"`               // the smallest share of the pixels that has half of the variance
	Ninth    string   `json:"ninth"`              // of the picture, where most of the variance is
	InNinth  float64  `json:"inNinth"`            // its share of the variance
	Missing  *float64 `json:"missing,omitempty"`  // share of the variance in the pixels that are not measured
	MeanPSNR *float64 `json:"meanPSNR,omitempty"` // of the samples' mean
	Within   *float64 `json:"within,omitempty"`   // share of the truth's values in the 90 % intervals
	Factor   float64  `json:"factor"`             // by which the intervals are scaled
	From     string   `json:"calibration"`        // where it comes from
}

func (c *certaintyOf) String() string {
	text := fmt.Sprintf("%d samples: mean std %.3f, half of the variance in %.0f %% of the pixels, %.0f %% of it %s", c.Samples, c.MeanStd, 100*c.Half, 100*c.InNinth, c.Ninth)
	if c.Missing != nil {
		text += fmt.Sprintf(", %.0f %% in what is missing", 100**c.Missing)
	}
	if c.MeanPSNR != nil {
		text += fmt.Sprintf("; their mean: %.2f dB", *c.MeanPSNR)
	}
	if c.From != "none" {
		text += fmt.Sprintf("; intervals × %.2f, %s", c.Factor, c.From)
	}
	if c.Within != nil {
		text += fmt.Sprintf("; %.0f %% of the truth in the 90 %% intervals", 100**c.Within)
	}
	return text
}

// ninths are the parts of a picture, row by row.
var ninths = []string{"top left", "at the top", "top right", "at the left", "in the centre", "at the right", "bottom left", "at the bottom", "bottom right"}

// where says which part of a picture has most of the variance, and how concentrated it is, from
// the pixels' standard deviations.
func (c *certaintyOf) where(std, known []float32, h, w int) {
	total, missing := 0.0, 0.0
	parts, variance := make([]float64, len(ninths)), make([]float64, len(std))
	for i, s := range std {
		v := float64(s) * float64(s)
		variance[i] = v
		c.MeanStd += float64(s) / float64(len(std))
		total += v
		parts[i/w*3/h*3+i%w*3/w] += v
		if known != nil && known[i] == 0 {
			missing += v
		}
	}
	if total == 0 {
		c.Ninth = "nowhere"
		return
	}
	most := slices.Index(parts, slices.Max(parts))
	c.Ninth, c.InNinth = ninths[most], parts[most]/total
	if known != nil {
		missing /= total
		c.Missing = &missing
	}
	slices.Sort(variance)
	sum, n := 0.0, 0
	for sum < total/2 && n < len(variance) {
		n++
		sum += variance[len(variance)-n]
	}
	c.Half = float64(n) / float64(len(variance))
}

// saveCertainty writes what the samples of a picture say together, and returns it with the
// picture's row of certainty.png. truth is nil where it is not known.
func (f *restoreFlags) saveCertainty(name string, d *drawing, truth *picture.Image, scaled factor) (said *certaintyOf, row certaintyRow, err error) {
	pix := make([][]float32, len(d.samples))
	for k, p := range d.samples {
		pix[k] = p.Pix
	}
	e, err := certainty.Of(pix)
	if err != nil {
		return nil, row, err
	}
	half, err := e.HalfWidth(level)
	if err != nil {
		return nil, row, err
	}
	for i := range half {
		half[i] *= scaled.value
	}
	like := d.samples[0]
	row = certaintyRow{samples: d.samples, mean: like}
	row.mean.Pix = e.Mean
	row.std = overChannels(e.Std, like.C)
	if err := f.saveIntervals(name, e, half, row, truth); err != nil {
		return nil, row, err
	}
	said = &certaintyOf{Samples: e.N, Factor: scaled.value, From: scaled.from}
	said.where(row.std, f.known(d.job, d.in, like), like.H, like.W)
	if truth == nil {
		return said, row, nil
	}
	scores, err := e.Scores(truth.Pix, half)
	if err != nil {
		return nil, row, err
	}
	within := certainty.Coverage(scores, 1)
	said.Within = &within
	if row.quality, err = score(row.mean, *truth); err == nil {
		said.MeanPSNR = finite(row.quality.psnr)
	}
	return said, row, err
}

// known returns which pixels of a job's picture i, cropped to another's size, were measured; nil
// where all were or the measurement has other pixels.
func (f *restoreFlags) known(j *job.Job, i int, like picture.Image) []float32 {
	y := j.Measurements[i]
	if y.Known == nil || y.H != j.Images[i].H || y.W != j.Images[i].W {
		return nil
	}
	p := f.cropped(picture.Image{C: 1, H: y.H, W: y.W, Pix: y.Known}, f.indexOf(j.Images[i]))
	if p.H != like.H || p.W != like.W {
		return nil
	}
	return p.Pix
}

// saveIntervals writes mean, standard deviation, intervals and truth of a picture.
func (f *restoreFlags) saveIntervals(name string, e certainty.Estimate, half []float64, row certaintyRow, truth *picture.Image) error {
	path, format := filepath.Join(f.out, name), pictureFormats[f.format]
	pictures := map[string]picture.Image{"mean": row.mean}
	if truth != nil {
		pictures["truth"] = *truth
	}
	for what, p := range pictures {
		if err := format.save(p, path+"."+what+format.ext); err != nil {
			return err
		}
	}
	low, high, width := slices.Clone(e.Mean), slices.Clone(e.Mean), make([]float32, len(half))
	for i, h := range half {
		low[i] -= float32(h)
		high[i] += float32(h)
		width[i] = float32(2 * h)
	}
	if err := saveMap(path+".std.png", "standard deviation of the samples, pictures in [-1, 1]", row.std, row.mean); err != nil {
		return err
	}
	if err := saveMap(path+".width90.png", "width of the 90 % interval, pictures in [-1, 1]", overChannels(width, row.mean.C), row.mean); err != nil {
		return err
	}
	if !f.npy {
		return nil
	}
	for what, values := range map[string][]float32{"std": e.Std, "low90": low, "high90": high} {
		p := row.mean
		p.Pix = values
		pictures[what] = p
	}
	for what, p := range pictures {
		if err := p.SaveNPY(path + "." + what + ".npy"); err != nil {
			return err
		}
	}
	return nil
}

// overChannels returns the root of the mean square over a picture's channels.
func overChannels(values []float32, channels int) []float32 {
	plane := len(values) / channels
	out := make([]float32, plane)
	for i := range out {
		sum := 0.0
		for c := range channels {
			v := float64(values[c*plane+i])
			sum += v * v
		}
		out[i] = float32(math.Sqrt(sum / float64(channels)))
	}
	return out
}

// saveMap draws values of a picture's pixels in colours, with their scale.
func saveMap(path, label string, values []float32, of picture.Image) error {
	s := picture.Scale{Top: picture.TopOf(values), Label: label, Colour: heat}
	p, err := s.Draw(values, of.H, of.W)
	if err != nil {
		return err
	}
	drawn, err := s.WithBar(p)
	if err != nil {
		return err
	}
	return picture.SavePNG(path, drawn)
}

// heat is a colour map whose lightness rises evenly: Kindlmann's.
var heat = func() func(float64) color.RGBA {
	m := moreland.Kindlmann()
	m.SetMin(0)
	m.SetMax(1)
	var table [1024]color.RGBA
	for i := range table {
		c, err := m.At(float64(i) / float64(len(table)-1))
		if err != nil {
			panic(err) // it has colours for 0 to 1
		}
		table[i] = color.RGBAModel.Convert(c).(color.RGBA)
	}
	return func(share float64) color.RGBA { return table[int(share*float64(len(table)-1)+.5)] }
}()

// certaintyRow is a picture's row of certainty.png.
type certaintyRow struct {
	cells   picture.Row // of the grid of restored pictures, whose last cell is the first sample
	samples []picture.Image
	mean    picture.Image
	quality scores // of the mean
	std     []float32
}

// mostSamplesInGrid is the number of samples that certainty.png shows of a picture.
const mostSamplesInGrid = 5

// certaintyGrid draws what a grid of restored pictures has, further samples, their mean and the
// standard deviation.
func (f *restoreFlags) certaintyGrid(g picture.Grid, rows []certaintyRow) (*image.RGBA, error) {
	shown := min(f.samples, mostSamplesInGrid)
	g.Columns = slices.Clone(g.Columns[:len(g.Columns)-1])
	for k := range shown {
		g.Columns = append(g.Columns, fmt.Sprintf("sample %d", k+1))
	}
	g.Columns = append(g.Columns, fmt.Sprintf("mean of %d", f.samples), "std")
	s := picture.Scale{Label: "standard deviation of the samples, pictures in [-1, 1]", Colour: heat}
	for _, r := range rows {
		s.Top = max(s.Top, picture.TopOf(r.std))
	}
	g.Rows = nil
	for _, r := range rows {
		row := picture.Row{Label: r.cells.Label, Cells: slices.Clone(r.cells.Cells)}
		for _, p := range r.samples[1:shown] {
			row.Cells = append(row.Cells, picture.Cell{Image: p})
		}
		mean := picture.Cell{Image: r.mean}
		if !f.Measured {
			mean.Caption = r.quality.String()
		}
		drawn, err := s.Draw(r.std, r.mean.H, r.mean.W)
		if err != nil {
			return nil, err
		}
		row.Cells = append(row.Cells, mean, picture.Cell{Image: picture.From(drawn)})
		g.Rows = append(g.Rows, row)
	}
	g.Scale = &s
	return g.Draw()
}
