package experiment

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/internal/fuzztest"
)

// line returns the line of a result whose picture is an empty file.
func line(t testing.TB, j Job) []byte {
	psnr := 30.
	sum := sha256.Sum256(nil)
	r := &Result{Cell: j.Cell, Image: j.Name, Sample: j.Sample, PSNR: &psnr, SSIM: .9, Residual: Curve{1, 2}, Picture: hex.EncodeToString(sum[:])}
	r.Check = r.check()
	text, err := json.Marshal(r)
	require.NoError(t, err)
	return append(text, '\n')
}

// FuzzResults reads results.jsonl and settings.json: what is finished is the grid's first jobs.
func FuzzResults(f *testing.F) {
	good, err := json.Marshal(settings)
	require.NoError(f, err)
	f.Add(append(line(f, small.Job(0)), line(f, small.Job(1))...), good)
	f.Add(append(line(f, small.Job(0)), `{"task": "box", "psnr": null, "residual": [null, 1e400]`...), good)
	f.Add([]byte("{}\nnull\n[]\n"), []byte(`{"--seed": "2\n3"}`))
	dir := f.TempDir()
	for k := range small.Len() {
		path := filepath.Join(dir, small.Job(k).picturePath())
		require.NoError(f, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(f, os.WriteFile(path, nil, 0o644))
	}
	f.Fuzz(func(t *testing.T, results, there []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "results.jsonl"), results, 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "settings.json"), there, 0o644))
		_ = fuzztest.Check(t, 1<<20+256*(len(results)+len(there)), func() error {
			folder, err := OpenFinished(dir, settings, small)
			if err != nil {
				return err
			}
			at, length := 0, int64(0)
			err = folder.read(func(r *Result, end int64) error {
				if !r.is(small.Job(at)) {
					t.Fatalf("line %d is of %v", at, r.job())
				}
				at, length = at+1, end
				return nil
			})
			if at != folder.Done() || length > int64(len(results)) {
				t.Fatalf("%d lines, %d jobs done, %d bytes of %d", at, folder.Done(), length, len(results))
			}
			return err
		})
	})
}

// FuzzResult reads a result, which is the same once written and read.
func FuzzResult(f *testing.F) {
	f.Add(line(f, small.Job(3)))
	f.Add([]byte(`{"psnr": null, "apart": {}, "residual": [null, -0, 1e-7, 1e300], "information": []}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = fuzztest.Check(t, 1<<20+256*len(text), func() error {
			var r, again Result
			if err := json.Unmarshal(text, &r); err != nil {
				return err
			}
			fuzztest.Finite(t, r.SSIM, r.LPIPS, r.MSE)
			first, err := json.Marshal(&r)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(first, &again))
			second, err := json.Marshal(&again)
			require.NoError(t, err)
			require.Equal(t, string(first), string(second))
			return nil
		})
	})
}
