package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"golang.org/x/sync/errgroup"

	"github.com/cmi-diffusion/cmi/sdk/experiment"
)

// atOnce is the number of objects that are moved at the same time.
const atOnce = 16

// shard is a folder whose files are kept in a bucket under the same names.
type shard struct {
	bucket *blob.Bucket
	dir    string

	lock  sync.Mutex
	there map[string]stamp // files as they are in the bucket
}

// stamp says whether a file has changed.
type stamp struct {
	size int64
	at   time.Time
	sum  [sha256.Size]byte
}

// fetch makes a folder for a part: what the part's results depend on, the finished ones, with their pictures where a second sample
// is compared with the first, and the states of the others. What the folder has already stays.
func fetch(ctx context.Context, bucket *blob.Bucket, dir string, part experiment.Part) (*shard, error) {
	s := &shard{bucket: bucket, dir: dir, there: map[string]stamp{}}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, wrong{err}
	}
	text, err := bucket.ReadAll(ctx, "run.json")
	if gcerrors.Code(err) == gcerrors.NotFound {
		return s, nil // ours is the first shard
	}
	if err != nil {
		return nil, err
	}
	var run experiment.Run
	if err := json.Unmarshal(text, &run); err != nil {
		return nil, wrong{fmt.Errorf("run.json of the bucket: %w", err)}
	}
	if err := run.Grid.Validate(); err != nil {
		return nil, wrong{fmt.Errorf("run.json of the bucket: %w", err)}
	}
	if err := s.get(ctx, "run.json"); err != nil {
		return nil, err
	}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(atOnce)
	for names := range run.Grid.Files(part) {
		all.Go(func() error {
			if run.Grid.Samples > 1 { // the picture first: a job with a result is finished
				if err := s.get(ctx, names.Picture); err != nil {
					return err
				}
			}
			if err := s.get(ctx, names.Result); err != nil || s.has(names.Result) {
				return err
			}
			return s.get(ctx, names.State)
		})
	}
	return s, all.Wait()
}

func (s *shard) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

func (s *shard) has(name string) bool {
	_, err := os.Lstat(s.path(name))
	return err == nil
}

// get fetches a file that the bucket may have, unless the folder has one.
func (s *shard) get(ctx context.Context, name string) error {
	if s.has(name) {
		return nil
	}
	data, err := s.bucket.ReadAll(ctx, name)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o777); err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(s.path(name)), fmt.Sprintf(".%s.%08x.tmp", path.Base(name), rand.Uint32()))
	if err = os.WriteFile(temp, data, 0o666); err == nil {
		err = os.Rename(temp, s.path(name))
	}
	if err != nil {
		os.Remove(temp) // the first error says more than this one's
		return err
	}
	info, err := os.Stat(s.path(name))
	if err == nil {
		s.note(name, stamp{info.Size(), info.ModTime(), sha256.Sum256(data)})
	}
	return err
}

func (s *shard) note(name string, now stamp) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.there[name] = now
}

// upload brings the bucket to what the folder is now. A result follows its pictures, so that the bucket has the pictures of every
// result that it has; the state of a finished job goes after its result has come. A result that the bucket has
// already, from a process that did the same part, must be the same.
func (s *shard) upload(ctx context.Context) error {
	names := map[string]bool{}
	for _, root := range []string{"run.json", "runs", "work"} {
		err := filepath.WalkDir(s.path(root), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !strings.HasPrefix(d.Name(), ".") && !strings.Contains(d.Name(), ".claim.") {
				name, _ := filepath.Rel(s.dir, path)
				names[filepath.ToSlash(name)] = true
			}
			if errors.Is(err, fs.ErrNotExist) { // a state that is no longer wanted
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	var steps [3][]string // run.json, then pictures and states, then results
	for name := range names {
		switch {
		case !strings.HasPrefix(name, "work/"):
			steps[0] = append(steps[0], name)
		case !strings.HasSuffix(name, ".json"):
			steps[1] = append(steps[1], name)
		case names[strings.TrimSuffix(name, ".json")+".png"]: // else it came while we looked, and goes next time
			steps[2] = append(steps[2], name)
		}
	}
	for _, step := range steps {
		slices.Sort(step)
		all, ctx := errgroup.WithContext(ctx)
		all.SetLimit(atOnce)
		for _, name := range step {
			all.Go(func() error {
				if err := s.put(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("%s: %w", name, err)
				}
				return nil
			})
		}
		if err := all.Wait(); err != nil {
			return err
		}
	}
	for name := range s.there {
		job, ok := strings.CutSuffix(name, ".state")
		if _, done := s.there[job+".json"]; ok && done {
			if err := s.bucket.Delete(ctx, name); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
				return fmt.Errorf("%s: %w", name, err)
			}
			delete(s.there, name)
		}
	}
	return nil
}

// put uploads a file, unless the bucket has these bytes from us.
func (s *shard) put(ctx context.Context, name string) error {
	info, err := os.Stat(s.path(name))
	if err != nil {
		return err
	}
	s.lock.Lock()
	was, ok := s.there[name]
	s.lock.Unlock()
	if ok && was.size == info.Size() && was.at.Equal(info.ModTime()) {
		return nil
	}
	data, err := os.ReadFile(s.path(name))
	if err != nil {
		return err
	}
	now := stamp{info.Size(), info.ModTime(), sha256.Sum256(data)}
	switch {
	case ok && was.sum == now.sum:
	case strings.HasSuffix(name, ".json"):
		err = s.create(ctx, name, data)
	default:
		err = s.bucket.WriteAll(ctx, name, data, nil)
	}
	if err == nil {
		s.note(name, now)
	}
	return err
}

// create uploads what must be the same whoever makes it.
func (s *shard) create(ctx context.Context, name string, data []byte) error {
	err := s.bucket.WriteAll(ctx, name, data, &blob.WriterOptions{IfNotExist: true})
	if err == nil || gcerrors.Code(err) != gcerrors.FailedPrecondition {
		return err
	}
	there, err := s.bucket.ReadAll(ctx, name)
	if err != nil {
		return err
	}
	if strings.HasPrefix(name, "work/") { // the second line says who made it
		there, _, _ = bytes.Cut(there, []byte{'\n'})
		data, _, _ = bytes.Cut(data, []byte{'\n'})
	}
	if !bytes.Equal(there, data) {
		return wrong{fmt.Errorf("the bucket has another one than %s: another experiment, or a device that does not give the same bytes; take another prefix", s.path(name))}
	}
	return nil
}

// pull fetches all finished results with their pictures, and returns the number of files. What the folder has already stays.
func pull(ctx context.Context, bucket *blob.Bucket, dir string) (n int, err error) {
	s := &shard{bucket: bucket, dir: dir, there: map[string]stamp{}}
	all, within := errgroup.WithContext(ctx)
	all.SetLimit(atOnce)
	list := bucket.List(nil)
	for {
		o, err := list.Next(within)
		if err == io.EOF {
			break
		}
		if err != nil {
			return n, errors.Join(all.Wait(), err)
		}
		if strings.HasSuffix(o.Key, ".state") || !fs.ValidPath(o.Key) {
			continue
		}
		n++
		all.Go(func() error { return s.get(within, o.Key) })
	}
	if err := all.Wait(); err != nil {
		return n, err
	}
	if !s.has("run.json") {
		return n, wrong{errors.New("the bucket holds no shards: there is no run.json, which a shard uploads first")}
	}
	return n, nil
}
