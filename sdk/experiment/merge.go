package experiment

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Merged is what [Merge] made.
type Merged struct {
	*Folder
	Run     Run
	Damaged []string // files that are not as they were written and of which another folder has a whole copy
	Linked  bool     // pictures are further names of the shards' files, not copies
}

// GapError says that jobs have no result.
type GapError struct {
	Missing, All int
	First        []Job
	Damaged      []string // files of them that are there and not as they were written
}

func (e *GapError) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d of %d results are missing, the first: ", e.Missing, e.All)
	for i, j := range e.First {
		if i > 0 {
			text.WriteString(", ")
		}
		text.WriteString(j.String())
	}
	if len(e.Damaged) > 0 {
		fmt.Fprintf(&text, "; %d of them are damaged: remove %s", len(e.Damaged), e.Damaged[0])
	}
	text.WriteString("; eval --shard 1/1 with the same flags makes what is missing")
	return text.String()
}

// Merge makes the folder out of the results in dirs, which [Runner.RunShard] has filled: the one
// that [Runner.Run] would have made on one machine, to the byte, timings apart. It is there as a
// whole or not at all. Folders of different runs are refused by what they differ in, missing
// results by a [GapError], and results for one job that differ by their files. Where out is
// already the whole result of this run, it stays. onJob, if not nil, is called after every job.
//
// Memory does not grow with the results: it takes the names of the pictures and one result.
func Merge(ctx context.Context, dirs []string, out string, onJob func(done, all int)) (_ *Merged, err error) {
	if len(dirs) == 0 {
		return nil, errors.New("no folder to merge")
	}
	m := merger{onJob: onJob}
	for i, dir := range dirs {
		run, err := readRun(dir)
		if err != nil {
			return nil, err
		}
		m.dirs = append(m.dirs, &ShardFolder{dir: dir})
		if i == 0 {
			m.run, m.made = run, run.hash()
		} else if name, here, other := m.run.differs(run); name != "" {
			return nil, fmt.Errorf("%s and %s are of different runs: %s is %s and %s", dirs[0], dir, shown(name), shown(here), shown(other))
		}
	}
	if f, err := OpenFinished(out, m.run.Settings, m.run.Grid); err == nil && f.done == m.run.Grid.Len() {
		return &Merged{Folder: f, Run: m.run}, nil
	}
	if names, err := os.ReadDir(out); err == nil && len(names) > 0 {
		return nil, fmt.Errorf("%s is there already and is not the whole result of this run: name another folder", out)
	}
	parent, base := filepath.Split(filepath.Clean(out))
	m.out = filepath.Join(parent, "."+base+".merging") // in the same file system
	if err := os.MkdirAll(m.out, 0o777); err != nil {
		return nil, err
	}
	unlock, err := Lock(filepath.Join(m.out, ".lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	linked, err := m.all(ctx)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(m.out))
	}
	if err := os.Remove(out); err != nil && !errors.Is(err, fs.ErrNotExist) { // an empty one
		return nil, err
	}
	if err := os.Rename(m.out, out); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Clean(filepath.Join(parent, "."))); err != nil {
		return nil, err
	}
	return &Merged{&Folder{dir: out, grid: m.run.Grid, done: m.run.Grid.Len(), unlock: func() {}}, m.run, m.damaged, linked}, nil
}

type merger struct {
	dirs  []*ShardFolder // to read
	out   string
	run   Run
	made  string
	onJob func(done, all int)

	damaged []string
	copied  bool // a picture could not be linked
}

// found is a job's result in one of the folders.
type found struct {
	dir     *ShardFolder
	line    []byte // of results.jsonl
	result  Result
	seconds float64
}

// all makes the folder.
func (m *merger) all(ctx context.Context) (linked bool, err error) {
	for _, name := range []string{"images", "results.jsonl", "timings.jsonl", "runs.jsonl", "settings.json"} { // of a merge that was killed
		if err := os.RemoveAll(filepath.Join(m.out, name)); err != nil {
			return false, err
		}
	}
	settings, err := json.MarshalIndent(m.run.Settings, "", "  ")
	if err != nil {
		return false, err
	}
	if err := replace(filepath.Join(m.out, "settings.json"), append(settings, '\n')); err != nil {
		return false, err
	}
	if err := m.notes(); err != nil {
		return false, err
	}
	results, err := newLines(filepath.Join(m.out, "results.jsonl"))
	if err != nil {
		return false, err
	}
	defer results.file.Close() // once more where all went well: no harm
	timings, err := newLines(filepath.Join(m.out, "timings.jsonl"))
	if err != nil {
		return false, err
	}
	defer timings.file.Close()
	g := m.run.Grid
	gap := &GapError{All: g.Len()}
	var truth, measurement string // hashes of the picture's and its task's
	for k := range g.Len() {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		j := g.Job(k)
		one, damaged, err := m.find(j)
		if err != nil {
			return false, err
		}
		if one == nil {
			if gap.Missing++; gap.Missing <= 3 {
				gap.First = append(gap.First, j)
			}
			gap.Damaged = append(gap.Damaged, damaged...)
			continue
		}
		m.damaged = append(m.damaged, damaged...)
		if gap.Missing > 0 {
			continue // what is missing is counted to the end
		}
		before := Job{Image: -1}
		if k > 0 {
			before = g.Job(k - 1)
		}
		if j.Image != before.Image {
			truth = ""
		}
		if j.Image != before.Image || j.Task != before.Task {
			measurement = ""
		}
		if err := m.input(j, &truth, one.result.Truth, (*ShardFolder).truth, truthPath(j.Name)); err != nil {
			return false, err
		}
		if err := m.input(j, &measurement, one.result.Measurement, (*ShardFolder).measurement, measurementPath(j.Task, j.Name)); err != nil {
			return false, err
		}
		if err := m.place(one.dir.restored(j), j.picturePath()); err != nil {
			return false, err
		}
		if err := results.add(one.line); err != nil {
			return false, err
		}
		text, err := json.Marshal(timing{j.Cell, j.Name, j.Sample, one.seconds})
		if err == nil {
			err = timings.add(text)
		}
		if err != nil {
			return false, err
		}
		if m.onJob != nil {
			m.onJob(k+1, g.Len())
		}
	}
	if gap.Missing > 0 {
		return false, gap
	}
	return !m.copied, errors.Join(results.close(), timings.close())
}

// find returns a job's result; nil where no folder has one that is whole.
func (m *merger) find(j Job) (first *found, damaged []string, err error) {
	for _, f := range m.dirs {
		path := f.file(j, ".json")
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		one := &found{dir: f}
		line, second, _ := bytes.Cut(data, []byte{'\n'})
		var made making
		if json.Unmarshal(line, &one.result) != nil || json.Unmarshal(second, &made) != nil || one.result.verify() != nil || !one.result.is(j) {
			damaged = append(damaged, path)
			continue
		}
		if made.Made != m.made {
			return nil, nil, fmt.Errorf("%s was made by another run than that of %s: version, model, device or settings differ", path, filepath.Join(m.dirs[0].dir, "run.json"))
		}
		sum, err := HashFile(f.restored(j))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		if sum != one.result.Picture {
			damaged = append(damaged, path)
			continue
		}
		one.line, one.seconds = line, made.Seconds
		if first == nil {
			first = one
		} else if !bytes.Equal(first.line, line) {
			return nil, nil, fmt.Errorf("%s and %s are different results of %v: the devices do not give the same bytes", first.dir.file(j, ".json"), path, j)
		}
	}
	return first, damaged, nil
}

// input places a truth or a measurement, once for all jobs that have it.
func (m *merger) input(j Job, placed *string, wanted string, path func(*ShardFolder, Job) string, name string) error {
	if *placed == wanted {
		return nil
	}
	if *placed != "" {
		return fmt.Errorf("%v is of another %s than the job before it: the devices do not measure the same", j, filepath.Base(name))
	}
	for _, dir := range m.dirs {
		from := path(dir, j)
		sum, err := HashFile(from)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if sum != wanted {
			continue
		}
		*placed = wanted
		return m.place(from, name)
	}
	return fmt.Errorf("%s is damaged or gone: remove %s, and eval --shard 1/1 with the same flags makes both again", path(m.dirs[0], j), m.dirs[0].file(j, ".json"))
}

// place gives a picture its name in the folder: by a link where the file system has them, so that
// it takes no space twice, else as a copy. Programs that replace a picture, as all of ours do,
// leave the other name as it is.
func (m *merger) place(from, name string) error {
	to := filepath.Join(m.out, name)
	err := os.Link(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
			return err
		}
		err = os.Link(from, to)
	}
	if err == nil {
		return nil
	}
	m.copied = true
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return write(to, data)
}

// notes gathers what was said of the processes that took part.
func (m *merger) notes() error {
	var lines []string
	for _, dir := range m.dirs {
		paths, err := filepath.Glob(filepath.Join(dir.dir, "runs", "*.json"))
		if err != nil {
			return err
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			lines = append(lines, string(data))
		}
	}
	if lines == nil {
		return nil
	}
	slices.Sort(lines)
	return replace(filepath.Join(m.out, "runs.jsonl"), []byte(strings.Join(slices.Compact(lines), "")))
}

// lines is a file of lines that is made anew.
type lines struct {
	file *os.File
	to   *bufio.Writer
}

func newLines(path string) (*lines, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	return &lines{file, bufio.NewWriterSize(file, 1<<16)}, err
}

func (l *lines) add(line []byte) error {
	_, err := l.to.Write(line)
	return errors.Join(err, l.to.WriteByte('\n'))
}

func (l *lines) close() error {
	return errors.Join(l.to.Flush(), l.file.Sync(), l.file.Close())
}
