// Package fuzztest is what the fuzz targets ask of every reader of foreign bytes: no panic,
// memory in proportion to the bytes, an error of one line, no number that is NaN.
package fuzztest

import (
	"runtime/metrics"
	"strings"
	"testing"
)

// Check calls read and returns its error. The test fails where read allocates more than most
// bytes, freed ones included, or returns an error that is not one line of text.
func Check(t testing.TB, most int, read func() error) error {
	t.Helper()
	before := allocated()
	err := read()
	if used := allocated() - before; used > uint64(most) {
		t.Fatalf("%d bytes were allocated, at most %d are allowed; the error is %v", used, most, err)
	}
	if err != nil {
		Line(t, err)
	}
	return err
}

// Line fails the test unless an error is one line of text.
func Line(t testing.TB, err error) {
	t.Helper()
	if text := err.Error(); text == "" || strings.ContainsAny(text, "\n\r") || len(text) > 2000 {
		t.Fatalf("an error of one line is wanted, this one has %d bytes: %.300q", len(text), text)
	}
}

// allocated returns the bytes that the process has allocated so far. Unlike
// runtime.ReadMemStats it does not stop the world, and counts small objects late.
func allocated() uint64 {
	s := [1]metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s[:])
	return s[0].Value.Uint64()
}

// Finite fails the test where a number is NaN or infinite.
func Finite[F float32 | float64](t testing.TB, values ...F) {
	t.Helper()
	for i, v := range values {
		if v-v != 0 {
			t.Fatalf("value %d of %d is %v", i, len(values), v)
		}
	}
}
