package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// output is standard output. It keeps the first error, so that a full disk fails
// whatever command writes to it.
type output struct {
	to  io.Writer
	err error
}

func (r *output) Write(p []byte) (int, error) {
	n, err := len(p), error(nil)
	if safe := printable(p); len(safe) == len(p) {
		n, err = r.to.Write(p)
	} else {
		_, err = r.to.Write(safe)
	}
	if r.err == nil {
		r.err = err
	}
	return n, err
}

// printable replaces control characters, which a file's name or contents may hold and which
// would command a terminal, by their codes. Lines and tabs stay.
func printable(p []byte) []byte {
	control := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
	if bytes.IndexFunc(p, control) < 0 {
		return p
	}
	var out []byte
	for _, r := range string(p) {
		if control(r) {
			out = fmt.Appendf(out, "\\x%02x", r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

// messages is standard error: whole lines, and a bar that a line first puts an end to.
type messages struct {
	lock  sync.Mutex
	to    io.Writer
	drawn bool // a bar stands in the line
	quiet bool // no progress
	json  bool // each line as JSON
}

// line is a message, or the progress of a run, in a log of JSON.
type line struct {
	Time    time.Time `json:"time"`
	Message string    `json:"message,omitempty"`
	Event   string    `json:"event,omitempty"` // what befell a job of a shard: see experiment.Event
	Job     string    `json:"job,omitempty"`
	Step    int       `json:"step,omitempty"`
	Run     string    `json:"run,omitempty"`
	Passes  int       `json:"passes,omitempty"` // that are done
	Of      int       `json:"of,omitempty"`
	Left    float64   `json:"left,omitempty"` // seconds
}

// entry writes a line of a log of JSON.
func (m *messages) entry(l line) error {
	l.Time = time.Now()
	text, err := json.Marshal(l)
	if err == nil {
		_, err = m.to.Write(append(text, '\n'))
	}
	return err
}

func (m *messages) Write(p []byte) (int, error) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if m.drawn {
		fmt.Fprintln(m.to)
		m.drawn = false
	}
	if text := strings.TrimRight(string(p), "\n"); m.json {
		if text == "" {
			return len(p), nil
		}
		if err := m.entry(line{Message: text}); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	if _, err := m.to.Write(printable(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// barLine is where a bar is drawn among the messages.
type barLine struct{ *messages }

func (b barLine) Write(p []byte) (int, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.drawn = true
	return b.to.Write(p)
}

// When a log gets lines of progress.
const (
	firstLine = 2 * time.Second // after the start
	lineEvery = 10 * time.Second
)

// progress shows what is done, in network passes or whatever takes alike long, and
// when the rest will be: as a bar on a terminal, as lines now and then elsewhere.
type progress struct {
	lock        sync.Mutex
	to          io.Writer
	bar         *progressbar.ProgressBar // nil where there is no terminal
	columns     func() int               // of the terminal
	label       string
	all, done   int
	start, next time.Time // of the next line
}

// newProgress returns the progress of a number of passes on a command's standard error.
func newProgress(to io.Writer, passes int) *progress {
	p := &progress{to: to, all: passes, start: time.Now()}
	p.next = p.start.Add(firstLine)
	m, ok := to.(*messages)
	if !ok {
		return p
	}
	if m.quiet {
		p.to = io.Discard
	}
	if m.quiet || m.json {
		return p
	}
	if file, ok := m.to.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.columns = func() int {
			width, _, err := term.GetSize(int(file.Fd()))
			if err != nil || width < 1 {
				return 80
			}
			return width
		}
		p.bar = progressbar.NewOptions(passes,
			progressbar.OptionSetWriter(barLine{m}), progressbar.OptionSetPredictTime(true), progressbar.OptionShowElapsedTimeOnFinish(),
			progressbar.OptionSetWidth(24), progressbar.OptionThrottle(200*time.Millisecond))
	}
	return p
}

// run reports on one run; its passes count from zero. Several may be under way.
func (p *progress) run(label string) func(passes int) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.label = label
	if p.bar != nil {
		p.bar.Describe(shortened(label, p.columns()))
	}
	before := 0
	return func(passes int) {
		p.lock.Lock()
		defer p.lock.Unlock()
		p.done += passes - before
		before = passes
		p.show(min(p.done, p.all))
	}
}

// barColumns are what a bar takes beside its label: percents, the bar and two times of hours.
const barColumns = 4 + 1 + 26 + 1 + len("[100h00m00s:100h00m00s]") + 2

// shortened cuts a label at its front so that it and its bar fit into one line of a terminal: what is
// longer would be drawn anew on a line of its own each time.
func shortened(label string, columns int) string {
	r := []rune(label)
	if most := max(columns-barColumns, 8); len(r) > most {
		return "…" + string(r[len(r)-most+1:])
	}
	return label
}

func (p *progress) show(done int) {
	if p.bar != nil {
		_ = p.bar.Set(done) // a bar that can't be drawn is no reason to stop
		return
	}
	now := time.Now()
	if now.Before(p.next) || done < 1 {
		return
	}
	p.next = now.Add(lineEvery)
	took := now.Sub(p.start)
	left := time.Duration(float64(took) / float64(done) * float64(p.all-done))
	if m, ok := p.to.(*messages); ok && m.json {
		m.lock.Lock()
		defer m.lock.Unlock()
		_ = m.entry(line{Run: p.label, Passes: done, Of: p.all, Left: left.Seconds()}) // as a bar that can't be drawn
		return
	}
	fmt.Fprintf(p.to, "%s: %d %%, %v, %v left\n", p.label, 100*done/p.all, took.Round(time.Second), left.Round(time.Second))
}

// clear takes the bar off its line, for results to be printed there.
func (p *progress) clear() {
	if p.bar != nil {
		p.lock.Lock()
		defer p.lock.Unlock()
		_ = p.bar.Clear()
		p.to.(*messages).drawn = false
	}
}

// finish completes the bar.
func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
		_, _ = p.to.Write(nil) // ends its line
	}
}
