package experiment

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// Settings are what a folder's results depend on, by name: a run is continued only
// with the same ones.
type Settings map[string]string

// differs names the first setting that is not the same.
func (s Settings) differs(there Settings) (name string, differs bool) {
	names := maps.Clone(s)
	maps.Copy(names, there)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if s[name] != there[name] { // "" is the same as not being there
			return name, true
		}
	}
	return "", false
}

// Folder holds the results of one grid:
//
//	settings.json   what they depend on
//	results.jsonl   a [Result] a line, in the order of the grid's jobs
//	timings.jsonl   the seconds that each took
//	images/         truth/NAME.png, TASK/measurement/NAME.png, TASK/METHOD[+cmi]/NAME.png
//
// and, when [Report] has written them, the tables and the report.
type Folder struct {
	dir              string
	grid             Grid
	done             int
	results, timings *os.File // nil where the folder was opened for reading
	unlock           func()

	intact  map[Job]*Result // finished jobs that stand after a damaged one
	damaged []string
	whole   int    // jobs up to the last one of results.jsonl when it was opened
	repair  string // where they are written anew if some are damaged; it then replaces results.jsonl

	redraw       []Job    // whose truth or measurement is not as it was written
	damagedInput []string // why
}

// Damaged says what Open found changed since it was written: a picture that is gone, cut short
// or another one, a line that is no result or whose numbers are not those that were written.
// [Runner.Run] computes these jobs again. Where a line could not be read, results.jsonl.damaged
// has the file as it was.
func (f *Folder) Damaged() []string { return f.damaged }

// DamagedInputs says which pictures of truths and measurements Open found changed since they
// were written. [Runner.Run] writes them again.
func (f *Folder) DamagedInputs() []string { return f.damagedInput }

// Open makes the folder, or continues one with the same settings: what a killed
// run left half-written is removed. Only one process at a time has it open.
func Open(dir string, s Settings, g Grid) (_ *Folder, err error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	f := &Folder{dir: dir, grid: g}
	if f.unlock, err = Lock(filepath.Join(dir, ".lock")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := f.checkSettings(s); err != nil {
		return nil, err
	}
	if err := f.sweep(); err != nil {
		return nil, err
	}
	length, err := f.check()
	if err != nil {
		return nil, err
	}
	if f.results, err = appendAt(f.resultsPath(), length); err != nil {
		return nil, err
	}
	if f.repair != "" && f.done == f.whole { // no result stands after the damaged lines
		if err := f.endRepair(); err != nil {
			return nil, err
		}
	}
	whole, err := wholeLines(f.path("timings.jsonl"))
	if err != nil {
		return nil, err
	}
	f.timings, err = appendAt(f.path("timings.jsonl"), whole)
	return f, err
}

// OpenFinished reads a folder, while another process may be filling it. What [Open] has made again
// is an error here: a picture, a truth, a measurement or a line that is not as it was written.
func OpenFinished(dir string, s Settings, g Grid) (*Folder, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	f := &Folder{dir: dir, grid: g, unlock: func() {}}
	if _, err := os.Stat(f.path("settings.json")); err != nil {
		return nil, fmt.Errorf("%s holds no results: %w", dir, err)
	}
	if err := f.checkSettings(s); err != nil {
		return nil, err
	}
	damaged := func(_ Job, err error) error {
		return fmt.Errorf("%w: a run that goes on in this folder makes it again", err)
	}
	inputs := inputs{}
	if err := f.read(func(r *Result, _ int64) error {
		j := f.grid.Job(f.done)
		inputs.add(j, r)
		f.done++
		if err := f.verify(r); err != nil {
			return damaged(j, err)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return f, f.damagedOf(inputs, damaged)
}

// check finds which results are as they were written and starts a repair if some are not. It
// returns the length of the lines before the first that is not.
func (f *Folder) check() (length int64, err error) {
	f.intact = map[Job]*Result{}
	inputs := inputs{}
	unreadable := false
	err = f.lines(func(k int, r *Result, end int64) error {
		f.whole = k + 1
		err := f.verify(r)
		switch {
		case err != nil:
			f.damaged = append(f.damaged, err.Error())
			return nil
		case len(f.damaged) == 0:
			f.done, length = f.done+1, end
		default:
			f.intact[f.grid.Job(k)] = r
		}
		inputs.add(f.grid.Job(k), r)
		return nil
	}, func(err error) error {
		unreadable = true
		f.damaged = append(f.damaged, err.Error())
		return nil
	})
	if err != nil {
		return 0, err
	}
	if err := f.damagedOf(inputs, func(j Job, err error) error {
		f.damagedInput = append(f.damagedInput, err.Error())
		f.redraw = append(f.redraw, j)
		return nil
	}); err != nil {
		return 0, err
	}
	if len(f.damaged) == 0 {
		return length, nil
	}
	return length, f.startRepair(length, unreadable)
}

// inputs are truths and measurements by path, as the last of its results has each: when another
// device continues a run, it measures again, and may round differently.
type inputs map[string]input

type input struct {
	job Job
	sum string // SHA-256 of the picture's file
}

func (in inputs) add(j Job, r *Result) {
	for path, sum := range map[string]string{truthPath(r.Image): r.Truth, measurementPath(r.Task, r.Image): r.Measurement} {
		if sum != "" { // results of earlier versions have none
			in[path] = input{j, sum}
		}
	}
}

// damagedOf calls yield for the inputs that are not as they were written, in the order of their paths.
func (f *Folder) damagedOf(in inputs, yield func(Job, error) error) error {
	for _, path := range slices.Sorted(maps.Keys(in)) {
		if err := f.asWritten(path, in[path].sum); err != nil {
			if err := yield(in[path].job, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// Done returns the number of finished jobs; they are the grid's first.
func (f *Folder) Done() int { return f.done }

// Close lets another process continue.
func (f *Folder) Close() error {
	var err error
	for _, file := range []*os.File{f.results, f.timings} {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
	}
	if f.repair != "" {
		os.Remove(f.repair) // results.jsonl has all of it that counts; Open sweeps what stays
	}
	f.unlock()
	return err
}

func (f *Folder) path(name string) string { return filepath.Join(f.dir, name) }

// checkSettings compares the settings with the folder's, or makes them the folder's.
func (f *Folder) checkSettings(s Settings) error {
	data, err := os.ReadFile(f.path("settings.json"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(f.path("results.jsonl")); err == nil {
			return fmt.Errorf("%s holds results without settings.json: choose another folder", f.dir)
		}
		data, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			return err
		}
		return replace(f.path("settings.json"), append(data, '\n'))
	}
	if err != nil {
		return err
	}
	var there Settings
	if err := json.Unmarshal(data, &there); err != nil {
		return fmt.Errorf("%s: %w", f.path("settings.json"), err)
	}
	if name, differs := s.differs(there); differs {
		return fmt.Errorf("%s holds results of other settings: %s is %s there and %s here; take the same or another folder",
			f.dir, shown(name), shown(there[name]), shown(s[name]))
	}
	return nil
}

// shown returns what stands in a file as a part of a line.
func shown(value string) string {
	if value == "" {
		return "not set"
	}
	if len(value) > 60 {
		value = value[:60] + "…"
	}
	quoted := strconv.Quote(value) // shows control characters by their codes
	return quoted[1 : len(quoted)-1]
}

// sweep removes what a killed run was writing.
func (f *Folder) sweep() error {
	for _, name := range written {
		err := filepath.WalkDir(f.path(name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasPrefix(d.Name(), ".") && strings.HasSuffix(d.Name(), ".tmp") {
				err = os.Remove(path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		left, err := filepath.Glob(f.path("." + name + ".????????.tmp"))
		if err != nil {
			return err
		}
		for _, path := range left {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// written are the files and folders that are replaced as wholes.
var written = []string{"settings.json", "results.jsonl", "results.jsonl.damaged", "table.md", "table.csv", "report.html", "report", "images"}

// read calls yield for each result and the offset of its line's end. A last line that is not
// whole is left out: a killed run wrote it.
func (f *Folder) read(yield func(r *Result, end int64) error) error {
	return f.lines(func(_ int, r *Result, end int64) error { return yield(r, end) }, func(err error) error { return err })
}

// lines is read with the number of each result's job. It calls unreadable with the error of a line
// that is no result; the lines after it may be of any later job.
func (f *Folder) lines(yield func(k int, r *Result, end int64) error, unreadable func(error) error) error {
	file, err := os.Open(f.path("results.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, 1<<16)
	end, next, gap := int64(0), 0, false
	for number := 1; ; number++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		end += int64(len(line))
		var r Result
		err = json.Unmarshal(line, &r)
		if err == nil && r.Task == "" {
			err = errors.New("no result")
		}
		if err != nil {
			if _, err := in.Peek(1); err == io.EOF { // a power cut may leave anything in the last line
				return nil
			}
			if err := unreadable(fmt.Errorf("%s, line %d: %w", file.Name(), number, err)); err != nil {
				return err
			}
			gap = true
			continue
		}
		for k := next; gap && k < f.grid.Len(); k++ {
			if r.is(f.grid.Job(k)) {
				next, gap = k, false
			}
		}
		switch {
		case next >= f.grid.Len():
			return fmt.Errorf("%s has more than the %d lines of this experiment", file.Name(), f.grid.Len())
		case !r.is(f.grid.Job(next)):
			return fmt.Errorf("%s, line %d is of %v, %v is wanted there: start again in another folder", file.Name(), number, shown(r.job().String()), f.grid.Job(next))
		}
		if err := yield(next, &r, end); err != nil {
			return err
		}
		next++
	}
}

// verify finds a result whose line or picture is not what was written.
func (f *Folder) verify(r *Result) error {
	if err := r.verify(); err != nil {
		return err
	}
	return f.asWritten(r.job().picturePath(), r.Picture)
}

// asWritten finds a file of another hash than the one that it was written with.
func (f *Folder) asWritten(name, wanted string) error {
	sum, err := HashFile(f.path(name))
	if err == nil && sum != wanted {
		err = fmt.Errorf("%s is not the picture that was written", f.path(name))
	}
	return err
}

// HashFile returns the SHA-256 of a file, in hexadecimal digits.
func HashFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// pending returns the jobs to run, cut into what is sampled together.
func (f *Folder) pending(size int) (cut [][]Job) {
	for _, jobs := range f.grid.batches(f.done, size) {
		jobs = slices.DeleteFunc(jobs, func(j Job) bool { return f.intact[j] != nil })
		if len(jobs) > 0 {
			cut = append(cut, jobs)
		}
	}
	return cut
}

// there says that the folder is still the one that was opened: a file that was deleted takes
// what is written to it, and loses it.
func (f *Folder) there() error {
	opened, err := f.results.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Stat(f.resultsPath()); err != nil || !os.SameFile(opened, now) {
		return fmt.Errorf("%s was deleted or replaced while results were written to it", f.resultsPath())
	}
	return nil
}

// resultsPath is the file that results are appended to.
func (f *Folder) resultsPath() string {
	if f.repair != "" {
		return f.repair
	}
	return f.path("results.jsonl")
}

// startRepair copies the lines before the first damaged one. results.jsonl stays as it is until
// the copy has as many lines, so that a run that is stopped loses none that is intact. keep
// leaves the whole file as results.jsonl.damaged.
func (f *Folder) startRepair(length int64, keep bool) error {
	data, err := os.ReadFile(f.path("results.jsonl"))
	if err == nil && keep {
		err = replace(f.path("results.jsonl.damaged"), data)
	}
	if err != nil {
		return err
	}
	f.repair = f.path(fmt.Sprintf(".results.jsonl.%08x.tmp", rand.Uint32()))
	return os.WriteFile(f.repair, data[:length], 0o666)
}

// endRepair puts the repaired lines in the place of those that were damaged.
func (f *Folder) endRepair() error {
	length, err := f.results.Seek(0, io.SeekCurrent)
	if err = errors.Join(err, f.results.Close()); err != nil {
		return err
	}
	f.results = nil
	if err := os.Rename(f.repair, f.path("results.jsonl")); err != nil {
		return err
	}
	f.repair = ""
	f.results, err = appendAt(f.path("results.jsonl"), length)
	return err
}

// wholeLines returns the length of a file's lines that end.
func wholeLines(path string) (int64, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return int64(bytes.LastIndexByte(data, '\n') + 1), err
}

// appendAt opens a file for appending, cut to a length, and follows no link.
func appendAt(path string, length int64) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is there and no plain file: remove it", path)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, err
	}
	if err = f.Truncate(length); err == nil {
		_, err = f.Seek(length, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// add appends the next job's result, on the disk when it returns. Its picture must
// be in place.
func (f *Folder) add(r *Result) error {
	r.Check = r.check()
	if err := appendLine(f.results, r); err != nil {
		return err
	}
	f.done++
	if f.repair != "" && f.done >= f.whole {
		if err := f.endRepair(); err != nil {
			return err
		}
	}
	if r.seconds == 0 { // it stands there since it was computed
		return nil
	}
	return appendLine(f.timings, timing{r.Cell, r.Image, r.Sample, r.seconds})
}

func appendLine(f *os.File, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return err
	}
	return f.Sync()
}

// replace writes a file as a whole or leaves what was there.
func replace(path string, data []byte) error {
	temp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%08x.tmp", filepath.Base(path), rand.Uint32()))
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp) // the first error says more than this one's
	}
	return err
}

// unmeasured is what a pixel that was not measured is drawn as, on [−1, 1].
const unmeasured = 200/127.5 - 1

// layout says where the pictures of a job stand.
type layout interface {
	truth(Job) string
	measurement(Job) string
	restored(Job) string
}

func (f *Folder) truth(j Job) string       { return f.path(truthPath(j.Name)) }
func (f *Folder) measurement(j Job) string { return f.path(measurementPath(j.Task, j.Name)) }
func (f *Folder) restored(j Job) string    { return f.path(j.picturePath()) }

// savePicture writes a picture and returns what a reader of the file gets. Where known is
// 0, the pixel was not measured; nil is 1 everywhere.
func savePicture(path string, p picture.Image, known []float32) (picture.Image, error) {
	if known != nil {
		pix := make([]float32, len(p.Pix))
		for i, v := range p.Pix {
			if pix[i] = v; known[i%len(known)] == 0 {
				pix[i] = unmeasured
			}
		}
		p.Pix = pix
	}
	drawn, err := p.RGBA()
	if err != nil {
		return p, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return p, err
	}
	return picture.From(drawn), picture.SavePNG(path, drawn)
}
