package golden_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/golden"
)

const folder = "../../testdata/golden"

func device(t testing.TB) compute.Device {
	t.Helper()
	dev := cpu.New(0)
	t.Cleanup(func() { assert.NoError(t, dev.Close()) })
	return dev
}

// run runs all cases of a folder and gives their results by group and name.
func run(t *testing.T, dir fs.FS, o golden.Options) map[string]computetest.Result {
	t.Helper()
	cases, err := golden.Cases(dir, o)
	require.NoError(t, err)
	results := map[string]computetest.Result{}
	computetest.Run(context.Background(), device(t), cases, func(r computetest.Result) {
		name := r.Group + ": " + r.Name
		assert.NotContains(t, results, name, "a name for each case")
		results[name] = r
	})
	return results
}

// Everything in testdata/golden on this processor; the quick tenth of it with -short.
func TestGolden(t *testing.T) {
	o := golden.Options{Quick: testing.Short()}
	results := run(t, os.DirFS(folder), o)
	passed, skipped := map[string]int{}, 0
	for _, r := range results {
		switch {
		case r.Skipped != "":
			skipped++
			assert.Regexp(t, "^only with --full", r.Skipped)
		case assert.True(t, r.Passed, r.String()):
			passed[r.Group]++
		}
	}
	if !o.Quick {
		assert.Equal(t, "the vectors are those of the network in training mode", results["metric: inception_pool3"].Note)
	}
	t.Logf("passed %v, %d skipped: full sizes", passed, skipped)
	want := map[string]int{"schedule": 42, "metric": 2, "operator": 14, "unet": 25, "information": 47, "trajectory": 24}
	if o.Quick {
		want = map[string]int{"schedule": 42, "metric": 2, "operator": 14, "unet": 5, "information": 6, "trajectory": 4}
	}
	for group, least := range want {
		assert.GreaterOrEqual(t, passed[group], least, group)
	}
}

// Quick cases are among the others.
func TestQuickIsPart(t *testing.T) {
	all, err := golden.Cases(os.DirFS(folder), golden.Options{})
	require.NoError(t, err)
	quick, err := golden.Cases(os.DirFS(folder), golden.Options{Quick: true})
	require.NoError(t, err)
	names := map[string]bool{}
	for _, c := range all {
		names[c.Group+": "+c.Name] = true
		assert.True(t, c.Bound >= 0)
	}
	for _, c := range quick {
		assert.True(t, names[c.Group+": "+c.Name], c.Name)
	}
	assert.Less(t, len(quick), len(all))
}

// part returns a copy in memory of some files and folders of the vectors.
func part(t *testing.T, names ...string) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	for _, name := range names {
		require.NoError(t, fs.WalkDir(os.DirFS(folder), name, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(folder + "/" + path)
			out[path] = &fstest.MapFile{Data: data}
			return err
		}))
	}
	return out
}

// tensor is where a tensor's values lie in a safetensors file, and their type.
func tensor(t *testing.T, file []byte, name string) (values []byte, dtype string) {
	t.Helper()
	length := binary.LittleEndian.Uint64(file)
	var header map[string]struct {
		DType   string `json:"dtype"`
		Offsets [2]int `json:"data_offsets"`
	}
	decoder := json.NewDecoder(bytes.NewReader(file[8 : 8+length]))
	require.NoError(t, decoder.Decode(&header))
	require.Contains(t, header, name)
	info := header[name]
	return file[8+int(length)+info.Offsets[0] : 8+int(length)+info.Offsets[1]], info.DType
}

// change replaces the middle value of a tensor.
func change(t *testing.T, dir fstest.MapFS, file, name string, f func(v float64) float64) {
	t.Helper()
	data := bytes.Clone(dir[file].Data)
	values, dtype := tensor(t, data, name)
	switch dtype {
	case "F32":
		at := values[len(values)/8*4:]
		v := f(float64(math.Float32frombits(binary.LittleEndian.Uint32(at))))
		binary.LittleEndian.PutUint32(at, math.Float32bits(float32(v)))
	case "F64":
		at := values[len(values)/16*8:]
		v := f(math.Float64frombits(binary.LittleEndian.Uint64(at)))
		binary.LittleEndian.PutUint64(at, math.Float64bits(v))
	case "I64":
		at := values[len(values)/16*8:]
		v := f(float64(int64(binary.LittleEndian.Uint64(at))))
		binary.LittleEndian.PutUint64(at, uint64(int64(v)))
	default:
		require.Fail(t, dtype)
	}
	dir[file] = &fstest.MapFile{Data: data}
}

// One changed value in a file fails the case that it belongs to, and no other.
func TestChangedVectorsFail(t *testing.T) {
	small := func(v float64) float64 { return v + 0.01*math.Max(1, math.Abs(v)) }
	tiny := func(v float64) float64 { return v * (1 + 1e-9) }
	nan := func(float64) float64 { return math.NaN() }
	for _, c := range []struct {
		parts  []string
		file   string
		tensor string
		change func(float64) float64
		fails  string
	}{
		{[]string{"schedule.safetensors"}, "schedule.safetensors", "cosine.100.beta", tiny, "schedule: cosine.100.beta"},
		{[]string{"schedule.safetensors"}, "schedule.safetensors", "linear.20.alpha_bar", nan, "schedule: linear.20.alpha_bar"},
		{[]string{"schedule.safetensors"}, "schedule.safetensors", "linear.20.timesteps", func(v float64) float64 { return v + 1 }, "schedule: linear.20.timesteps"},
		{[]string{"metrics.safetensors"}, "metrics.safetensors", "ssim", small, "metric: ssim"},
		{[]string{"operators.safetensors"}, "operators.safetensors", "sr4.y", small, "operator: sr4.y"},
		{[]string{"operators.safetensors"}, "operators.safetensors", "motion.circular_adjoint_z", small, "operator: motion.circular_adjoint_z"},
		{[]string{"unet/plain-blocks"}, "unet/plain-blocks/io.safetensors", "d2_vw", func(v float64) float64 { return v + 10 }, "unet: plain-blocks d2_vw"},
		{[]string{"unet/plain-blocks"}, "unet/plain-blocks/io.safetensors", "vjp", small, "unet: plain-blocks vjp"},
		{[]string{"unet/plain-blocks"}, "unet/plain-blocks/io.safetensors", "y", nan, "unet: plain-blocks y"},
		{[]string{"information/sr4.safetensors", "tiny16"}, "information/sr4.safetensors", "v.k2", func(v float64) float64 { return v + 1 }, "information: sr4 v.k2"},
		{[]string{"information/sr4.safetensors", "tiny16"}, "information/sr4.safetensors", "grad.k2", func(v float64) float64 { return v + 1 }, "information: sr4 grad.k2"},
		{[]string{"trajectories/sr4.safetensors", "tiny16"}, "trajectories/sr4.safetensors", "ddpm.trajectory", func(v float64) float64 { return v + 1 }, "trajectory: sr4 ddpm, step by step"},
		{[]string{"trajectories/sr4.safetensors", "tiny16"}, "trajectories/sr4.safetensors", "dps+cmi.trajectory", func(v float64) float64 { return v + 1 }, "trajectory: sr4 dps+cmi, step by step"},
	} {
		dir := part(t, c.parts...)
		change(t, dir, c.file, c.tensor, c.change)
		cases, err := golden.Cases(dir, golden.Options{Quick: true})
		require.NoError(t, err)
		var failed []string
		found := false
		group, _, _ := strings.Cut(c.fails, ":")
		var run []computetest.Case
		for _, k := range cases {
			name := k.Group + ": " + k.Name
			found = found || name == c.fails
			if group != "trajectory" || strings.Contains(name, "ddpm,") || name == c.fails {
				run = append(run, k)
			}
		}
		require.True(t, found, c.fails)
		computetest.Run(context.Background(), device(t), run, func(r computetest.Result) {
			if r.Skipped == "" && !r.Passed {
				failed = append(failed, r.Group+": "+r.Name)
			}
		})
		assert.Equal(t, []string{c.fails}, failed)
	}
}

// A changed weight fails the network.
func TestChangedWeightsFail(t *testing.T) {
	dir := part(t, "unet/new-attention-order")
	const file = "unet/new-attention-order/model.safetensors"
	change(t, dir, file, "input_blocks.0.0.weight", func(v float64) float64 { return v + 1 })
	for name, r := range run(t, dir, golden.Options{}) {
		assert.False(t, r.Passed, name)
	}
}

// A folder may lack parts, but not all of them.
func TestFolderOfParts(t *testing.T) {
	for _, dir := range []fs.FS{fstest.MapFS{}, fstest.MapFS{"notes.txt": {}, "unet/readme": {}}, os.DirFS(t.TempDir())} {
		_, err := golden.Cases(dir, golden.Options{})
		assert.ErrorContains(t, err, "no golden vectors here")
	}
	results := run(t, part(t, "metrics.safetensors"), golden.Options{})
	assert.Len(t, results, 7)
	for name, r := range results {
		assert.True(t, strings.HasPrefix(name, "metric: "))
		assert.True(t, r.Passed || r.Skipped != "", r.String())
	}
	// Vectors without the network that they need are failures that say so.
	for _, file := range []string{"information/sr4.safetensors", "trajectories/sr4.safetensors"} {
		for name, r := range run(t, part(t, file), golden.Options{Quick: true}) {
			if r.Skipped == "" {
				assert.False(t, r.Passed, name)
				assert.ErrorContains(t, r.Failure, "tiny16", name)
			}
		}
	}
}

// Vectors that nothing here can be compared with fail: what is not judged has not passed.
func TestUnknownVectorsFail(t *testing.T) {
	dir := part(t, "trajectories/sr4.safetensors", "unet/plain-blocks")
	delete(dir, "unet/plain-blocks/io.safetensors")
	file := dir["trajectories/sr4.safetensors"]
	// A method of the same length, so that the header's offsets stay.
	file.Data = bytes.Replace(file.Data, []byte(`"ddpm.trajectory"`), []byte(`"dppm.trajectory"`), 1)
	for name, says := range map[string]string{
		"trajectory: sr4 dppm": `unknown method "dppm": known are daps, daps_langevin, ddim, ddnm, ddpm, diffpir, dps, dsg, gibbs, mcg, pathwise, pigdm`,
		"unet: plain-blocks":   "unet/plain-blocks/io.safetensors is missing",
	} {
		cases, err := golden.Cases(dir, golden.Options{Quick: true})
		require.NoError(t, err)
		found := slices.IndexFunc(cases, func(c computetest.Case) bool { return c.Group+": "+c.Name == name })
		require.GreaterOrEqual(t, found, 0, name)
		passed, failed, skipped := computetest.Run(context.Background(), device(t), cases[found:found+1], func(r computetest.Result) {
			assert.EqualError(t, r.Failure, says)
		})
		assert.Equal(t, [3]int{0, 1, 0}, [3]int{passed, failed, skipped}, name)
	}
}

// A file that ends too early is an error, of the list or of the case.
func TestTruncatedFiles(t *testing.T) {
	for _, file := range []string{"schedule.safetensors", "metrics.safetensors", "operators.safetensors", "information/sr4.safetensors", "trajectories/blur.safetensors"} {
		for _, keep := range []float64{0, 0.001, 0.5, 0.9999} {
			dir := part(t, file)
			data := dir[file].Data
			dir[file] = &fstest.MapFile{Data: data[:int(keep*float64(len(data)))]}
			_, err := golden.Cases(dir, golden.Options{})
			assert.ErrorContains(t, err, file, "%v of it", keep)
		}
	}
	whole := part(t, "unet/released-style")
	for _, file := range []string{"unet/released-style/io.safetensors", "unet/released-style/model.pt", "unet/released-style/config.json"} {
		dir := maps.Clone(whole)
		data := dir[file].Data
		dir[file] = &fstest.MapFile{Data: data[:len(data)/2]}
		cases, err := golden.Cases(dir, golden.Options{})
		if err != nil {
			assert.ErrorContains(t, err, file)
			continue
		}
		_, failed, _ := computetest.Run(context.Background(), device(t), cases, nil)
		assert.Equal(t, 5, failed, file)
	}
}

// closed is a folder whose files are there but may not be read.
type closed struct{ fs.FS }

func (c closed) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, ".safetensors") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return c.FS.Open(name)
}

// What can't be read is not taken for what isn't there.
func TestUnreadableFile(t *testing.T) {
	_, err := golden.Cases(closed{os.DirFS(folder)}, golden.Options{})
	assert.True(t, errors.Is(err, fs.ErrPermission), "%v", err)
}

// An interrupted run skips what is left.
func TestInterrupted(t *testing.T) {
	cases, err := golden.Cases(part(t, "schedule.safetensors"), golden.Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	passed, failed, skipped := computetest.Run(ctx, device(t), cases, func(computetest.Result) { cancel() })
	assert.Equal(t, [3]int{1, 0, len(cases) - 1}, [3]int{passed, failed, skipped})
}
