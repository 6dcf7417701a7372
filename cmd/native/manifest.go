package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/experiment"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// manifest says how a result was made, for people and for rerun. It is written last, as
// NAME.json, so that a result with one is whole.
type manifest struct {
	Command string            `json:"command"` // restore, sample, demo or eval
	Version string            `json:"version"`
	Device  string            `json:"device"`            // with its driver, as info --devices shows it
	Prior   string            `json:"prior"`             // SHA-256 of its file, or the name of one that is built in
	Input   string            `json:"input,omitempty"`   // the picture's file
	InputIs string            `json:"sha256,omitempty"`  // of the input
	Number  int               `json:"number,omitempty"`  // of the picture, from 1: --first-image
	Given   map[string]string `json:"given"`             // flags that were given
	Options map[string]string `json:"options"`           // all flags, with the defaults
	Files   map[string]string `json:"files,omitempty"`   // SHA-256 of the mask, kernel, … by flag
	Results map[string]string `json:"results,omitempty"` // SHA-256 of the files
	PSNR    *float64          `json:"psnr,omitempty"`    // dB, against the picture that was degraded
	SSIM    *float64          `json:"ssim,omitempty"`

	Certainty *certaintyOf `json:"certainty,omitempty"` // of --samples
	Particles *particlesOf `json:"particles,omitempty"` // of --particles, of the first sample
}

// outputFlags are those of commands that write results into a folder.
type outputFlags struct {
	out         string
	force, skip bool
	json        bool
}

func (o *outputFlags) add(c *cobra.Command, what string) {
	c.Flags().StringVar(&o.out, "out", "out", "`DIR` for "+what)
	c.Flags().BoolVar(&o.force, "force", false, "replace results that are in --out already")
	c.Flags().BoolVar(&o.skip, "skip-existing", false, "leave out what --out has already from a run of the same options, as after a stop")
	c.Flags().BoolVar(&o.json, "json", false, "print each result's manifest, NAME.json, as a line of JSON")
}

// placeFlags are flags that say where results go or how they are told, not what they are.
var placeFlags = []string{"out", "force", "skip-existing", "json", "quiet", "log", "help", "version", "batch", "gpus", "fallback", "first-image", "count", "shard", "lease", "checkpoint", "metrics", "status", "nodes"}

// fileFlags are flags whose values are files.
var fileFlags = []string{"mask", "kernel", "operator", "prior", "prior-config", "calibration", "lpips", "inception", "statistics"}

// newManifest returns what is the same for all results of a command.
func newManifest(c *cobra.Command, model *modelFlags, device compute.Info) (m manifest, err error) {
	m = manifest{Command: c.Name(), Version: version(), Device: device.Name + ": " + device.Description, Prior: model.prior, Given: map[string]string{}, Options: map[string]string{}}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if slices.Contains(placeFlags, f.Name) {
			return
		}
		value := f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		if slices.Contains(fileFlags, f.Name) {
			if _, e := os.Stat(value); e == nil {
				value, err = filepath.Abs(value)
			}
		}
		m.Options[f.Name] = value
		if f.Changed {
			m.Given[f.Name] = value
		}
	})
	if _, e := os.Stat(model.prior); err == nil && e == nil {
		m.Prior, err = hashPrior(model.prior)
	}
	for _, flag := range fileFlags {
		if path := m.Given[flag]; err == nil && exists(path) && flag != "prior" && flag != "mask" { // the mask may be a folder, with one for each picture
			err = m.hash(c.Context(), flag, path)
		}
	}
	return m, err
}

// hash enters the hash of the file of a flag.
func (m *manifest) hash(ctx context.Context, flag, path string) error {
	sum, err := hashPlain(ctx, path)
	if err == nil && sum != "" {
		m.Files = maps.Clone(m.Files) // other pictures' manifests have the rest of it
		if m.Files == nil {
			m.Files = map[string]string{}
		}
		m.Files[flag] = sum
	}
	return err
}

// hashPlain returns the SHA-256 of a plain file, and nothing for a folder or a pipe, which can be
// read once.
func hashPlain(ctx context.Context, path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return "", err
	}
	return interruptible(ctx, func() (string, error) { return experiment.HashFile(path) })
}

// lock makes the folder, proves that it can be written to, and keeps other runs out of it.
func (o *outputFlags) lock() (unlock func(), err error) {
	if err := prepareFolder(o.out); err != nil {
		return nil, err
	}
	unlock, err = experiment.Lock(filepath.Join(o.out, ".lock"))
	if err != nil {
		return nil, fmt.Errorf("--out: %w", err)
	}
	return unlock, nil
}

// path is a result's manifest.
func (o *outputFlags) path(name string) string { return filepath.Join(o.out, name+".json") }

// todo says whether a result is to be computed: it is unless it is there and --skip-existing was
// given. One that is there without that or --force is an error, and so is one to be left out
// that was made with other options.
func (o *outputFlags) todo(name string, m manifest, files []string) (bool, error) {
	var found string
	for _, file := range append([]string{name + ".json"}, files...) {
		if exists(filepath.Join(o.out, file)) {
			found = filepath.Join(o.out, file)
			break
		}
	}
	if found == "" || o.force {
		return true, nil
	}
	if !o.skip {
		return false, isThere(found)
	}
	there, err := readManifest(o.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return true, nil // a run that was stopped has left it
	}
	if err != nil {
		return false, err
	}
	if m.Command == "restore" && m.InputIs == "" {
		return false, fmt.Errorf("%s is there, and --skip-existing can't tell whether it is of this input, which comes from standard input or a pipe: --force replaces it, or name another --out", o.path(name))
	}
	for _, made := range []struct{ of, there, here string }{
		{"the input", there.InputIs, m.InputIs}, {"the prior", there.Prior, m.Prior}, {"the picture's number", fmt.Sprint(there.Number), fmt.Sprint(m.Number)},
	} {
		if made.there != made.here {
			return false, fmt.Errorf("%s was made with %s %q, here it is %q: --force replaces it, or name another --out", o.path(name), made.of, made.there, made.here)
		}
	}
	for _, flag := range keys(m.Files) {
		if there.Files[flag] != m.Files[flag] {
			return false, fmt.Errorf("%s was made with another file than --%s %s: --force replaces it, or name another --out", o.path(name), flag, m.Given[flag])
		}
	}
	for _, flag := range append(keys(m.Given), keys(m.Options)...) { // first those that the user knows of
		if there.Options[flag] != m.Options[flag] {
			return false, fmt.Errorf("%s was made with --%s %q, here it is %q: --force replaces it, or name another --out", o.path(name), flag, there.Options[flag], m.Options[flag])
		}
	}
	return len(there.differing(o.out)) > 0, nil // damaged ones are computed again
}

func isThere(path string) error {
	return fmt.Errorf("%s is there already: --force replaces it, --skip-existing leaves it as it is, or name another --out", path)
}

// checkGrids refuses grids of an earlier run, but with --skip-existing, where they stay, and with
// --force, where they are replaced.
func (o *outputFlags) checkGrids(names ...string) error {
	for _, name := range names {
		if path := filepath.Join(o.out, name); !o.force && !o.skip && exists(path) {
			return isThere(path)
		}
	}
	return nil
}

// saveGrid draws a grid of the results, unless that of an earlier run stays.
func (o *outputFlags) saveGrid(c *cobra.Command, name string, draw func() (*image.RGBA, error)) {
	path := filepath.Join(o.out, name)
	if !o.force && exists(path) {
		fmt.Fprintf(o.notes(c), "%s is left as it was: --force replaces it\n", path)
		return
	}
	saveGrid(o.notes(c), c.ErrOrStderr(), path, draw)
}

// exists says whether there is a file, or a link to where none need be.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// differing are the manifest's results that are not in a folder as they were written.
func (m *manifest) differing(dir string) (files []string) {
	for _, file := range keys(m.Results) {
		if sum, err := experiment.HashFile(filepath.Join(dir, file)); err != nil || sum != m.Results[file] {
			files = append(files, file)
		}
	}
	return files
}

// of returns the manifest of a picture, with the hash of the file that it comes from: pipes have
// none, since they can be read once.
func (m manifest) of(ctx context.Context, path string, number int) (_ manifest, err error) {
	m.Number = number
	if path == "-" {
		return m, nil
	}
	if m.InputIs, err = hashPlain(ctx, path); err == nil && m.InputIs != "" {
		m.Input, err = filepath.Abs(path)
	}
	return m, err
}

// finish writes a result's manifest and tells the user of it.
func (o *outputFlags) finish(c *cobra.Command, m manifest, name string, files []string, quality *scores) error {
	m.Results = map[string]string{}
	for _, file := range files {
		sum, err := experiment.HashFile(filepath.Join(o.out, file))
		if errors.Is(err, os.ErrNotExist) {
			continue // a measurement that is no picture
		}
		if err != nil {
			return err
		}
		m.Results[file] = sum
	}
	if quality != nil {
		m.PSNR, m.SSIM = finite(quality.psnr), finite(quality.ssim)
	}
	if err := saveJSON(o.path(name), m); err != nil {
		return err
	}
	switch out := c.OutOrStdout(); {
	case o.json:
		line, err := json.Marshal(m)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, string(line))
	default:
		var said []string
		if quality != nil {
			said = append(said, "PSNR "+quality.String())
		}
		if m.Certainty != nil {
			said = append(said, m.Certainty.String())
		}
		if said != nil {
			fmt.Fprintf(out, "%s: %s\n", name, strings.Join(said, "; "))
		}
	}
	return nil
}

// noteRun adds a manifest to a file of lines, unless it is there already.
func noteRun(path string, m manifest) error {
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	there, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	line = append(line, '\n')
	if bytes.Contains(there, line) {
		return nil
	}
	return picture.Replace(path, func(w io.Writer) error {
		_, err := w.Write(append(there, line...))
		return err
	})
}

// notes is where to say what is no result: beside --json standard output has manifests alone.
func (o *outputFlags) notes(c *cobra.Command) io.Writer {
	if o.json {
		return c.ErrOrStderr()
	}
	return c.OutOrStdout()
}

func readManifest(path string) (m manifest, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return m, err
	}
	if info.Size() > 1<<20 || !info.Mode().IsRegular() {
		return m, fmt.Errorf("%s is no manifest: a JSON file of up to 1 MiB is wanted, as restore writes beside each result", path)
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err == nil && (m.Command != "restore" && m.Command != "sample" || m.Number < 1) {
		err = fmt.Errorf("its command is %q, restore or sample is wanted; others are run again with the flags that it was given", m.Command)
	}
	if err != nil {
		return m, fmt.Errorf("%s is no manifest of a result: %w", path, err)
	}
	return m, nil
}

func rerunCommand() *cobra.Command {
	var out string
	var force bool
	c := &cobra.Command{
		Use:   "rerun MANIFEST",
		Short: "Make a result again from its manifest, and compare",
		Long: `rerun takes NAME.json, which restore and sample write beside each result, runs the same command with
the same options into another folder, and compares the files: the same version on the same device gives
the same bytes. It refuses inputs that were changed, and results of standard input or a pipe, which are not
kept: restore from a file what is to be made again.`,
		Example: `  cmi-native rerun out/face.json --out again`,
		Args:    arguments(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			return rerun(c, args[0], out, force)
		},
	}
	c.Flags().StringVar(&out, "out", "rerun", "`DIR` for the results; those of the manifest's run stay as they are")
	c.Flags().BoolVar(&force, "force", false, "replace results that are in --out already")
	return c
}

func rerun(c *cobra.Command, path, out string, force bool) error {
	m, err := interruptible(c.Context(), func() (manifest, error) { return readManifest(path) })
	if err != nil {
		return err
	}
	args := []string{m.Command}
	if m.Input != "" {
		sum, err := experiment.HashFile(m.Input)
		if err != nil {
			return fmt.Errorf("%s: its input: %w", path, err)
		}
		if sum != m.InputIs {
			return fmt.Errorf("%s: its input %s is not the file that it was", path, m.Input)
		}
		args = append(args, m.Input)
	} else if m.Command == "restore" {
		return fmt.Errorf("%s: its input came from standard input or a pipe, which is not kept: restore it from a file", path)
	}
	if there, err := os.Stat(out); err == nil {
		if own, err := os.Stat(filepath.Dir(path)); err == nil && os.SameFile(there, own) {
			return fmt.Errorf("--out %s holds the results to compare with: name another", out)
		}
	}
	if file := m.Given["prior"]; file != "" && builtIn[file] == nil {
		sum, err := interruptible(c.Context(), func() (string, error) { return hashPrior(file) })
		if err != nil {
			return fmt.Errorf("%s: its prior: %w", path, err)
		}
		if sum != m.Prior {
			return fmt.Errorf("%s: its prior %s is not the file that it was", path, file)
		}
	}
	for _, flag := range keys(m.Files) {
		file := m.Given[flag]
		if flag == "mask" {
			if file, err = (&restoreFlags{mask: file}).maskOf(m.Input); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		sum, err := hashPlain(c.Context(), file)
		if err != nil {
			return fmt.Errorf("%s: its --%s: %w", path, flag, err)
		}
		if sum != m.Files[flag] {
			return fmt.Errorf("%s: its --%s %s is not the file that it was", path, flag, file)
		}
	}
	for _, flag := range keys(m.Given) {
		args = append(args, "--"+flag+"="+m.Given[flag])
	}
	if m.Command == "restore" { // what the command chose itself may be another one today
		for _, flag := range []string{"method", "start", "steps"} {
			if value, was := m.Options[flag]; was && m.Given[flag] == "" {
				args = append(args, "--"+flag+"="+value)
			}
		}
	}
	args = append(args, fmt.Sprintf("--first-image=%d", m.Number), "--out="+out, fmt.Sprintf("--force=%t", force))
	if m.Command == "sample" {
		args = append(args, "--count=1")
	}
	if err := runAnother(c, c.OutOrStdout(), args); err != nil {
		return err
	}
	differ := m.differing(out)
	if len(differ) > 0 {
		return failed(fmt.Errorf("%s differ from those of %s, which version %s made on %s", strings.Join(differ, ", "), path, m.Version, m.Device))
	}
	fmt.Fprintf(c.OutOrStdout(), "the same bytes: %s\n", strings.Join(keys(m.Results), ", "))
	return nil
}

// runAnother runs another command of the tool inside one, as quiet and with the same log.
func runAnother(c *cobra.Command, out io.Writer, args []string) error {
	for _, name := range []string{"quiet", "log"} {
		args = append(args, "--"+name+"="+c.Flags().Lookup(name).Value.String())
	}
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(c.ErrOrStderr())
	return root.ExecuteContext(c.Context())
}
