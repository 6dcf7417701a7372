package fid

import (
	"archive/zip"
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// maxDim bounds the features of a statistics file: a covariance of 512 MiB.
const maxDim = 8192

// OpenStatistics reads a statistics file, NumPy's npz with arrays mu [dim] and sigma
// [dim, dim] in float64 or float32, as the FID's programs write them.
func OpenStatistics(path string) (*Statistics, error) {
	file, err := zip.OpenReader(path)
	if err != nil {
		return nil, fmt.Errorf("FID statistics %s: %w; an npz file with mu and sigma is wanted", path, err)
	}
	defer file.Close()
	mu, shape, err := array(file, "mu")
	if err == nil && len(shape) != 1 {
		err = fmt.Errorf("mu has shape %v, want one dimension", shape)
	}
	var sigma []float64
	if err == nil {
		sigma, shape, err = array(file, "sigma")
	}
	if err == nil && (len(shape) != 2 || shape[0] != len(mu) || shape[1] != len(mu)) {
		err = fmt.Errorf("sigma has shape %v, want [%d %d] to fit mu", shape, len(mu), len(mu))
	}
	var s *Statistics
	if err == nil {
		s, err = FromMoments(mu, sigma)
	}
	if err != nil {
		return nil, fmt.Errorf("FID statistics %s: %w", path, err)
	}
	return s, nil
}

// Save writes the statistics as npz, float64, for any of the FID's programs. An
// existing file is replaced when all is written.
func (s *Statistics) Save(path string) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".statistics-*")
	if err != nil {
		return fmt.Errorf("FID statistics: %w", err)
	}
	defer os.Remove(file.Name()) // does nothing once renamed
	err = s.write(file)
	if e := file.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Chmod(file.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("FID statistics %s: %w", path, err)
	}
	return nil
}

func (s *Statistics) write(w io.Writer) error {
	out := zip.NewWriter(w)
	dim := s.Dim()
	for _, a := range []struct {
		name, shape string
		count       int
		at          func(i int) float64
	}{
		{"mu", fmt.Sprintf("(%d,)", dim), dim, func(i int) float64 { return s.mean[i] }},
		{"sigma", fmt.Sprintf("(%d, %d)", dim, dim), dim * dim, func(i int) float64 { return s.covariance.At(i/dim, i%dim) }},
	} {
		entry, err := out.CreateHeader(&zip.FileHeader{Name: a.name + ".npy", Method: zip.Store})
		if err != nil {
			return err
		}
		const magic = "\x93NUMPY\x01\x00"
		header := fmt.Sprintf("{'descr': '<f8', 'fortran_order': False, 'shape': %s, }", a.shape)
		header += strings.Repeat(" ", 63-(len(magic)+2+len(header))%64) + "\n" // data begin at a multiple of 64
		buffered := bufio.NewWriter(entry)                                     // keeps errors until Flush
		buffered.WriteString(magic)
		buffered.Write(binary.LittleEndian.AppendUint16(nil, uint16(len(header))))
		buffered.WriteString(header)
		var value []byte
		for i := range a.count {
			value = binary.LittleEndian.AppendUint64(value[:0], math.Float64bits(a.at(i)))
			buffered.Write(value)
		}
		if err := buffered.Flush(); err != nil {
			return err
		}
	}
	return out.Close()
}

// array reads one array of an npz file.
func array(file *zip.ReadCloser, name string) (values []float64, shape []int, err error) {
	entry, err := file.Open(name + ".npy")
	if err != nil {
		return nil, nil, fmt.Errorf("no array %s: %w", name, err)
	}
	defer entry.Close()
	if values, shape, err = readNPY(bufio.NewReaderSize(entry, 1<<16)); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return values, shape, nil
}

// npyHeader finds the three entries of a header, in any order.
var npyHeader = map[string]*regexp.Regexp{
	"descr": regexp.MustCompile(`'descr':\s*'([^']*)'`),
	"order": regexp.MustCompile(`'fortran_order':\s*(True|False)`),
	"shape": regexp.MustCompile(`'shape':\s*\(([\d,\s]*)\)`),
}

// readNPY reads NumPy's format (NEP 1) for little-endian floats of at most two
// dimensions.
func readNPY(r io.Reader) (values []float64, shape []int, err error) {
	head := make([]byte, 10)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:6]) != "\x93NUMPY" {
		return nil, nil, fmt.Errorf("not a NumPy array (it starts with %q)", head)
	}
	size := int(binary.LittleEndian.Uint16(head[8:]))
	if head[6] > 1 { // versions 2 and 3 have four bytes of length
		more := make([]byte, 2)
		if _, err := io.ReadFull(r, more); err != nil {
			return nil, nil, err
		}
		size |= int(binary.LittleEndian.Uint16(more)) << 16
	}
	if size > 1<<16 {
		return nil, nil, fmt.Errorf("header of %d bytes, at most 65536 are read", size)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, nil, err
	}
	entry := map[string]string{}
	for key, pattern := range npyHeader {
		match := pattern.FindSubmatch(text)
		if match == nil {
			return nil, nil, fmt.Errorf("NumPy header without %s: %.80q", key, text)
		}
		entry[key] = string(match[1])
	}
	count := 1
	for _, d := range strings.FieldsFunc(entry["shape"], func(r rune) bool { return r == ',' || r == ' ' }) {
		n, err := strconv.Atoi(d)
		if err != nil || n < 1 || n > maxDim || len(shape) == 2 {
			return nil, nil, fmt.Errorf("shape (%s), want one or two dimensions of 1 to %d", entry["shape"], maxDim)
		}
		shape = append(shape, n)
		count *= n
	}
	width, ok := npyFloats[entry["descr"]]
	if !ok {
		return nil, nil, fmt.Errorf("numbers of type %q, want little-endian floats (<f8 or <f4)", entry["descr"])
	}
	p := make([]byte, width)
	for range count { // grows with what is there, whatever the header claims
		if _, err := io.ReadFull(r, p); err != nil {
			return nil, nil, fmt.Errorf("value %d of %d: %w", len(values), count, err)
		}
		if width == 4 {
			values = append(values, float64(math.Float32frombits(binary.LittleEndian.Uint32(p))))
		} else {
			values = append(values, math.Float64frombits(binary.LittleEndian.Uint64(p)))
		}
	}
	if entry["order"] == "True" && len(shape) == 2 {
		turned := make([]float64, count)
		for i, v := range values {
			turned[i%shape[0]*shape[1]+i/shape[0]] = v
		}
		values = turned
	}
	return values, shape, nil
}

// npyFloats are the number types that are read, with their bytes.
var npyFloats = map[string]int{"<f8": 8, "<f4": 4}
