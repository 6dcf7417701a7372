package experiment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A claim says that a process works on a job. It is a file JOB.claim.G of one line,
//
//	TOKEN BEAT held|free LEASE OWNER
//
// that is made by creation, which one process alone can do, and that its process rewrites with
// another BEAT four times in a lease. G counts who had the job, from 1; the highest G has it. A
// job is free for the taking, by the creation of the next G, when the line says so, because its
// process was stopped, or when the line stayed the same for a lease, because its process or its
// node is dead. Who waits times that with its own clock from when it first saw the line, so that
// the machines' clocks need not agree. A claim is removed only when its job's result is there.
//
// Claims save work and decide nothing else: where two processes do the same job all the same,
// as after a pause of more than a lease, both get the same bytes and one is kept.
type claim struct {
	path       string // of this generation
	next       string // of the one that takes it over
	result     string // the job's
	generation int
	token      uint64
	beat       int
}

// observation is a claim's line and when it was first seen.
type observation struct {
	line string
	at   time.Time
}

// errLost ends the work on a job that another process has taken over or finished.
var errLost = errors.New("another process has this job")

// claimPath is the file of a generation.
func (f *ShardFolder) claimPath(j Job, generation int) string {
	return f.file(j, fmt.Sprintf(".claim.%d", generation))
}

// claim takes a job, or returns nil where a living process has it or it is finished. The job's
// folder must exist.
func (f *ShardFolder) claim(j Job) (*claim, error) {
	generation := 1
	for ; ; generation++ {
		path := f.claimPath(j, generation)
		line, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
		if _, err := os.Lstat(f.claimPath(j, generation+1)); err == nil {
			continue
		}
		if !f.stale(path, string(line)) {
			return nil, nil
		}
	}
	c := &claim{path: f.claimPath(j, generation), next: f.claimPath(j, generation+1), result: f.file(j, ".json"), generation: generation, token: rand.Uint64()}
	file, err := os.OpenFile(c.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = file.WriteString(f.line(c, held))
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	done, err := f.finished(j) // by one that removed its claim since we looked
	if err != nil || done {
		return nil, errors.Join(err, os.Remove(c.path))
	}
	return c, nil
}

// What a claim says of itself, in as many letters.
const (
	held = "held"
	free = "free"
)

func (f *ShardFolder) line(c *claim, state string) string {
	return fmt.Sprintf("%016x %08d %s %.1fs %s\n", c.token, c.beat, state, f.lease.Seconds(), f.owner)
}

// stale says whether a claim's process has given it up, or is dead as far as we have seen.
func (f *ShardFolder) stale(path, line string) bool {
	f.lock.Lock()
	defer f.lock.Unlock()
	if fields := strings.Fields(line); len(fields) > 2 && fields[2] == free {
		delete(f.seen, path)
		return true
	}
	was, ok := f.seen[path]
	if !ok || was.line != line {
		f.seen[path] = observation{line, time.Now()}
		return false
	}
	if time.Since(was.at) < f.lease {
		return false
	}
	delete(f.seen, path)
	return true
}

// renew tells others that we are alive, and finds out that we seemed not to be.
func (f *ShardFolder) renew(c *claim) error {
	for _, sign := range []string{c.next, c.result} {
		if _, err := os.Lstat(sign); err == nil {
			return errLost
		}
	}
	c.beat++
	return f.rewrite(c, held)
}

func (f *ShardFolder) rewrite(c *claim, state string) error {
	file, err := os.OpenFile(c.path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return errLost
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString(f.line(c, state)) // as long as the line that is there
	return errors.Join(err, file.Close())
}

// release lets another process go on with a job at once.
func (f *ShardFolder) release(c *claim) error {
	err := f.rewrite(c, free)
	if errors.Is(err, errLost) {
		return nil
	}
	return err
}

// done removes the claims and the state of a job whose result is there.
func (f *ShardFolder) done(j Job, c *claim) error {
	paths := []string{f.file(j, ".state")}
	for g := 1; g <= c.generation; g++ {
		paths = append(paths, f.claimPath(j, g))
	}
	for _, path := range paths {
		if err := remove(path); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what killed processes left in the folders of every N-th picture, those of part I
// of N: claims and states of finished jobs, and files that were being written ten leases ago and
// longer, by the file system's clock. What the parts that end later leave, the next ones to end
// in these folders remove, such as eval --shard 1/1.
func (f *ShardFolder) sweep(p Part) error {
	now, perPicture := fileTime(f.dir), f.run.Grid.Len()/len(f.run.Grid.Names)
	for image := p.I - 1; image < len(f.run.Grid.Names); image += p.N {
		dir := imageDir(f.dir, image)
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		names, left := map[string]bool{}, false
		for _, e := range entries {
			names[e.Name()] = true
			left = left || strings.HasSuffix(e.Name(), ".state") || strings.Contains(e.Name(), ".claim.")
			if strings.HasPrefix(e.Name(), ".") && strings.HasSuffix(e.Name(), ".tmp") {
				if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > 10*f.lease {
					if err := remove(filepath.Join(dir, e.Name())); err != nil {
						return err
					}
				}
			}
		}
		for k := range perPicture {
			j := f.run.Grid.Job(image*perPicture + k)
			if !left || !names[j.stem()+".json"] {
				continue
			}
			for name := range names {
				if name == j.stem()+".state" || strings.HasPrefix(name, j.stem()+".claim.") {
					if err := remove(filepath.Join(dir, name)); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// remove removes a file that another process may remove, too.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// keep renews claims until stop is called. Where one is lost, or can't be renewed, it ends the
// work on all of them with that as the cause.
func (f *ShardFolder) keep(ctx context.Context, claims []*claim) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(f.lease / 4)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for _, c := range claims {
				if err := f.renew(c); err != nil {
					cancel(err)
					return
				}
			}
		}
	}()
	return ctx, func() { cancel(nil); <-ended }
}
