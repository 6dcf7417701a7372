package experiment

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Run is what every process of an experiment must have in common for their results to be those
// of one machine. It is the file run.json of a [ShardFolder].
type Run struct {
	Version    string      `json:"version"`    // of the program
	Model      string      `json:"model"`      // SHA-256 of the prior's file, or the name of a built-in one
	Device     string      `json:"device"`     // "cpu", "cuda", …
	Arithmetic string      `json:"arithmetic"` // see [compute.Info]
	Settings   Settings    `json:"settings"`
	Grid       Grid        `json:"grid"`
	Seed       uint64      `json:"seed"` // of the bootstraps, too
	Preset     string      `json:"preset"`
	Facts      [][2]string `json:"facts"` // for the report
}

// differs names the first thing in which two runs differ, with both values.
func (r Run) differs(there Run) (name, here, other string) {
	for _, c := range [][3]string{
		{"version", r.Version, there.Version}, {"model", r.Model, there.Model}, {"device", r.Device, there.Device},
		{"arithmetic of the device", r.Arithmetic, there.Arithmetic}, {"preset", r.Preset, there.Preset},
	} {
		if c[1] != c[2] {
			return c[0], c[1], c[2]
		}
	}
	if name, differs := r.Settings.differs(there.Settings); differs {
		return "setting " + name, r.Settings[name], there.Settings[name]
	}
	if a, b := r.hash(), there.hash(); a != b {
		return "grid", a, b
	}
	return "", "", ""
}

// hash returns 16 hexadecimal digits of the SHA-256 of a run. Every result carries it.
func (r Run) hash() string {
	text, err := json.Marshal(r)
	if err != nil { // strings, numbers and lists of them
		panic(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// ShardFolder is a folder on a file system that the processes of a cluster share. Any number of
// them fill it at once, and may be killed at any moment:
//
//	run.json                        what all results depend on, see [Run]
//	runs/HASH.json                  a manifest of each kind of process that took part
//	work/GROUP/IMAGE/truth.png      IMAGE is a picture's place in the grid, GROUP = IMAGE / 1000
//	work/GROUP/IMAGE/TASK.png       its measurement
//	work/GROUP/IMAGE/JOB.png        the restored picture; JOB = TASK.METHOD[+cmi].SAMPLE
//	work/GROUP/IMAGE/JOB.json       two lines: the [Result], and how it was made. A job with this file is finished
//	work/GROUP/IMAGE/JOB.claim.G    who works on it, see claim
//	work/GROUP/IMAGE/JOB.state      the sampler's state after some steps, see jobState
//
// Every file but claims is written under another name and then renamed or linked, so that it is
// there as a whole or not at all. [Merge] makes a [Folder] of one or more.
type ShardFolder struct {
	dir   string
	run   Run
	made  string // hash of run
	lease time.Duration
	owner string // host and process, for people

	lock    sync.Mutex
	seen    map[string]observation // claims of others by path
	judging sync.Mutex             // the perceptual distance serves one place at a time
}

// OpenShards makes a folder for shards, or joins one of the same run. A claim of another process
// that is not renewed for the lease is taken over.
func OpenShards(dir string, run Run, lease time.Duration) (*ShardFolder, error) {
	if err := run.Grid.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "settings.json")); err == nil {
		return nil, fmt.Errorf("%s holds the results of a run without --shard: choose another folder", dir)
	}
	text, err := json.MarshalIndent(run, "", "  ")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "run.json")
	if err := create(path, append(text, '\n')); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	there, err := readRun(dir)
	if err != nil {
		return nil, err
	}
	if name, here, other := run.differs(there); name != "" {
		return nil, fmt.Errorf("%s holds results of another run: %s is %s there and %s here; take the same or another folder", dir, shown(name), shown(other), shown(here))
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &ShardFolder{dir: dir, run: run, made: run.hash(), lease: lease, owner: fmt.Sprintf("%s:%d", host, os.Getpid()), seen: map[string]observation{}}, nil
}

// readRun reads what a folder's results depend on.
func readRun(dir string) (run Run, err error) {
	path := filepath.Join(dir, "run.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return run, fmt.Errorf("%s holds no shards: there is no run.json, which eval --shard writes", dir)
	}
	if err == nil {
		err = json.Unmarshal(text, &run)
	}
	if err == nil {
		err = run.Grid.Validate()
	}
	if err != nil {
		return run, fmt.Errorf("%s: %w", path, err)
	}
	return run, nil
}

// Note keeps a line that says how a process was started, once however many say the same.
func (f *ShardFolder) Note(line []byte) error {
	sum := sha256.Sum256(line)
	path := filepath.Join(f.dir, "runs", hex.EncodeToString(sum[:8])+".json")
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	if err := create(path, append(bytes.TrimRight(line, "\n"), '\n')); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// picturesInGroup is the number of pictures in a folder of folders: 10⁶ pictures are 1000 folders
// of 1000.
const picturesInGroup = 1000

// of returns a picture's folder in the folder dir of shards.
func imageDir(dir string, image int) string {
	return filepath.Join(dir, "work", fmt.Sprintf("%03d", image/picturesInGroup), fmt.Sprintf("%06d", image))
}

// stem is the beginning of the names of a job's files in its picture's folder.
func (j Job) stem() string { return fmt.Sprintf("%s.%s.%d", j.Task, j.Arm(), j.Sample) }

func (f *ShardFolder) truth(j Job) string {
	return filepath.Join(imageDir(f.dir, j.Image), "truth.png")
}
func (f *ShardFolder) measurement(j Job) string {
	return filepath.Join(imageDir(f.dir, j.Image), j.Task+".png")
}
func (f *ShardFolder) restored(j Job) string { return f.file(j, ".png") }
func (f *ShardFolder) file(j Job, ext string) string {
	return filepath.Join(imageDir(f.dir, j.Image), j.stem()+ext)
}

// finished says whether a job has its result.
func (f *ShardFolder) finished(j Job) (bool, error) {
	_, err := os.Lstat(f.file(j, ".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// making is the second line of a job's file: how its result was made.
type making struct {
	Made    string  `json:"made"` // hash of the run
	Seconds float64 `json:"seconds"`
	By      string  `json:"by"` // host and process
}

// put finishes a job whose picture is in place. A result that is there already, of a process
// that had lost its lease and did not know, must be the same.
func (f *ShardFolder) put(j Job, r *Result, seconds float64) error {
	r.Check = r.check()
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	more, err := json.Marshal(making{f.made, seconds, f.owner})
	if err != nil {
		return err
	}
	path := f.file(j, ".json")
	err = create(path, slices.Concat(line, []byte{'\n'}, more, []byte{'\n'}))
	if errors.Is(err, fs.ErrExist) {
		there, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if first, _, _ := bytes.Cut(there, []byte{'\n'}); !bytes.Equal(first, line) {
			return fmt.Errorf("%s holds another result than the one that was computed again: this device does not give the same bytes twice", path)
		}
		return nil
	}
	return err
}

// create writes a file as a whole, on the disk when it returns, unless there is one of that name:
// then the error is [fs.ErrExist] and the file stays as it is.
func create(path string, data []byte) error {
	if _, err := os.Lstat(path); err == nil {
		return fs.ErrExist
	}
	temp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%08x.tmp", filepath.Base(path), rand.Uint32()))
	if err := write(temp, data); err != nil {
		return err
	}
	err := os.Link(temp, path)
	if err != nil && !errors.Is(err, fs.ErrExist) { // a file system without links
		if err = os.Rename(temp, path); err == nil {
			return syncDir(filepath.Dir(path))
		}
	}
	if removed := os.Remove(temp); err == nil {
		err = removed
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// write writes a new file, on the disk when it returns, and leaves none where that fails.
func write(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(path) // the first error says more than this one's
	}
	return err
}

// Part is what a shard does of the grid: part I of N, 1 ≤ I ≤ N.
type Part struct{ I, N int }

// Validate says what is wrong with a part.
func (p Part) Validate() error {
	if p.N < 1 || p.I < 1 || p.I > p.N {
		return fmt.Errorf("part %d of %d: 1 to N of N parts are wanted, such as 1/1 or 3/8", p.I, p.N)
	}
	return nil
}

func (p Part) String() string { return fmt.Sprintf("%d/%d", p.I, p.N) }

// cells returns the number of a picture's cells.
func (g Grid) cells() int { return len(g.Tasks) * len(g.Methods) * len(g.CMI) }

// partLen returns the number of jobs of a part.
func (g Grid) partLen(p Part) int {
	all := len(g.Names) * g.cells()
	return (all - p.I + p.N) / p.N * g.Samples
}

// partJob returns the k-th job of a part. The cells of a picture are dealt out in turn, and begin
// with another one at each picture, by the fractions of multiples of the golden ratio. Those are
// spread evenly on every second, third, … picture, too, so that every part has cheap and dear
// cells alike, whatever N is. All samples of a cell for a picture are in one part, because the second is
// compared with the first.
func (g Grid) partJob(p Part, k int) Job {
	unit, cells := p.I-1+k/g.Samples*p.N, g.cells()
	image := unit / cells
	first := int(uint64(uint32(image)*2654435769) * uint64(cells) >> 32) // 2³² / golden ratio
	cell := (unit + first) % cells
	return g.Job((image*cells+cell)*g.Samples + k%g.Samples)
}

// JobFiles are the names of a job's files in a [ShardFolder], relative to it and with slashes. Truth and
// Measurement are those of other jobs, too.
type JobFiles struct{ Truth, Measurement, Picture, Result, State string }

// Files yields the files of a part's jobs.
func (g Grid) Files(p Part) iter.Seq[JobFiles] {
	return func(yield func(JobFiles) bool) {
		f := &ShardFolder{}
		for k := range g.partLen(p) {
			j := g.partJob(p, k)
			names := JobFiles{f.truth(j), f.measurement(j), f.restored(j), f.file(j, ".json"), f.file(j, ".state")}
			for _, name := range []*string{&names.Truth, &names.Measurement, &names.Picture, &names.Result, &names.State} {
				*name = filepath.ToSlash(*name)
			}
			if !yield(names) {
				return
			}
		}
	}
}

// Count is how many jobs are finished and how many are left.
type Count struct{ Done, Left int }

// Progress counts the jobs of a part by cell.
func (f *ShardFolder) Progress(p Part) (map[Cell]Count, error) {
	count := map[Cell]Count{}
	for k := range f.run.Grid.partLen(p) {
		j := f.run.Grid.partJob(p, k)
		done, err := f.finished(j)
		if err != nil {
			return nil, err
		}
		n := count[j.Cell]
		if done {
			n.Done++
		} else {
			n.Left++
		}
		count[j.Cell] = n
	}
	return count, nil
}
