package experiment

import (
	"bytes"
	"context"
	"encoding/csv"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// complete runs what is missing in a folder and writes the report.
func complete(t testing.TB, r *Runner, dir string) *Summary {
	t.Helper()
	f, err := Open(dir, settings, small)
	require.NoError(t, err)
	defer func() { assert.NoError(t, f.Close()) }()
	require.NoError(t, r.Run(context.Background(), f))
	s, err := f.Summarise(1)
	require.NoError(t, err)
	require.NoError(t, f.Frechet(context.Background(), s, "FID-like (none)", brightness{}, nil, nil))
	require.NoError(t, Report{Preset: Presets[0], Facts: [][2]string{{"steps", "2"}}, Shown: 1}.Write(f, s))
	return s
}

func TestRun(t *testing.T) {
	r, dir := runner(t), t.TempDir()
	steps := map[Job]int{}
	r.OnStep = func(j Job, _ sdk.Progress) { steps[j]++ }
	s := complete(t, r, dir)

	f, err := OpenFinished(dir, settings, small)
	require.NoError(t, err)
	require.Equal(t, small.Len(), f.Done())
	require.Len(t, steps, small.Len())
	truth := map[string]picture.Image{}
	for _, name := range small.Names {
		truth[name], err = picture.Open(f.path(truthPath(name)))
		require.NoError(t, err)
	}
	k := 0
	err = f.read(func(one *Result, _ int64) error {
		job := small.Job(k)
		k++
		assert.Equal(t, 2, steps[job])
		assert.Equal(t, passes(t, r, one.Cell), one.Passes, "%v", job)
		assert.Len(t, one.Residual, 2)
		assert.Equal(t, one.CMI == With, len(one.Information) == 2)
		assert.Equal(t, one.Sample == 2, one.Apart != nil)
		// Another program finds the same values in the pictures.
		p, err := picture.Open(f.path(job.picturePath()))
		require.NoError(t, err)
		psnr, err := metric.PSNR(metric.Unit(p.Pix), metric.Unit(truth[one.Image].Pix), 1, 3, 16, 16)
		require.NoError(t, err)
		assert.Equal(t, psnr[0], *one.PSNR, "%v", job)
		return nil
	})
	require.NoError(t, err)

	// Arms and samples differ, pictures of one task share their measurement.
	files := tree(t, dir)
	seen := map[string]string{}
	for name, data := range files {
		if strings.HasPrefix(name, "images/") {
			other, ok := seen[data]
			assert.False(t, ok, "%s is the same as %s", name, other)
			seen[data] = name
		}
	}
	assert.Len(t, seen, small.Len()+2+4, "runs, truths and measurements")

	// The page has everything that it refers to, and nothing else is in its folder.
	linked := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"#]+)"`).FindAllStringSubmatch(files["report.html"], -1) {
		assert.Contains(t, files, m[1])
		linked[m[1]] = true
	}
	for name, data := range files {
		if strings.HasPrefix(name, "report/") {
			assert.True(t, linked[name], "%s is not shown", name)
		}
		assert.NotContains(t, data, "NaN", name)
	}
	rows, err := csv.NewReader(strings.NewReader(files["table.csv"])).ReadAll()
	require.NoError(t, err)
	assert.Len(t, rows, 1+len(s.Cells))
	assert.Contains(t, files["table.md"], "CMI+DSG")
}

// A run that was cut anywhere, as by a kill, ends with the bytes of one that was not,
// and so does one that goes on with pictures in batches.
func TestResume(t *testing.T) {
	r, whole := runner(t), t.TempDir()
	complete(t, r, whole)
	want := tree(t, whole)
	results := want["results.jsonl"]
	ends := []int{0}
	for i, c := range results {
		if c == '\n' {
			ends = append(ends, i+1)
		}
	}
	done := func(at int) int { // lines that are whole
		return strings.Count(results[:at], "\n")
	}
	for _, at := range []int{0, 1, ends[1] - 1, ends[1], ends[9] + 200, ends[17] - 2, ends[30] + 5, len(results) - 1, len(results)} {
		dir := t.TempDir()
		for name, data := range want {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			if name == "results.jsonl" {
				data = data[:at]
			}
			if !strings.HasPrefix(name, "report") && !strings.HasPrefix(name, "table") {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644))
			}
		}
		for k := done(at) + 1; k < small.Len(); k++ { // pictures after the one in hand are not there yet
			require.NoError(t, os.Remove(filepath.Join(dir, small.Job(k).picturePath())))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "images", "box", "dps", ".a.png.12345678.tmp"), []byte("half"), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "timings.jsonl"), []byte("{}\n{"), 0o644))
		r.Batch = len(want) * at % 3 // 0, 1, 2
		var ran []Job
		r.OnDone = func(j Job) { ran = append(ran, j) }
		complete(t, r, dir)
		assert.Len(t, ran, small.Len()-done(at), "cut at %d", at)
		same(t, want, tree(t, dir))
		timings, err := os.ReadFile(filepath.Join(dir, "timings.jsonl"))
		require.NoError(t, err)
		assert.Equal(t, 1+len(ran), bytes.Count(timings, []byte("\n")))
	}
}

// A context that ends stops the run within one step, and what was finished stays.
func TestCancel(t *testing.T) {
	r, dir, whole := runner(t), t.TempDir(), t.TempDir()
	complete(t, r, whole)
	f, err := Open(dir, settings, small)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	steps := 0
	r.OnStep = func(Job, sdk.Progress) {
		if steps++; steps == 9 { // the first of the fifth run
			cancel()
		}
	}
	require.ErrorIs(t, r.Run(ctx, f), context.Canceled)
	assert.Equal(t, 9, steps)
	assert.Equal(t, 4, f.Done())
	_, err = f.Summarise(1)
	assert.ErrorContains(t, err, "no picture is finished")
	require.NoError(t, f.Close())

	r.OnStep = nil
	complete(t, r, dir)
	same(t, tree(t, whole), tree(t, dir))
}
