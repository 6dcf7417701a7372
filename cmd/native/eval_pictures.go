package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
		t.load = func(i int) (picture.Image, error) { return picture.Open(folders[0][names[i]]) }
	}
	if limit > len(t.names) {
		return nil, fmt.Errorf("--limit %d: there are %d pictures", limit, len(t.names))
	}
	if limit > 0 {
		t.names = t.names[:limit]
	}
	return t, nil
}

// fit reads all pictures once, so that a bad one is found before any work.
func (t *trueImages) fit(ctx context.Context, side int) error {
	t.side = side
	sum := sha256.New()
	for i, name := range t.names {
		p, err := interruptible(ctx, func() (picture.Image, error) { return t.open(i) })
		if err != nil {
			return err
		}
		drawn, err := p.RGBA()
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s\x00", name) // writing to a hash never fails
		sum.Write(drawn.Pix)
	}
	t.hash = hex.EncodeToString(sum.Sum(nil))
	return nil
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
