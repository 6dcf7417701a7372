package npy

import (
	"archive/zip"
	"bufio"
	"fmt"
	"io"
	"strings"
)

// mostExpansion bounds how many times larger than its compressed bytes an array of an archive
// may be: more than that is no data but a trap for memory.
const mostExpansion = 200

// Archive is an open .npz file: arrays by name.
type Archive struct{ file *zip.ReadCloser }

// OpenArchive opens a .npz file. Close it.
func OpenArchive(path string) (*Archive, error) {
	file, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	return &Archive{file}, nil
}

// Close closes the file.
func (a *Archive) Close() error { return a.file.Close() }

// Array reads the array of that name, as [Read] does.
func (a *Archive) Array(name string) (values []float64, shape []int, err error) {
	entry, err := a.open(name)
	if err != nil {
		return nil, nil, err
	}
	defer entry.Close()
	if values, shape, err = Read(bufio.NewReaderSize(entry, 1<<16)); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return values, shape, nil
}

// Text reads an array that is one text of up to 64 characters, as SciPy writes the format
// of a sparse matrix.
func (a *Archive) Text(name string) (string, error) {
	entry, err := a.open(name)
	if err != nil {
		return "", err
	}
	defer entry.Close()
	h, err := readHeader(entry)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	var size int
	var kind byte
	if n, _ := fmt.Sscanf(strings.TrimLeft(h.kind, "<>|="), "%c%d", &kind, &size); n != 2 || h.count != 1 || size > 64 || (kind != 'S' && kind != 'U') {
		return "", fmt.Errorf("%s is of type %q, a text is wanted", name, h.kind)
	}
	if kind == 'U' { // four bytes a character
		size *= 4
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(entry, text); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return strings.ReplaceAll(string(text), "\x00", ""), nil
}

func (a *Archive) open(name string) (io.ReadCloser, error) {
	for _, f := range a.file.File {
		if f.Name != name+".npy" {
			continue
		}
		if f.UncompressedSize64 > mostExpansion*f.CompressedSize64+1<<20 {
			return nil, fmt.Errorf("%s expands from %d to %d bytes: at most %d times as many are read", name, f.CompressedSize64, f.UncompressedSize64, mostExpansion)
		}
		return f.Open()
	}
	return nil, fmt.Errorf("no array %s", name)
}
