package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cmi-diffusion/cmi/examples/faces"
	"github.com/cmi-diffusion/cmi/sdk/experiment"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// trueImages are the pictures of an experiment, read one at a time.
type trueImages struct {
	names []string
	load  func(i int) (picture.Image, error)
	paths []string // of their files; nil where they are built in
	side  int
	hash  string // of names and pixels
}

// evalPictures lists the pictures of a folder by name, or those that are built in.
func evalPictures(dir string, limit int) (*trueImages, error) {
	t := &trueImages{}
	if dir == "" {
		const count = 8
		all, err := faces.Load(count)
		if err != nil {
			return nil, err
		}
		for _, p := range all {
			t.names = append(t.names, strings.TrimSuffix(p.Name, ".png"))
		}
		t.load = func(i int) (picture.Image, error) { return all[i], nil }
	} else {
		folders, names, err := pairUp([]string{dir}, false)
		if err != nil {
			return nil, fmt.Errorf("--images: %w", err)
		}
		t.names = names
		for _, name := range names {
			t.paths = append(t.paths, folders[0][name])
		}
		t.load = func(i int) (picture.Image, error) { return picture.Open(t.paths[i]) }
	}
	if limit > len(t.names) {
		return nil, fmt.Errorf("--limit %d: there are %d pictures", limit, len(t.names))
	}
	if limit > 0 {
		t.names = t.names[:limit]
	}
	return t, nil
}

// picturesInHash is the number of pictures whose hash the shards of an experiment read from each other.
const picturesInHash = 1000

// fit reads all pictures once, so that a bad one is found before any work, and hashes them. Where shared, a folder, is
// not empty, the processes that share it do that together: each begins with another group of pictures, notes the
// group's hash there, and reads no picture of a group that is noted for files of these names, sizes and times of change.
// Where a file was changed behind that, merge finds that the true pictures of two results are not the same.
func (t *trueImages) fit(ctx context.Context, side int, shared string, part experiment.Part) error {
	t.side = side
	groups := (len(t.names) + picturesInHash - 1) / picturesInHash
	sums := make([]string, groups)
	for k := range groups {
		g := k
		if part.N > 0 {
			g = (k + (part.I-1)*groups/part.N) % groups
		}
		note := ""
		if shared != "" && t.paths != nil {
			key, err := t.groupKey(g)
			if err != nil {
				return err
			}
			note = filepath.Join(shared, fmt.Sprintf("%03d-%s", g, key))
			if text, err := os.ReadFile(note); err == nil && len(text) == 2*sha256.Size {
				sums[g] = string(text)
				continue
			}
		}
		var err error
		if sums[g], err = t.hashGroup(ctx, g); err != nil {
			return err
		}
		if note != "" {
			if err := writeNote(note, sums[g]); err != nil {
				return err
			}
		}
	}
	if t.hash = sums[0]; groups > 1 {
		sum := sha256.Sum256([]byte(strings.Join(sums, "")))
		t.hash = hex.EncodeToString(sum[:])
	}
	return nil
}

// group returns the pictures of a group: from first to before end.
func (t *trueImages) group(g int) (first, end int) {
	return g * picturesInHash, min((g+1)*picturesInHash, len(t.names))
}

// hashGroup reads the pictures of a group.
func (t *trueImages) hashGroup(ctx context.Context, g int) (string, error) {
	sum := sha256.New()
	first, end := t.group(g)
	for i := first; i < end; i++ {
		p, err := interruptible(ctx, func() (picture.Image, error) { return t.open(i) })
		if err != nil {
			return "", err
		}
		drawn, err := p.RGBA()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s\x00", t.names[i]) // writing to a hash never fails
		sum.Write(drawn.Pix)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// groupKey says by names, sizes and times of change which files a group has, and how they are scaled.
func (t *trueImages) groupKey(g int) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%d\x00", t.side)
	first, end := t.group(g)
	for i := first; i < end; i++ {
		info, err := os.Stat(t.paths[i])
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s\x00%d\x00%d\x00", filepath.Base(t.paths[i]), info.Size(), info.ModTime().UnixNano())
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// writeNote writes a small file as a whole, as other processes may, too.
func writeNote(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".note-*.tmp")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name()) // the first error says more than this one's
	}
	return err
}

// open returns a picture cut and scaled to the prior's size.
func (t *trueImages) open(i int) (picture.Image, error) {
	p, err := t.load(i)
	if err != nil {
		return p, err
	}
	return picture.Fit(p, t.side, t.side, picture.Crop)
}

// settings returns all flags that results depend on; files by content.
func (f *evalFlags) settings(c *cobra.Command, pictures *trueImages) (experiment.Settings, error) {
	s := experiment.Settings{"pictures": fmt.Sprintf("%d, sha256 %s", len(pictures.names), pictures.hash)}
	c.Flags().VisitAll(func(flag *pflag.Flag) { s["--"+flag.Name] = flag.Value.String() })
	for _, name := range []string{"images", "limit", "out", "estimate", "report-only", "inception", "statistics", "gpus", "batch", "fallback", "help", "quiet", "log", "shard", "lease", "checkpoint", "metrics", "status", "nodes"} {
		delete(s, "--"+name) // the pictures stand above; the rest doesn't change a result
	}
	s["--cmi"], s["choices"] = strings.Join(f.cmi, ","), strings.Join(f.choices(), "; ")
	s["--tasks"], s["--methods"] = strings.Join(f.tasks, ","), strings.Join(f.methods, ",")
	for _, file := range []struct{ flag, path string }{{"--prior", f.prior}, {"--prior-config", f.config}, {"--lpips", f.metrics.lpips}} {
		if file.path == "" || file.flag == "--prior" && builtIn[file.path] != nil {
			continue
		}
		hash := experiment.HashFile
		if file.flag == "--prior" {
			hash = hashPrior
		}
		sum, err := hash(file.path)
		if err != nil {
			return nil, err
		}
		s[file.flag] = "sha256 " + sum
	}
	return s, nil
}
