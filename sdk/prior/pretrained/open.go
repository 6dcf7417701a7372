package pretrained

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
)

// Checkpoint is an opened file, or a folder of diffusers: the tensors, with the texts of the
// configuration files beside them in its metadata.
type Checkpoint struct {
	*checkpoint.File
	texts map[string]string
	files []string // that were read, the weights first, in their folder
}

// Files returns the files that [Open] reads of a checkpoint, the weights first.
func Files(name string) ([]string, error) {
	c, err := Open(name, "")
	if err != nil {
		return nil, err
	}
	return c.files, c.Close()
}

// Metadata implements [checkpoint.Source].
func (c *Checkpoint) Metadata() map[string]string {
	all := c.File.Metadata()
	maps.Copy(all, c.texts)
	return all
}

// Of returns a file that is open already, without configuration files beside it.
func Of(f *checkpoint.File) *Checkpoint { return &Checkpoint{File: f} }

// Open opens a checkpoint file, or the folder of a diffusers model: one with model_index.json,
// or its unet folder. key chooses a set of weights, see [checkpoint.OpenKey]. Close it when
// the network is loaded.
func Open(name, key string) (*Checkpoint, error) {
	dir, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	folder, file := filepath.Split(filepath.Clean(name))
	if dir.IsDir() {
		folder, file = name, ""
	}
	if folder == "" {
		folder = "."
	}
	place := func(inside string) string { return filepath.Join(folder, filepath.FromSlash(inside)) }
	c, err := open(os.DirFS(folder), file, name,
		func(inside string) (*checkpoint.File, error) { return checkpoint.OpenKey(place(inside), key) },
		func(inside string) ([]byte, error) {
			return readText(os.DirFS(place(path.Dir(inside))), path.Base(inside))
		})
	if err != nil {
		return nil, err
	}
	for i, f := range c.files {
		c.files[i] = place(f)
	}
	return c, nil
}

// OpenFS is [Open] in a file system; read opens a file of it.
func OpenFS(dir fs.FS, name string, read func(name string) (*checkpoint.File, error)) (*Checkpoint, error) {
	info, err := fs.Stat(dir, name)
	if err != nil {
		return nil, err
	}
	folder, file := path.Split(name)
	if info.IsDir() {
		folder, file = name, ""
	}
	sub, err := fs.Sub(dir, path.Clean(folder))
	if err != nil {
		return nil, err
	}
	return open(sub, file, name,
		func(inside string) (*checkpoint.File, error) { return read(path.Join(folder, inside)) },
		func(inside string) ([]byte, error) { return readText(dir, path.Join(folder, inside)) })
}

// weights are the names that diffusers gives files of weights, the best first.
var weights = []string{"diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.fp16.bin"}

// open opens a file of a folder, or the folder where file is empty. text may be asked for
// files of the folder above.
func open(folder fs.FS, file, name string, tensors func(string) (*checkpoint.File, error), text func(string) ([]byte, error)) (*Checkpoint, error) {
	exists := func(inside string) bool {
		info, err := fs.Stat(folder, inside)
		return err == nil && info.Mode().IsRegular()
	}
	config, scheduler := "config.json", "../scheduler/scheduler_config.json"
	if file == "" {
		unet := ""
		if !exists(config) {
			unet, scheduler = "unet/", "scheduler/scheduler_config.json"
		}
		config = unet + config
		i := slices.IndexFunc(weights, func(w string) bool { return exists(unet + w) })
		if i < 0 {
			return nil, fmt.Errorf("checkpoint %s: a folder without %s or unet/%s: the folder of a diffusers model, or a checkpoint file, is wanted", name, weights[0], weights[0])
		}
		file = unet + weights[i]
	} else if !slices.Contains(weights, file) || !exists(config) {
		f, err := tensors(file)
		if err != nil {
			return nil, err
		}
		return &Checkpoint{File: f, files: []string{file}}, nil
	}
	files, texts := []string{file}, map[string]string{}
	for key, inside := range map[string]string{unetConfig: config, schedulerConfig: scheduler} {
		content, err := text(inside)
		if errors.Is(err, fs.ErrNotExist) && key == schedulerConfig {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("checkpoint %s: %s: %w", name, inside, err)
		}
		texts[key], files = string(content), append(files, inside)
	}
	slices.Sort(files[1:])
	f, err := tensors(file)
	if err != nil {
		return nil, err
	}
	return &Checkpoint{f, texts, files}, nil
}

// maxText bounds configuration files, in bytes: trained_betas may have thousands of numbers.
const maxText = 1 << 20

func readText(dir fs.FS, name string) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("not a regular file"))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if len(text) > maxText {
		err = fmt.Errorf("more than %d bytes", maxText)
	}
	return text, err
}
