// Package experiment runs the evaluation of arXiv 2501.02880: every sampling
// method, without and with the information term, on every task and every picture
// of a folder, from the same measurements and random numbers, and makes the tables
// and the report of it.
//
// A [Grid] says what is run and in which order. [Open] makes or continues the
// folder of its results, [Runner] fills it, [Folder.Summarise] gathers means and
// paired differences, and [Report] writes the tables and the pages. The folder is
// the only state: a run that was stopped or killed at any moment goes on where it
// was, and ends with the same bytes as one that was not.
package experiment

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/job"
)

// Cell is one arm of the experiment: an entry of the paper's Table I.
type Cell struct {
	Task   string `json:"task"`
	Method string `json:"method"`
	CMI    Term   `json:"cmi"`
}

// Term names the information term of a cell: [Without], [With], a [cmi.Choice], or a name that
// [Runner].SpecOf knows.
type Term string

const (
	Without Term = ""   // the method alone
	With    Term = "on" // the term of [Runner].Spec
)

// text is the term in tables for programs: false, true or the name.
func (t Term) text() string {
	switch t {
	case Without:
		return "false"
	case With:
		return "true"
	}
	return string(t)
}

// MarshalJSON implements [json.Marshaler]: false, true or the name.
func (t Term) MarshalJSON() ([]byte, error) {
	if t == Without || t == With {
		return []byte(t.text()), nil
	}
	return json.Marshal(string(t))
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *Term) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case "false":
		*t = Without
	case "true":
		*t = With
	default:
		return json.Unmarshal(text, (*string)(t))
	}
	return nil
}

// Arm returns the method with its information term: "dps", "dps+cmi", "dps+cmi-fidelity".
func (c Cell) Arm() string {
	switch c.CMI {
	case Without:
		return c.Method
	case With:
		return c.Method + "+cmi"
	}
	return c.Method + "+cmi-" + string(c.CMI)
}

// methodTitles are the methods' names as the literature writes them.
var methodTitles = map[string]string{
	"dps": "DPS", "pigdm": "ΠGDM", "mcg": "MCG", "dsg": "DSG",
	"mmps": "MMPS", "tmpd": "TMPD", "adamdps": "AdamDPS", "cadps": "CA-DPS", "diffpir": "DiffPIR", "ddnm": "DDNM+", "ddrm-mean": "DDRM, mean", "daps": "DAPS", "gibbs": "split Gibbs", "fps": "FPS-SMC", "pathwise-mean": "pathwise, mean",
}

// Title returns the arm as the paper writes it: "CMI+DPS".
func (c Cell) Title() string {
	title, ok := methodTitles[c.Method]
	if !ok {
		title = c.Method
	}
	switch c.CMI {
	case Without:
		return title
	case With:
		return "CMI+" + title
	}
	return fmt.Sprintf("CMI+%s, %s", title, c.CMI)
}

// Spec returns how a job of the cell is restored, the rest being that of s.
func (c Cell) Spec(s job.Spec) job.Spec {
	s.Task, s.Method, s.CMI.On = c.Task, c.Method, c.CMI != Without
	if s.CMI.On && c.CMI != With {
		s.CMI.Choice = cmi.Choice(c.CMI)
	}
	return s
}

// published returns the cell of the paper's Table I that this one stands beside.
func (c Cell) published() Cell {
	if c.CMI == Term(cmi.Paper) {
		c.CMI = With
	}
	return c
}

// base returns the cell that this one is compared with.
func (c Cell) base() Cell { return Cell{Task: c.Task, Method: c.Method} }

// Grid is every cell on every picture.
type Grid struct {
	Tasks   []string `json:"tasks"`
	Methods []string `json:"methods"`
	CMI     []Term   `json:"cmi"`     // arms; each other one is compared with Without
	Names   []string `json:"names"`   // of the pictures, in order: a picture's place keys its random numbers
	Samples int      `json:"samples"` // for each measurement: 1, or 2 for the exchangeability ratio
}

// Job is one sample of one cell for one picture.
type Job struct {
	Cell
	Image  int // place in Grid.Names
	Name   string
	Sample int // from 1
}

// Cells in the order of the tables: task, method, without and with the term.
func (g Grid) Cells() []Cell {
	var out []Cell
	for _, task := range g.Tasks {
		for _, method := range g.Methods {
			for _, withCMI := range g.CMI {
				out = append(out, Cell{task, method, withCMI})
			}
		}
	}
	return out
}

// Len returns the number of jobs.
func (g Grid) Len() int {
	return len(g.Names) * len(g.Tasks) * len(g.Methods) * len(g.CMI) * g.Samples
}

// Job returns the k-th job. Pictures are the outermost loop, so that what is finished
// is always a whole experiment on fewer pictures.
func (g Grid) Job(k int) Job {
	digit := func(n int) int { d := k % n; k /= n; return d }
	sample := digit(g.Samples)
	withCMI, method, task := digit(len(g.CMI)), digit(len(g.Methods)), digit(len(g.Tasks))
	return Job{Cell{g.Tasks[task], g.Methods[method], g.CMI[withCMI]}, k, g.Names[k], sample + 1}
}

// batches returns the jobs from the done-th on, cut into what is sampled together: one
// cell of up to size neighbouring pictures. The cells of these pictures come in the
// grid's order, before those of the next pictures.
func (g Grid) batches(done, size int) (cut [][]Job) {
	size = max(size, 1)
	cells := g.Len() / len(g.Names) // of a picture, every sample by itself
	for first := done / cells / size * size; first < len(g.Names); first += size {
		for cell := range cells {
			var batch []Job
			for image := first; image < min(first+size, len(g.Names)); image++ {
				if k := image*cells + cell; k >= done {
					batch = append(batch, g.Job(k))
				}
			}
			if batch != nil {
				cut = append(cut, batch)
			}
		}
	}
	return cut
}

// Validate says what is wrong with a grid.
func (g Grid) Validate() error {
	for _, list := range []struct {
		what  string
		names []string
	}{{"task", g.Tasks}, {"method", g.Methods}, {"picture", g.Names}} {
		if len(list.names) == 0 {
			return fmt.Errorf("no %s, at least one is wanted", list.what)
		}
		seen := map[string]bool{}
		for _, name := range list.names {
			if seen[name] {
				return fmt.Errorf("%s %q is named twice", list.what, name)
			}
			seen[name] = true
		}
	}
	if len(g.CMI) == 0 {
		return errors.New("no arm, without the information term or with it is wanted")
	}
	for i, term := range g.CMI {
		if slices.Contains(g.CMI[:i], term) {
			return fmt.Errorf("the arm %q is named twice", Cell{Method: "METHOD", CMI: term}.Arm())
		}
		if strings.ContainsAny(string(term), "/\\") {
			return fmt.Errorf("the arm %q can't be a part of a file's name", term)
		}
	}
	if g.Samples < 1 || g.Samples > 2 {
		return fmt.Errorf("%d samples for each measurement, 1 or 2 are possible (2 for the exchangeability ratio)", g.Samples)
	}
	return nil
}

// picturePath is where a job's picture stands in the folder. A second sample has a
// folder of its own, with the same names.
func (j Job) picturePath() string {
	arm := j.Arm()
	if j.Sample > 1 {
		arm = fmt.Sprintf("%s.sample%d", arm, j.Sample)
	}
	return filepath.Join("images", j.Task, arm, j.Name+".png")
}

func (j Job) String() string {
	s := strings.Join([]string{j.Task, j.Arm(), j.Name}, " ")
	if j.Sample > 1 {
		s += fmt.Sprintf(" (sample %d)", j.Sample)
	}
	return s
}

// truthPath and measurementPath are the other pictures of the folder.
func truthPath(name string) string { return filepath.Join("images", "truth", name+".png") }

func measurementPath(task, name string) string {
	return filepath.Join("images", task, "measurement", name+".png")
}
