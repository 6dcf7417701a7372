// Package checkpoint reads the weights of a network: safetensors files and
// PyTorch state dicts (.pt, .pth; zip and legacy stream), told apart by content.
//
// A file is data from a stranger. Nothing in it is executed: the pickle inside a
// PyTorch file is interpreted by a small machine that knows tensors, dicts, lists,
// tuples and numbers and refuses all else by name. Every count, offset and shape
// is checked against the file's size before memory is asked for, and a value that
// is not finite is an error that names its tensor.
//
// Opening reads the table of tensors only; values are read when they are asked for.
// Where a file holds several sets of weights, averaged ones (ema) are taken before those
// of the last training step; [File.Key] names the set and [OpenKey] takes another. The
// prefix that a training script puts before all names of a set ("module.", "model.") is
// left out of them.
package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// Tensor describes one tensor of a checkpoint.
type Tensor struct {
	Name  string
	DType DType // as stored
	Shape []int // outermost dimension first; empty for a scalar
}

// Len returns the number of values: the product of the dimensions, 1 for a scalar.
func (t Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Source is where a network's weights come from: a [File] or a [Formula].
type Source interface {
	// Info describes a tensor; false if there is none of that name.
	Info(name string) (Tensor, bool)
	// Names lists the tensors.
	Names() []string
	// Floats returns a tensor's values in row-major order, after checking that it
	// has the wanted shape. Without a shape, any is taken.
	Floats(name string, shape ...int) ([]float32, error)
	// Metadata returns what the file says about itself; empty if it says nothing.
	Metadata() map[string]string
}

// The formats that [File.Format] reports.
const (
	Safetensors   = "safetensors"
	PyTorchZip    = "pytorch zip"
	PyTorchLegacy = "pytorch legacy"
	Persistent    = "persistent pickle" // of EDM's programs
)

// File is an opened checkpoint. Its methods may be called concurrently.
type File struct {
	r        io.ReaderAt
	size     int64 // of the file, in bytes
	name     string
	format   string
	closer   io.Closer
	names    []string
	tensors  map[string]entry
	metadata map[string]string
	modules  []Module
	wanted   string   // the key of [OpenKey]; empty chooses
	key      string   // of the weights that were taken
	keys     []string // of all that could be
}

// entry is a tensor and where its values lie in the file.
type entry struct {
	Tensor
	at      int64  // byte offset of the first value
	strides []int  // in values; nil where the values lie dense in row-major order
	span    int    // values from the first to the last in the file, where strided
	scale   *entry // of an I8 tensor of 8-bit weights: a factor for each index of the outermost dimension
}

// Open opens a checkpoint file. The error names the path and what is wrong with it.
// Close it when its tensors have been read.
func Open(path string) (*File, error) { return OpenKey(path, "") }

// OpenKey opens the set of weights of that key (see [File.Keys]) in a file that holds
// several, such as "model" beside "ema". An empty key chooses as [Open] does.
func OpenKey(path, key string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("checkpoint %s: not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	f, err := read(file, info.Size(), path, key)
	if err != nil {
		file.Close()
		return nil, err
	}
	f.closer = file
	return f, nil
}

// Read opens a checkpoint of the given size in bytes behind r, such as embedded
// bytes or a download; name is what errors call it. r must stay readable while the
// file is in use, also by concurrent calls.
func Read(r io.ReaderAt, size int64, name string) (*File, error) { return read(r, size, name, "") }

func read(r io.ReaderAt, size int64, name, key string) (*File, error) {
	f := &File{r: r, size: size, name: name, wanted: key, tensors: map[string]entry{}, metadata: map[string]string{}}
	err := f.parse()
	if err == nil && len(f.names) == 0 {
		err = fmt.Errorf("%s file without tensors", f.format)
	}
	if err == nil && f.format != Persistent { // whose names are those of the modules
		err = f.unwrap()
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", name, short(err))
	}
	return f, nil
}

// short cuts the text of an error, which may quote a name of any length.
func short(err error) error {
	const most = 1000 // bytes
	if text := err.Error(); len(text) > most {
		return errors.New(strings.ToValidUTF8(text[:most], "") + "…")
	}
	return err
}

// parse tells the format by content. The first byte alone does not: a safetensors
// file opens with its header's length, whose low bytes can look like a pickle's.
func (f *File) parse() error {
	head := make([]byte, max(0, min(f.size, 9)))
	if err := f.readAt(head, 0); err != nil {
		return err
	}
	switch {
	case len(head) == 9 && head[8] == '{':
		f.format = Safetensors
		return f.parseSafetensors()
	case len(head) >= 4 && string(head[:4]) == "PK\x03\x04":
		f.format = PyTorchZip
		return f.parseZip()
	case len(head) >= 2 && head[0] == opProto:
		f.format = PyTorchLegacy
		return f.parseLegacy()
	}
	return fmt.Errorf("neither safetensors nor a PyTorch file: it holds %d bytes and starts with %q: download it again", f.size, head)
}

// add enters a tensor.
func (f *File) add(e entry) error {
	if _, twice := f.tensors[e.Name]; twice {
		return fmt.Errorf("tensor %q occurs twice", e.Name)
	}
	f.tensors[e.Name] = e
	f.names = append(f.names, e.Name)
	return nil
}

// readAt fills p from the file's bytes at off.
func (f *File) readAt(p []byte, off int64) error { return readAt(f.r, p, off) }

func readAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading %d bytes at %d: %w", len(p), off, err)
}

// Close closes what [Open] opened. Values can not be read afterwards.
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// Format is [Safetensors], [PyTorchZip], [PyTorchLegacy] or [Persistent].
func (f *File) Format() string { return f.format }

// Key names the set of weights that was taken, by the keys and prefixes that lead to it
// with points between them, such as "ema" or "state_dict.ema_model"; empty for the
// outermost.
func (f *File) Key() string { return f.key }

// Keys lists the sets of weights that the file holds under the names that training
// scripts use.
func (f *File) Keys() []string { return slices.Clone(f.keys) }

// Names lists the tensors in the file's order.
func (f *File) Names() []string { return slices.Clone(f.names) }

// Info describes a tensor; false if there is none of that name.
func (f *File) Info(name string) (Tensor, bool) {
	e, ok := f.tensors[name]
	e.Shape = slices.Clone(e.Shape)
	return e.Tensor, ok
}

// Metadata returns the __metadata__ table of a safetensors file, empty for other formats.
func (f *File) Metadata() map[string]string { return maps.Clone(f.metadata) }
