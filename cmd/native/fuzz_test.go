package main

import (
	"bytes"
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/internal/fuzztest"
)

// FuzzPrintable prints anything: no control character is left, and what is printable stays.
func FuzzPrintable(f *testing.F) {
	f.Add([]byte("face\x1b]0;owned\x07.png\n"))
	f.Add([]byte("\u009b31m größer\tΠGDM\xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = fuzztest.Check(t, 1<<20+16*len(text), func() error {
			safe := printable(text)
			bad := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
			if at := bytes.IndexFunc(safe, bad); at >= 0 {
				t.Fatalf("%q at %d", safe, at)
			}
			require.Equal(t, safe, printable(safe))
			return nil
		})
	})
}

// FuzzInert writes names into tables for spreadsheets: none begins as a formula does.
func FuzzInert(f *testing.F) {
	f.Add("=HYPERLINK(\"http://a\")")
	f.Add("@SUM(1)\r\n")
	f.Add("a,\"b\"")
	f.Fuzz(func(t *testing.T, name string) {
		var out bytes.Buffer
		w := csv.NewWriter(&out)
		require.NoError(t, w.Write([]string{inert(name)}))
		w.Flush()
		if cell := strings.TrimPrefix(out.String(), `"`); strings.IndexAny(cell, "=+-@\t\r") == 0 {
			t.Fatalf("%q", out.String())
		}
	})
}

// FuzzDevice reads the name of a device and a size of memory.
func FuzzDevice(f *testing.F) {
	f.Add("webgpu:95MB")
	f.Add("cuda:1:bf16")
	f.Add("8 GiB")
	f.Add("1e30EB")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 200 {
			return
		}
		_ = fuzztest.Check(t, 1<<20, func() error {
			_, _, err := findDevice(text)
			return err
		})
		_ = fuzztest.Check(t, 1<<20, func() error {
			n, err := parseBytes(text)
			if err == nil && n < 1e6 {
				t.Fatalf("%q is %d bytes", text, n)
			}
			return err
		})
	})
}

// FuzzManifest reads a result's manifest.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"command": "restore", "number": 1, "given": {"seed": "9"}, "results": {"../a.png": "00"}}`))
	f.Add([]byte(`{"command": "sample", "number": -1, "psnr": null}`))
	path := filepath.Join(f.TempDir(), "a.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		require.NoError(t, os.WriteFile(path, data, 0o644))
		var m manifest
		if fuzztest.Check(t, 1<<20+256*len(data), func() (err error) {
			m, err = readManifest(path)
			return err
		}) == nil && m.Number < 1 {
			t.Fatalf("picture number %d", m.Number)
		}
	})
}
