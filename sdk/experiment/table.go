package experiment

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/metric"
)

// table is a table of text, to be written as Markdown or HTML.
type table struct {
	Title, Note string
	Head        []string
	Rows        []row
}

type row struct {
	Cells []entry
	Paper bool // published by others, not measured here
	First bool // of a group
}

// entry is a text that may be marked: an interval without zero.
type entry struct {
	Text   string
	Strong bool
}

func plain(texts ...string) []entry {
	out := make([]entry, len(texts))
	for i, t := range texts {
		out[i].Text = t
	}
	return out
}

const none = "–"

// fixed prints a number with a true minus sign; – where it is not finite.
func fixed(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return none
	}
	return strings.ReplaceAll(strconv.FormatFloat(v, 'f', digits, 64), "-", "−")
}

func signed(v float64, digits int) string {
	switch text := fixed(v, digits); {
	case math.Round(v*math.Pow10(digits)) == 0: // no −0.00
		return fixed(0, digits)
	case v > 0:
		return "+" + text
	default:
		return text
	}
}

// change returns a difference with its interval, marked where that is decided.
func change(d Interval, digits int) entry {
	if math.IsNaN(d.Value) {
		return entry{Text: none}
	}
	visible := math.Round(d.Value*math.Pow10(digits)) != 0
	return entry{signed(d.Value, digits) + within(d, func(v float64) string { return signed(v, digits) }), visible && d.Decided()}
}

// within prints an interval's ends behind its value; nothing for a single picture.
func within(d Interval, print func(float64) string) string {
	if math.IsNaN(d.Low) {
		return ""
	}
	return fmt.Sprintf(" (%s … %s)", print(d.Low), print(d.High))
}

// short returns a distance's name without the network that it runs on: "lpips-like".
func short(name string) string {
	before, _, _ := strings.Cut(name, " (")
	return before
}

// labels returns what the three measures are called in headings.
func (s *Summary) labels() [3]string { return [3]string{"PSNR", "SSIM", short(s.LPIPSName)} }

// head returns a measure's heading: name, unit and which way is better.
func (s *Summary) head(m int) string {
	name := s.labels()[m]
	if measures[m].unit != "" {
		name += " " + measures[m].unit
	}
	if measures[m].higher {
		return name + " ↑"
	}
	return name + " ↓"
}

func (s *Summary) frechetName() string {
	if s.Frechet == "" {
		return "FID"
	}
	return short(s.Frechet)
}

// frechet prints a Fréchet distance, which is large on features other than FID's.
func frechet(v float64) string { return fixed(v, min(2, max(0, 4-int(math.Log10(math.Abs(v)+1))))) }

// tasks returns the summary's, in order.
func (s *Summary) tasks() []string {
	var out []string
	for _, c := range s.Cells {
		if !slices.Contains(out, c.Task) {
			out = append(out, c.Task)
		}
	}
	return out
}

// overview returns the paper's Table I: a column for each task, a row for each arm.
func (s *Summary) overview(p Preset) table {
	tasks := s.tasks()
	t := table{Title: "Overview", Head: append([]string{"method"}, tasks...),
		Note: fmt.Sprintf("Entries are %s ↓, %s ↓ and SSIM ↑, in the order of the paper's Table I.", s.frechetName(), short(s.LPIPSName))}
	for _, c := range s.Cells {
		if c.Task != tasks[0] {
			continue
		}
		ours, paper := plain(c.Title()), plain(c.Title()+" (paper)")
		published := false
		for _, task := range tasks {
			one := s.cell(Cell{task, c.Method, c.CMI})
			distance := none
			if one.Frechet != nil {
				distance = frechet(*one.Frechet)
			}
			ours = append(ours, entry{Text: fmt.Sprintf("%s %s %s", distance, fixed(one.Mean[2].Value, 3), fixed(one.Mean[1].Value, 3))})
			text := none
			if r, ok := p.Paper[one.published()]; ok {
				text, published = fmt.Sprintf("%s %s %s", fixed(r.FID, 2), fixed(r.LPIPS, 3), fixed(r.SSIM, 3)), true
			}
			paper = append(paper, entry{Text: text})
		}
		t.Rows = append(t.Rows, row{Cells: ours, First: c.CMI == Without})
		if published {
			t.Rows = append(t.Rows, row{Cells: paper, Paper: true})
		}
	}
	return t
}

// quality is everything that was measured for a task.
func (s *Summary) quality(p Preset, task string) table {
	t := table{Title: taskTitle(task), Head: []string{"method", s.head(0), s.head(1), s.head(2)}}
	exchange := s.Cells[0].Exchangeability != nil
	if s.Frechet != "" {
		t.Head = append(t.Head, s.frechetName()+" ↓")
	}
	if exchange {
		t.Head = append(t.Head, "exchangeability, squared error → 1", "exchangeability, "+short(s.LPIPSName)+" → 1")
	}
	t.Head = append(t.Head, "passes", "limited")
	for _, c := range s.Cells {
		if c.Task != task {
			continue
		}
		ours, paper := plain(c.Title()), plain(c.Title()+" (paper)", none)
		for m := range measures {
			ours = append(ours, entry{Text: fixed(c.Mean[m].Value, measures[m].digits)})
		}
		r, published := p.Paper[c.published()]
		paper = append(paper, plain(fixed(r.SSIM, 3), fixed(r.LPIPS, 3))...)
		if s.Frechet != "" {
			text := none
			if c.Frechet != nil {
				text = frechet(*c.Frechet)
			}
			ours, paper = append(ours, entry{Text: text}), append(paper, entry{Text: fixed(r.FID, 2)})
		}
		if exchange {
			for _, e := range c.Exchangeability {
				ours = append(ours, entry{Text: fixed(e.Value, 3) + within(e, func(v float64) string { return fixed(v, 3) })})
			}
			paper = append(paper, plain(none, none)...)
		}
		limited := none
		if c.CMI != Without {
			limited = fixed(100*c.Limited, 0) + " %"
		}
		ours, paper = append(ours, plain(fixed(c.Passes, 0), limited)...), append(paper, plain(none, none)...)
		t.Rows = append(t.Rows, row{Cells: ours, First: c.CMI == Without})
		if published {
			t.Rows = append(t.Rows, row{Cells: paper, Paper: true})
		}
	}
	return t
}

// Text returns the overview and the changes by the information term, as Markdown.
func (s *Summary) Text(p Preset) string {
	var out strings.Builder
	s.overview(p).markdown(&out)
	if t := s.changes(); len(t.Rows) > 0 {
		t.markdown(&out)
	}
	return strings.TrimPrefix(out.String(), "\n")
}

// changes returns the paired differences of all cells with the information term.
func (s *Summary) changes() table {
	t := table{Title: "What the information term changes", Head: []string{"task", "method"},
		Note: fmt.Sprintf("Means of the paired differences, with the term less without it, same pictures, measurements and random numbers, and 95 %% bootstrap "+
			"intervals over the pictures; bold: the interval leaves zero out, of at least %d pictures. The difference of Fréchet distances has no interval.", metric.FewestImages)}
	for m := range measures {
		t.Head = append(t.Head, "Δ "+s.head(m))
	}
	if s.Frechet != "" {
		t.Head = append(t.Head, "Δ "+s.frechetName()+" ↓")
	}
	task := ""
	for _, c := range s.Cells {
		if c.Difference == nil {
			continue
		}
		r := row{Cells: plain(c.Task, c.Title()), First: c.Task != task}
		task = c.Task
		for m, d := range c.Difference {
			r.Cells = append(r.Cells, change(d, measures[m].digits))
		}
		if s.Frechet != "" {
			text := none
			if base := s.cell(c.base()); c.Frechet != nil && base.Frechet != nil {
				if d := *c.Frechet - *base.Frechet; d >= 0 {
					text = "+" + frechet(d)
				} else {
					text = frechet(d)
				}
			}
			r.Cells = append(r.Cells, entry{Text: text})
		}
		t.Rows = append(t.Rows, r)
	}
	return t
}

func taskTitle(name string) string {
	for _, t := range measure.Tasks {
		if t.Name == name {
			return name + ": " + t.Description
		}
	}
	return name
}

// markdown writes the table in columns of one width.
func (t table) markdown(out *strings.Builder) {
	lines := [][]string{t.Head}
	for _, r := range t.Rows {
		var line []string
		for _, c := range r.Cells {
			text := c.Text
			switch {
			case r.Paper && text != none:
				text = "*" + text + "*"
			case c.Strong:
				text = "**" + text + "**"
			}
			line = append(line, text)
		}
		lines = append(lines, line)
	}
	width := make([]int, len(t.Head))
	for _, line := range lines {
		for j, text := range line {
			width[j] = max(width[j], len([]rune(text)))
		}
	}
	fmt.Fprintf(out, "\n## %s\n\n", t.Title)
	for i, line := range lines {
		for j, text := range line {
			fmt.Fprintf(out, "| %-*s ", width[j], text)
		}
		out.WriteString("|\n")
		if i == 0 {
			for _, w := range width {
				out.WriteString("|" + strings.Repeat("-", w+2))
			}
			out.WriteString("|\n")
		}
	}
	if t.Note != "" {
		fmt.Fprintf(out, "\n%s\n", t.Note)
	}
}
