package experiment

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// Report says what the tables and the report tell beside the summary.
type Report struct {
	Preset Preset
	Facts  [][2]string // names and values: what was run
	Shown  int         // pictures in the grids
}

//go:embed report.html.tmpl
var page string

// Write makes table.md, table.csv, report.html and the folder report with its
// pictures and plots. The tables' bytes depend on the results alone.
func (r Report) Write(f *Folder, s *Summary) error {
	facts := append([][2]string{{"preset", r.Preset.Name + ": " + r.Preset.Title}, {"pictures", f.progress(s)}}, r.Facts...)
	facts = append(facts, [2]string{"perceptual distance", s.LPIPSName})
	if s.Frechet != "" {
		facts = append(facts, [2]string{"distance of sets", s.Frechet})
	}
	tables := []table{s.overview(r.Preset), s.changes()}
	if len(tables[1].Rows) == 0 {
		tables = tables[:1]
	}
	var md strings.Builder
	fmt.Fprintf(&md, "# %s\n\n", title)
	for _, fact := range facts {
		fmt.Fprintf(&md, "- %s: %s\n", fact[0], fact[1])
	}
	for _, t := range tables {
		t.markdown(&md)
	}
	for _, task := range s.tasks() {
		s.quality(r.Preset, task).markdown(&md)
	}
	fmt.Fprintf(&md, "\n## Notes\n\n")
	notes := r.notes(s)
	for _, n := range notes {
		fmt.Fprintf(&md, "- %s\n", n)
	}
	if err := replace(f.path("table.md"), []byte(md.String())); err != nil {
		return err
	}
	csv, err := s.csv(r.Preset)
	if err != nil {
		return err
	}
	if err := replace(f.path("table.csv"), []byte(csv)); err != nil {
		return err
	}
	return r.html(f, s, facts, tables, notes)
}

const title = "Diffusion posterior sampling with and without mutual-information guidance"

// progress returns how many pictures are in the summary, and what is not finished.
func (f *Folder) progress(s *Summary) string {
	n := s.Cells[0].Pictures
	if n == len(f.grid.Names) {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d of %d, the others are not finished (%d of %d runs)", n, len(f.grid.Names), s.Done, f.grid.Len())
}

// notes say how to read the tables.
func (r Report) notes(s *Summary) []string {
	notes := []string{"PSNR, SSIM and the perceptual distance are means over the pictures, of the 8-bit files in images/."}
	if s.Frechet != "" {
		notes = append(notes, fmt.Sprintf("%s is the Fréchet distance between the sets of restored and true pictures; it is biased upwards for few pictures.", s.frechetName()))
	}
	if s.Cells[0].Pictures < 20 {
		notes = append(notes, "Bootstrap intervals of so few pictures are too narrow: they do not know what other pictures would bring.")
	}
	if r.Preset.Paper != nil {
		notes = append(notes, fmt.Sprintf("Rows marked (paper) are those of arXiv 2501.02880, Table I, for %d pictures, with FID and LPIPS proper: "+
			"distances with other names, and other numbers of pictures, do not compare with them.", r.Preset.Images))
	}
	if s.Cells[0].Exchangeability != nil {
		notes = append(notes, "Exchangeability is the distance between two samples for one measurement over their distance to the truth: 1 for a sampler of the exact "+
			"posterior, below 1 over-confident, above 1 too diffuse. Plain noise raises it in squared error and not in the perceptual distance.")
	}
	return append(notes, "A sample of the exact posterior has twice the squared error of the posterior's mean: PSNR alone does not judge a sampler.",
		"Passes are network passes of one run, in units of one forward. Limited: steps in which the trust radius shortened the information term, of the steps in which it was active.")
}

// section is the part of the page on one task.
type section struct {
	Name, Grid string
	Table      table
	Plots      []string
}

func (r Report) html(f *Folder, s *Summary, facts [][2]string, tables []table, notes []string) error {
	if err := os.MkdirAll(f.path("report"), 0o777); err != nil {
		return err
	}
	names, files, err := s.plots()
	if err != nil {
		return err
	}
	for name, data := range files {
		if err := replace(f.path(filepath.Join("report", name)), data); err != nil {
			return err
		}
	}
	tasks := s.tasks()
	inks := s.inks()
	content := struct {
		Title    string
		Facts    [][2]string
		Tables   []table
		Plots    []string
		Sections []section
		Notes    []string
		Key      [][2]string // names and colours of the methods
	}{Title: title, Facts: facts, Tables: tables, Notes: notes}
	for _, c := range s.Cells {
		if c.Task == tasks[0] && c.CMI == f.grid.CMI[0] {
			ink := inks[c.Method]
			content.Key = append(content.Key, [2]string{c.base().Title(), fmt.Sprintf("#%02x%02x%02x", ink.R, ink.G, ink.B)})
		}
	}
	for _, name := range names {
		if !strings.HasSuffix(name, "-residual.svg") && !strings.HasSuffix(name, "-information.svg") {
			content.Plots = append(content.Plots, "report/"+name)
		}
	}
	grids, err := r.grids(f, s)
	if err != nil {
		return err
	}
	for _, task := range tasks {
		one := section{Name: task, Table: s.quality(r.Preset, task), Grid: "report/" + task + ".png"}
		if err := picture.SavePNG(f.path(filepath.FromSlash(one.Grid)), grids[task]); err != nil {
			return err
		}
		for _, kind := range []string{"residual", "information"} {
			if name := task + "-" + kind + ".svg"; files[name] != nil {
				one.Plots = append(one.Plots, "report/"+name)
			}
		}
		content.Sections = append(content.Sections, one)
	}
	t, err := template.New("report").Parse(page)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, content); err != nil {
		return err
	}
	return replace(f.path("report.html"), out.Bytes())
}
