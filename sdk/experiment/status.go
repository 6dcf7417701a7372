package experiment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Status is how far shards are.
type Status struct {
	All, Done int
	Running   int            // jobs that a process gave a sign of life for within its lease
	Stale     int            // jobs whose process gave none: they wait to be taken over
	Stopped   int            // jobs that were given up with a state or before it, and wait for any process
	States    int            // of the jobs that are not done, those with a state to go on from
	Owners    map[string]int // jobs that run by host:process
	// Left estimates the rest: the mean time of each cell's finished jobs, over those that run
	// now; 0 where nothing is finished or nothing runs.
	Left    time.Duration
	Seconds float64 // of work that is left, summed over the jobs
	Timed   int     // finished jobs that Seconds is from
}

// timedOfCell is the number of finished jobs of a cell whose times are read.
const timedOfCell = 100

// ReadStatus looks at folders of one run. Whether a job still runs is judged by the file's time
// against that of a file that is written now, so that the machines' clocks need not agree; a folder
// that can't be written to is judged by this machine's clock.
func ReadStatus(ctx context.Context, dirs []string) (s Status, err error) {
	var run Run
	now := make([]time.Time, len(dirs))
	for i, dir := range dirs {
		there, err := readRun(dir)
		if err != nil {
			return s, err
		}
		if i > 0 && there.hash() != run.hash() {
			return s, errors.New(dirs[0] + " and " + dir + " are of different runs")
		}
		run, now[i] = there, fileTime(dir)
	}
	g := run.Grid
	s.All, s.Owners = g.Len(), map[string]int{}
	perPicture := g.Len() / len(g.Names)
	var seconds, timed = map[Cell]float64{}, map[Cell]int{}
	left := map[Cell]int{}
	for image := range g.Names {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		seen := make([]map[string]bool, len(dirs)) // names in the picture's folders
		for i, dir := range dirs {
			entries, err := os.ReadDir(imageDir(dir, image))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return s, err
			}
			seen[i] = make(map[string]bool, len(entries))
			for _, e := range entries {
				seen[i][e.Name()] = true
			}
		}
		for k := range perPicture {
			j := g.Job(image*perPicture + k)
			if s.job(j, dirs, now, seen, seconds, timed) {
				s.Done++
			} else {
				left[j.Cell]++
			}
		}
	}
	var allSeconds float64
	for cell, n := range timed {
		allSeconds += seconds[cell]
		s.Timed += n
	}
	for cell, n := range left {
		switch {
		case timed[cell] > 0:
			s.Seconds += float64(n) * seconds[cell] / float64(timed[cell])
		case s.Timed > 0:
			s.Seconds += float64(n) * allSeconds / float64(s.Timed)
		}
	}
	if s.Running > 0 {
		s.Left = time.Duration(s.Seconds / float64(s.Running) * float64(time.Second))
	}
	return s, nil
}

// job counts a job and says whether it is done.
func (s *Status) job(j Job, dirs []string, now []time.Time, seen []map[string]bool, seconds map[Cell]float64, timed map[Cell]int) (done bool) {
	for i, dir := range dirs {
		if !seen[i][j.stem()+".json"] {
			continue
		}
		if timed[j.Cell] < timedOfCell {
			text, err := os.ReadFile(filepath.Join(imageDir(dir, j.Image), j.stem()+".json"))
			_, second, _ := bytes.Cut(text, []byte{'\n'})
			var made making
			if err == nil && json.Unmarshal(second, &made) == nil { // merge says what is damaged
				seconds[j.Cell] += made.Seconds
				timed[j.Cell]++
			}
		}
		return true
	}
	state := false
	for i, dir := range dirs {
		state = state || seen[i][j.stem()+".state"]
		generation := 0
		for seen[i][j.stem()+".claim."+strconv.Itoa(generation+1)] {
			generation++
		}
		if generation == 0 {
			continue
		}
		path := filepath.Join(imageDir(dir, j.Image), j.stem()+".claim."+strconv.Itoa(generation))
		line, err := os.ReadFile(path)
		info, failed := os.Stat(path)
		if err != nil || failed != nil {
			continue // finished since
		}
		fields := strings.Fields(string(line)) // see claim
		lease := time.Minute
		if len(fields) == 5 {
			if d, err := time.ParseDuration(fields[3]); err == nil {
				lease = d
			}
		}
		switch {
		case len(fields) > 2 && fields[2] == free:
			s.Stopped++
		case now[i].Sub(info.ModTime()) > lease:
			s.Stale++
		default:
			s.Running++
			if len(fields) == 5 {
				s.Owners[fields[4]]++
			}
		}
	}
	if state {
		s.States++
	}
	return false
}

// fileTime returns the time of the folder's file system.
func fileTime(dir string) time.Time {
	f, err := os.CreateTemp(dir, ".time-*.tmp")
	if err != nil {
		return time.Now()
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		return info.ModTime()
	}
	return time.Now()
}
