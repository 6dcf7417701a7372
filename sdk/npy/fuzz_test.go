package npy_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/cmi-diffusion/cmi/internal/fuzztest"
	"github.com/cmi-diffusion/cmi/sdk/npy"
)

// FuzzRead reads an array, which must fill its shape and be the same once written and read.
func FuzzRead(f *testing.F) {
	little, big := binary.LittleEndian, binary.BigEndian
	f.Add(file("<f8", "False", "(2, 2)", []float64{1, 2, 3, 4}, little))
	f.Add(file(">f4", "True", "(2, 3)", []float32{1, 2, 3, 4, 5, 6}, big))
	f.Add(file("<f2", "False", "(4,)", []uint16{1, 0xc248, 0x7bff, 0xfc00}, little))
	f.Add(file("|b1", "False", "()", []bool{true}, little))
	f.Add(file("<i8", "False", "(8192, 8192)", []int64{-1}, little))
	f.Add(file("<f8", "False", "(4\n)", []float64{1}, little))
	f.Add([]byte("\x93NUMPY\x02\x00\x10\x00\x00\x00{'descr': '<u1', "))
	f.Fuzz(func(t *testing.T, data []byte) {
		var values []float64
		var shape []int
		err := fuzztest.Check(t, 1<<20+64*len(data), func() (err error) {
			values, shape, err = npy.Read(bytes.NewReader(data))
			return err
		})
		if err != nil {
			return
		}
		count := 1
		for _, n := range shape {
			if n < 1 || n > npy.MaxDim {
				t.Fatalf("shape %v", shape)
			}
			count *= n
		}
		if count != len(values) || len(shape) > 3 {
			t.Fatalf("%d values of shape %v", len(values), shape)
		}
		if err := again(values, shape); err != nil && len(shape) > 0 {
			t.Fatal(err)
		}
	})
}

// again writes an array and reads it back.
func again(values []float64, shape []int) error {
	var out bytes.Buffer
	if err := npy.Write(&out, values, shape...); err != nil {
		return err
	}
	got, _, err := npy.Read(&out)
	if err != nil {
		return err
	}
	for i, v := range values {
		if got[i] != v && !(math.IsNaN(v) && math.IsNaN(got[i])) {
			return fmt.Errorf("value %d is %v, %v was written", i, got[i], v)
		}
	}
	if len(got) != len(values) {
		return errors.New("another number of values")
	}
	return nil
}
