package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/certainty"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// sampled is a picture in a folder of restore --samples whose truth is known.
type sampled struct {
	name     string
	made     manifest
	truth    picture.Image
	samples  []picture.Image
	estimate certainty.Estimate
}

// sampledIn lists the pictures of a folder that have samples, by their manifests.
func sampledIn(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || e.IsDir() {
			continue
		}
		if m, err := readManifest(filepath.Join(dir, e.Name())); err == nil && m.Certainty != nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s holds no samples of pictures with their manifests: restore --samples 2 or more writes such a folder", dir)
	}
	return names, nil
}

// openSampled opens a picture's truth and samples: exact ones, which --npy wrote, or the pictures.
func openSampled(ctx context.Context, dir, name string) (s *sampled, err error) {
	s = &sampled{name: name}
	manifestPath := filepath.Join(dir, name+".json")
	if s.made, err = readManifest(manifestPath); err != nil {
		return nil, err
	}
	if s.made.Certainty == nil {
		return nil, fmt.Errorf("%s is of one sample: restore --samples 2 or more is wanted", manifestPath)
	}
	if differing := s.made.differing(dir); len(differing) > 0 {
		return nil, fmt.Errorf("%s: %s not the file that was written: restore it again with --force", manifestPath, strings.Join(differing, ", "))
	}
	ext := pictureFormats[s.made.Options["format"]].ext
	open := func(name string) (p picture.Image, err error) {
		if s.made.Results[name+".npy"] != "" {
			return picture.OpenArray(filepath.Join(dir, name+".npy"), -1, 1)
		}
		if s.made.Results[name+ext] == "" {
			return p, errors.New("there is no " + name + ext)
		}
		return picture.Open(filepath.Join(dir, name+ext))
	}
	return interruptible(ctx, func() (*sampled, error) {
		var pix [][]float32
		if s.truth, err = open(name + ".truth"); err != nil {
			return nil, fmt.Errorf("%s: the truth is not known: %w; restore writes it where it degrades the picture itself", manifestPath, err)
		}
		for k := range s.made.Certainty.Samples {
			p, err := open(sampleName(name, k))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", manifestPath, err)
			}
			s.samples, pix = append(s.samples, p), append(pix, p.Pix)
		}
		s.estimate, err = certainty.Of(pix)
		return s, err
	})
}

// pixels returns the samples' values.
func (s *sampled) pixels() (all [][]float32) {
	for _, p := range s.samples {
		all = append(all, p.Pix)
	}
	return all
}

// scores returns the scores of the truth in the intervals of a probability, and their half-widths.
func (s *sampled) scores(level float64) (scores, half []float64, err error) {
	if half, err = s.estimate.HalfWidth(level); err == nil {
		scores, err = s.estimate.Scores(s.truth.Pix, half)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", s.name, err)
	}
	return scores, half, err
}
