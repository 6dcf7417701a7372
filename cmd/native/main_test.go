package main

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

const face = "../../examples/faces/01.png"

// tool runs the command line and returns its exit code, output and errors.
func tool(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, args, &out, &errs)
	return code, out.String(), errs.String()
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o644))
	return path
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, data, 0o644))
}

func grey(t *testing.T, w, h int) string {
	t.Helper()
	m := image.NewGray(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = uint8(i * 7)
	}
	m.SetGray(w/2, h/2, color.Gray{255})
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, m))
	return writeFile(t, "grey.png", b.Bytes())
}

// Bad input gives one line that names what was found and what was wanted, exit
// code 2, and no output.
func TestBadInput(t *testing.T) {
	weights, err := os.ReadFile("../../testdata/golden/tiny16/model.pt")
	require.NoError(t, err)
	truncated := writeFile(t, "truncated.pt", weights[:len(weights)/2])
	hostile := writeFile(t, "hostile.pt", []byte("\x80\x02cos\nsystem\n(X\x04\x00\x00\x00echotR."))
	text := writeFile(t, "notes.txt", []byte("not a picture"))
	other := grey(t, 80, 60)
	measured := filepath.Join(t.TempDir(), "01.measurement.png")
	copyFile(t, face, measured)
	blocked := writeFile(t, "file", nil)
	headless := writeFile(t, "config.json", []byte(`{"num_head_channels": 48}`))
	heads := writeFile(t, "heads.json", []byte(`{"num_heads": 7}`))
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"unknown command", []string{"restor"}, []string{"restor"}},
		{"unknown flag", []string{"restore", face, "--tasks", "sr4"}, []string{"--tasks"}},
		{"no picture", []string{"restore"}, []string{"restore IN…"}},
		{"missing picture", []string{"restore", "none.png"}, []string{"none.png", "cmd/native"}},
		{"no whole number", []string{"restore", face, "--steps", "1e3"}, []string{`--steps "1e3": a whole number`}},
		{"no number", []string{"restore", face, "--sigma-y", "some"}, []string{`--sigma-y "some": a number, as 0.05`}},
		{"no value", []string{"restore", face, "--out", "x", "--seed"}, []string{"--seed wants a value"}},
		{"too many arguments", []string{"verify", "cpu"}, []string{"verify [flags]"}},
		{"two fits", []string{"restore", face, "--crop", "--resize"}, []string{"--resize and --crop: give one"}},
		{"empty standard input", []string{"restore", "-"}, []string{"stdin: empty"}},
		{"not a picture", []string{"restore", text}, []string{"notes.txt", "PNG"}},
		{"another size", []string{"restore", other}, []string{"80×60", "64×64", "--resize", "--crop"}},
		{"a folder", []string{"restore", t.TempDir()}, []string{"is a folder"}},
		{"size of a measurement", []string{"restore", face, "--measured"}, []string{"64×64", "sr4 is 16×16", "leave out --measured"}},
		{"unknown task", []string{"restore", face, "--task", "sharpen"}, []string{"sharpen", "sr4", "inpaint"}},
		{"unknown method", []string{"restore", face, "--method", "magic"}, []string{"magic", "dps"}},
		{"unknown device", []string{"restore", face, "--device", "abacus"}, []string{"abacus", "cpu"}},
		{"unknown schedule", []string{"restore", face, "--schedule", "spiral"}, []string{"spiral", "linear"}},
		{"too many steps", []string{"restore", face, "--steps", "1001"}, []string{"1001", "1000"}},
		{"no batch", []string{"restore", face, "--batch", "0"}, []string{"--batch", "0"}},
		{"no batch of samples", []string{"sample", "--batch", "-2"}, []string{"--batch", "-2"}},
		{"no steps", []string{"restore", face, "--steps", "0"}, []string{"0"}},
		{"no noise", []string{"restore", face, "--sigma-y", "-1"}, []string{"-1"}},
		{"one step", []string{"restore", face, "--steps", "1"}, []string{"--steps is 1", "timestep 0", "at least 2"}},
		{"without noise", []string{"restore", face, "--sigma-y", "0"}, []string{"--sigma-y is 0", "such as 0.005"}},
		{"evidence without directions", []string{"restore", face, "--method", "evidence", "--lanczos", "0"}, []string{"evidence", "0 Lanczos steps", "1 to 1000"}},
		{"noise to steer", []string{"restore", face, "--method", "dsg", "--ddim", "0"}, []string{"dsg", "eta 0", "above 0"}},
		{"eta of DDIM", []string{"restore", face, "--ddim", "3"}, []string{"3"}},
		{"unwritable output", []string{"restore", face, "--out", filepath.Join(blocked, "x")}, []string{"--out"}},
		{"truncated checkpoint", []string{"restore", face, "--prior", truncated}, []string{"truncated.pt"}},
		{"hostile checkpoint", []string{"info", hostile}, []string{"hostile.pt"}},
		{"a picture as a checkpoint", []string{"info", face}, []string{"01.png"}},
		{"wrong heads", []string{"restore", face, "--prior-config", headless}, []string{"heads", "48"}},
		{"heads that count for nothing", []string{"restore", face, "--prior-config", heads}, []string{"num_heads 7", "num_head_channels"}},
		{"term without cmi", []string{"restore", face, "--eta", "NaN"}, []string{"--eta NaN", "needs --cmi"}},
		{"term switched off", []string{"eval", "--cmi", "off", "--lanczos", "3"}, []string{"--lanczos 3", "needs --cmi"}},
		{"pathwise conditioning without directions", []string{"restore", face, "--method", "pathwise", "--lanczos", "0"}, []string{"pathwise", "0 Lanczos steps"}},
		{"published diffpir", []string{"restore", face, "--method", "diffpir", "--published"}, []string{"--published true would do nothing", "dps"}},
		{"limit of colourisation", []string{"restore", face, "--task", "colourise", "--dps-limit", "1"}, []string{"--dps-limit 1", "needs the method dps"}},
		{"DDIM of a step of its own", []string{"restore", face, "--method", "diffpir", "--ddim", "1"}, []string{"diffpir", "leave DDIM's eta out"}},
		{"singular values that are not known", []string{"restore", face, "--task", "motion", "--method", "ddnm"}, []string{"singular values of motion", "diffpir"}},
		{"the term of a state that is drawn anew", []string{"restore", face, "--method", "daps", "--cmi"}, []string{"daps", "information term", "leave the term out"}},
		{"pathwise conditioning of a nonlinear operator", []string{"restore", face, "--task", "phase", "--method", "pathwise"}, []string{"phase", "linear"}},
		{"a start above the model's training steps", []string{"restore", face, "--start", "1000"}, []string{"--start is 1000", "1 to 999"}},
		{"more steps than are left", []string{"restore", face, "--start", "20"}, []string{"--steps is 30", "only 21", "fewer"}},
		{"a start from what is not linear", []string{"restore", face, "--start", "400", "--task", "phase"}, []string{"phase", "pure noise"}},
		{"network's noise of diffpir", []string{"restore", face, "--method", "diffpir", "--network-noise", "2"}, []string{"--network-noise 2", "needs the method dps or"}},
		{"learned variance of dps", []string{"restore", face, "--learned-variance", "0.2"}, []string{"needs the method pigdm or diffpir"}},
		{"curvature of dps", []string{"restore", face, "--curvature", "1"}, []string{"needs the method pigdm or evidence"}},
		{"one sample in the demo", []string{"demo", "--samples", "1"}, []string{"--samples is 1", "2 to"}},
		{"demo's photograph", []string{"demo", "--steps", "2", "--samples", "2", "--photo", "missing.jpg"}, []string{"missing.jpg"}},
		{"border of no kernel", []string{"restore", face, "--border", "foo"}, []string{"needs --task kernel"}},
		{"rate of no noise", []string{"restore", face, "--rate", "NaN"}, []string{"needs --noise poisson"}},
		{"eta that is no number", []string{"restore", face, "--cmi", "--eta", "NaN"}, []string{"NaN"}},
		{"rate that is no number", []string{"restore", face, "--noise", "poisson", "--rate", "NaN"}, []string{"NaN"}},
		{"negative first step", []string{"restore", face, "--cmi", "--first-step", "-7"}, []string{"-7"}},
		{"curvature that is no number", []string{"restore", face, "--method", "pigdm", "--curvature", "NaN"}, []string{"NaN"}},
		{"missing config", []string{"restore", face, "--prior-config", "none.json"}, []string{"none.json"}},
		{"mask without task", []string{"restore", face, "--mask", other}, []string{"would do nothing: --task sr4 has no mask"}},
		{"kernel without task", []string{"restore", face, "--kernel", other}, []string{"would do nothing: --task sr4 has no kernel"}},
		{"unknown noise", []string{"restore", face, "--noise", "salt"}, []string{"salt", "poisson"}},
		{"CMI of a nonlinear operator", []string{"restore", face, "--task", "phase", "--cmi"}, []string{"phase", "linear"}},
		{"a method for linear operators", []string{"restore", face, "--task", "phase", "--method", "pigdm"}, []string{"phase", "linear"}},
		{"a measurement that is no picture", []string{"restore", face, "--task", "phase", "--measured"}, []string{"phase", "an array (.npy) of shape [3 96 96]"}},
		{"range of no array", []string{"restore", face, "--range", "0,1"}, []string{"--range [0", "an array (.npy)"}},
		{"a range of one number", []string{"restore", face, "--range", "1"}, []string{"--range is [1]", "0,255"}},
		{"a range of nothing", []string{"restore", face, "--range", "1,1"}, []string{"two different numbers"}},
		{"no first image", []string{"restore", face, "--first-image", "0"}, []string{"--first-image is 0"}},
		{"unknown format", []string{"restore", face, "--format", "jpeg"}, []string{"jpeg", "png16, tiff"}},
		{"even kernel", []string{"restore", face, "--task", "kernel", "--kernel", other}, []string{"80", "60", "odd"}},
		{"same names", []string{"restore", face, "../../testdata/faces/01.png"}, []string{"01.png", "rename"}},
		{"no probes", []string{"restore", face, "--cmi", "--probes", "0"}, []string{"probes"}},
		{"unknown weighting", []string{"restore", face, "--cmi", "--weighting", "gamma"}, []string{"gamma", "beta"}},
		{"window", []string{"restore", face, "--cmi", "--window-from", "0.9", "--window-to", "0.1"}, []string{"0.9", "0.1"}},
		{"a result under the name of another", []string{"restore", face, measured}, []string{"01.png", measured, "rename"}},
		{"too many probes", []string{"restore", face, "--cmi", "--probes", "1000000000"}, []string{"1000000000 probes", "10000"}},
		{"eta of DDIM that is no number", []string{"restore", face, "--ddim", "NaN"}, []string{"--ddim is NaN"}},
		{"DDIM without bound", []string{"sample", "--ddim=-Inf"}, []string{"--ddim is -Inf"}},
		{"scale that is no number", []string{"restore", face, "--scale", "NaN"}, []string{"--scale is NaN"}},
		{"scale without bound", []string{"restore", face, "--scale", "Inf"}, []string{"--scale is +Inf"}},
		{"negative scale", []string{"restore", face, "--scale", "-1"}, []string{"--scale is -1"}},
		{"curvature that is no number", []string{"restore", face, "--method", "evidence", "--curvature", "NaN"}, []string{"--curvature is NaN"}},
		{"no faces", []string{"demo", "--faces", "0"}, []string{"0"}},
		{"demo's device", []string{"demo", "--device", "abacus"}, []string{"abacus", "cpu"}},
		{"demo's eta of DDIM", []string{"demo", "--ddim", "3"}, []string{"--ddim is 3"}},
		{"demo's prior", []string{"demo", "--prior", "missing.pt"}, []string{"missing.pt"}},
		{"demo's noise", []string{"demo", "--sigma-y", "0"}, []string{"--sigma-y is 0"}},
		{"the second device", []string{"verify", "--quick", "--device", "cpu,abacus"}, []string{"abacus", "cpu"}},
		{"too many samples", []string{"sample", "--count", "1000000000000", "--steps", "2"}, []string{"--count is 1000000000000", "1000000"}},
		{"too many of a mixture", []string{"mixture", "--problems", "2", "--samples", "1000000000000"}, []string{"--samples is 1000000000000", "100000"}},
		{"too many rounds", []string{"bench", "--rounds", "1000000000000"}, []string{"--rounds 1000000000000"}},
		{"no samples", []string{"sample", "--count", "0"}, []string{"--count"}},
		{"golden folder", []string{"verify", "--golden", "none"}, []string{"none"}},
		{"empty golden folder", []string{"verify", "--golden", t.TempDir()}, []string{"golden"}},
		{"full without golden", []string{"verify", "--full"}, []string{"--golden"}},
		{"too many faces", []string{"demo", "--faces", "99"}, []string{"99", "8"}},
		{"mixture", []string{"mixture", "--problems", "1"}, []string{"--problems is 1, 2 to 100000"}},
		{"mixture table", []string{"mixture", "--table", "9"}, []string{"9", "1 to 4"}},
		{"bench", []string{"bench", "--rounds", "0"}, []string{"--rounds"}},
		{"bench what", []string{"bench", "--only", "VJP,all"}, []string{"--only all", "VJP, JVP, jet"}},
		{"bench shapes", []string{"bench", "--shapes", "lsun"}, []string{"--shapes lsun", "ffhq, imagenet"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			args := c.args
			if (args[0] == "restore" || args[0] == "demo" || args[0] == "sample") && !strings.Contains(strings.Join(args, " "), "--out") {
				args = append(args, "--out", out)
			}
			code, stdout, stderr := tool(context.Background(), args...)
			assert.Equal(t, exitUsage, code, stderr)
			assert.Empty(t, stdout)
			assert.Equal(t, 1, strings.Count(stderr, "\n"), "one line: %q", stderr)
			for _, w := range c.want {
				assert.Contains(t, stderr, w)
			}
			assert.NoDirExists(t, out)
		})
	}
}

// More than the machine's memory is refused before any work, with the batch that fits.
func TestTooLarge(t *testing.T) {
	if compute.HostMemory() == 0 {
		t.Skip("this system does not say how much memory is free")
	}
	out := filepath.Join(t.TempDir(), "out")
	for _, args := range [][]string{
		{"sample", "--count", "1000000", "--batch", "1000000", "--steps", "2", "--out", out},
		{"bench", "--only", "forward", "--rounds", "1", "--batch", "1000000"},
		{"bench", "--convs", "--rounds", "1", "--batch", "1000000"},
	} {
		code, stdout, stderr := tool(context.Background(), args...)
		assert.Equal(t, exitUsage, code)
		assert.Empty(t, stdout)
		assert.Regexp(t, `^cmi-native: .*1000000 needs \d+ MiB of memory on .*, \d+ MiB are free: a batch of \d+ would fit: out of device memory.*\n$`, stderr)
	}
	assert.NoDirExists(t, out)
}

// No file that restore reads is overwritten, nor through a link.
func TestRestoreKeepsItsInput(t *testing.T) {
	dir := t.TempDir()
	mine, link := filepath.Join(dir, "mine.png"), filepath.Join(dir, "link.png")
	copyFile(t, face, mine)
	for _, args := range [][]string{
		{mine},
		{face, "--task", "mask", "--mask", filepath.Join(dir, "01.png")},
		{face, "--task", "kernel", "--kernel", filepath.Join(dir, "01.npy"), "--npy"},
		{link},
	} {
		input := args[len(args)-1]
		if input == "--npy" {
			input = args[len(args)-2]
		}
		out := dir
		if input == link {
			require.NoError(t, os.Symlink(mine, link))
			out = filepath.Join(dir, "other")
			require.NoError(t, os.Mkdir(out, 0o755))
			require.NoError(t, os.Symlink(mine, filepath.Join(out, "link.png")))
		} else {
			copyFile(t, face, input)
		}
		code, _, stderr := tool(context.Background(), append([]string{"restore", "--steps", "2", "--out", out}, args...)...)
		assert.Equal(t, exitUsage, code)
		assert.Equal(t, "cmi-native: "+input+" would be overwritten: name another --out\n", stderr)
		same, err := os.ReadFile(input)
		require.NoError(t, err)
		want, err := os.ReadFile(face)
		require.NoError(t, err)
		assert.Equal(t, want, same)
	}
}

func TestRestoreWritesPictures(t *testing.T) {
	out := t.TempDir()
	code, stdout, stderr := tool(context.Background(), "restore", face, "--task", "box", "--cmi", "--window-from", "0", "--steps", "3", "--out", out, "--npy", "--diagnostics")
	require.Zero(t, code, stderr)
	assert.Contains(t, stdout, "restored.png")
	for name, side := range map[string]int{"01.png": 64, "01.measurement.png": 64} {
		p, err := picture.Open(filepath.Join(out, name))
		require.NoError(t, err)
		assert.Equal(t, [3]int{3, side, side}, [3]int{p.C, p.H, p.W}, name)
	}
	lines, err := os.ReadFile(filepath.Join(out, "steps.jsonl"))
	require.NoError(t, err)
	var step struct {
		Step, Passes int
		Information  *float64 `json:"information_nats"`
	}
	all := strings.Split(strings.TrimSpace(string(lines)), "\n")
	require.Len(t, all, 3)
	require.NoError(t, json.Unmarshal([]byte(all[2]), &step))
	assert.Equal(t, 3*5, step.Passes, "3 + K for each step, K = 2")
	assert.NotNil(t, step.Information)
	npy, err := os.ReadFile(filepath.Join(out, "01.npy"))
	require.NoError(t, err)
	assert.True(t, bytes.HasPrefix(npy, []byte("\x93NUMPY")) && len(npy) > 4*3*64*64)
}

// The same seed gives the same picture; another seed another.
func TestSeed(t *testing.T) {
	restored := func(seed string) []byte {
		out := t.TempDir()
		code, _, stderr := tool(context.Background(), "restore", face, "--steps", "2", "--seed", seed, "--out", out)
		require.Zero(t, code, stderr)
		data, err := os.ReadFile(filepath.Join(out, "01.png"))
		require.NoError(t, err)
		return data
	}
	first := restored("7")
	assert.Equal(t, first, restored("7"))
	assert.NotEqual(t, first, restored("8"))
}

// A measurement of the user's own: a small picture made large, a picture with holes.
// A picture does not depend on the batch it is restored in, nor do its diagnostics.
func TestBatch(t *testing.T) {
	faces := []string{face, "../../examples/faces/02.png", "../../examples/faces/03.png"}
	var want [2]map[string]string
	for k, size := range []string{"1", "2"} {
		out := t.TempDir()
		args := append([]string{"restore", "--task", "inpaint", "--cmi", "--steps", "3", "--npy", "--diagnostics", "--batch", size, "--out", out}, faces...)
		require.Zero(t, run(context.Background(), args, io.Discard, io.Discard))
		want[k] = map[string]string{}
		for _, name := range []string{"01.npy", "02.npy", "03.npy", "02.measurement.png", "steps.jsonl"} {
			data, err := os.ReadFile(filepath.Join(out, name))
			require.NoError(t, err)
			lines := strings.Split(string(data), "\n")
			if name == "steps.jsonl" {
				sort.Strings(lines) // image after image, or step after step
			}
			want[k][name] = strings.Join(lines, "\n")
		}
	}
	assert.Equal(t, want[0], want[1])
}

func TestMeasured(t *testing.T) {
	out := t.TempDir()
	code, _, stderr := tool(context.Background(), "restore", grey(t, 16, 16), "--task", "sr4", "--measured", "--steps", "2", "--out", out)
	require.Zero(t, code, stderr)
	p, err := picture.Open(filepath.Join(out, "grey.png"))
	require.NoError(t, err)
	assert.Equal(t, 64, p.W)

	for _, more := range [][]string{{"--task", "phase"}, {"--noise", "poisson", "--method", "dps+"}, {"--task", "motion", "--method", "evidence", "--curvature", "1", "--cmi", "--window-from", "0"}} {
		code, _, stderr = tool(context.Background(), append([]string{"restore", face, "--steps", "2", "--force", "--out", out}, more...)...)
		require.Zero(t, code, stderr)
	}
	code, _, stderr = tool(context.Background(), "restore", face, "--task", "kernel", "--kernel", grey(t, 5, 5), "--border", "circular", "--steps", "2", "--force", "--out", out)
	require.Zero(t, code, stderr)
}

// A task that draws its mask or kernel writes it beside the measurement, and takes it back;
// without it, a measurement would be restored with another one.
func TestMeasuredByADrawnOperator(t *testing.T) {
	run := func(more ...string) (int, string) {
		code, _, stderr := tool(context.Background(), append([]string{"restore", "--steps", "2"}, more...)...)
		return code, stderr
	}
	for task, input := range map[string]string{"inpaint": "mask", "box": "mask", "motion": "kernel"} {
		out := t.TempDir()
		code, stderr := run(face, "--task", task, "--out", out)
		require.Zero(t, code, stderr)
		measured := filepath.Join(out, "01.measurement.png")
		file := filepath.Join(out, map[string]string{"mask": "01.mask.png", "kernel": "01.kernel.npy"}[input])
		code, stderr = run(measured, "--task", task, "--measured", "--out", t.TempDir())
		assert.Equal(t, exitUsage, code, task)
		assert.Contains(t, stderr, "--measured needs --"+input+" FILE, the "+input+" that made the pictures", task)
		for _, name := range []string{task, input} {
			again := t.TempDir()
			code, stderr = run(measured, "--task", name, "--measured", "--"+input, file, "--out", again)
			require.Zero(t, code, stderr)
			same, err := os.ReadFile(filepath.Join(again, "01.measurement."+filepath.Base(file)[3:]))
			require.NoError(t, err)
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(want, same), "%s: the %s is written as it was read", name, input)
		}
		if input == "mask" {
			code, stderr = run(measured, "--task", "mask", "--measured", "--mask", file, "--invert-mask", "--out", t.TempDir())
			assert.Equal(t, exitUsage, code, task)
			assert.Contains(t, stderr, "all pixels that the mask calls known are of one colour: is the mask inverted?", task)
			// A folder has a mask for each picture.
			require.NoError(t, os.Rename(file, filepath.Join(out, "01.measurement.png.tmp")))
			masks := t.TempDir()
			require.NoError(t, os.Rename(filepath.Join(out, "01.measurement.png.tmp"), filepath.Join(masks, "01.measurement.png")))
			code, stderr = run(measured, "--task", "mask", "--measured", "--mask", masks, "--out", t.TempDir())
			require.Zero(t, code, stderr)
			code, stderr = run(face, "--task", "mask", "--mask", masks, "--out", t.TempDir())
			assert.Equal(t, exitUsage, code)
			assert.Contains(t, stderr, "has no mask 01")
		}
	}
}

// Ctrl-C stops within a step, exits 130 and keeps the pictures that are finished.
func TestInterrupt(t *testing.T) {
	out := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for { // as soon as the first of two pictures is there
			if _, err := os.Stat(filepath.Join(out, "01.png")); err == nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	code, _, stderr := tool(ctx, "restore", face, "../../examples/faces/02.png", "--steps", "100", "--out", out)
	assert.Equal(t, exitInterrupted, code, stderr)
	assert.FileExists(t, filepath.Join(out, "01.png"))
	assert.NoFileExists(t, filepath.Join(out, "02.png"))
}

// What a checkpoint does not tell is said, by info and once when it is loaded; what it
// tells is not assumed; info refuses what restore refuses.
func TestAssumed(t *testing.T) {
	const tiny = "../../testdata/golden/tiny16/"
	_, stdout, stderr := tool(t.Context(), "info", tiny+"model.pt", "--prior-config", tiny+"config.json")
	assert.Empty(t, stderr)
	assert.Contains(t, stdout, "16×16 pixels of 3 channels")
	assert.Contains(t, stdout, "assumed, because the checkpoint does not tell: noise_schedule linear, diffusion_steps 1000 (")
	_, stdout, _ = tool(t.Context(), "info", "faces64")
	assert.NotContains(t, stdout, "assumed")

	args := []string{"sample", "--prior", tiny + "model.pt", "--steps", "2", "--batch", "1", "--count", "2"}
	code, _, stderr := tool(t.Context(), append(args, "--prior-config", tiny+"config.json", "--out", t.TempDir())...)
	assert.Zero(t, code, stderr)
	assert.Equal(t, 1, strings.Count(stderr, "assumed"), stderr)

	cosine := writeFile(t, "cosine.json", []byte(`{"num_head_channels": 32, "noise_schedule": "cosine", "diffusion_steps": 4000}`))
	code, _, stderr = tool(t.Context(), append(args, "--prior-config", cosine, "--schedule", "linear", "--out", t.TempDir())...)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "--schedule is linear, but the model was trained with the schedule cosine")
	for _, schedule := range []string{"cosine", "auto"} {
		code, _, stderr = tool(t.Context(), append(args, "--prior-config", cosine, "--schedule", schedule, "--out", t.TempDir())...)
		assert.Zero(t, code, stderr)
	}

	for _, command := range []string{"info", "sample"} {
		bad := []string{command, tiny + "model.pt"}
		if command == "sample" {
			bad = []string{command, "--prior", tiny + "model.pt", "--out", filepath.Join(t.TempDir(), "x")}
		}
		code, _, stderr = tool(t.Context(), append(bad, "--prior-config", writeFile(t, "c.json", []byte(`{"num_res_blocks": 2}`)))...)
		assert.NotZero(t, code, command)
		assert.Contains(t, stderr, "input_blocks.3.0.in_layers.2.weight", command)
	}
	code, _, stderr = tool(t.Context(), "info", tiny+"model.pt", "--prior-key", "emma")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, `no weights under the key "emma"`)
}

func TestInfoAndSampleAndDemo(t *testing.T) {
	code, stdout, _ := tool(context.Background(), "info", "faces64")
	assert.Zero(t, code)
	assert.Contains(t, stdout, "3370246 parameters")
	assert.Contains(t, stdout, "64×64 pixels")
	code, stdout, _ = tool(context.Background(), "info")
	assert.Zero(t, code)
	assert.Contains(t, stdout, "cpu")

	out := t.TempDir()
	code, _, stderr := tool(context.Background(), "sample", "--count", "2", "--steps", "2", "--ddim", "0", "--out", out)
	require.Zero(t, code, stderr)
	assert.FileExists(t, filepath.Join(out, "samples.png"))
	code, stdout, stderr = tool(context.Background(), "demo", "--faces", "1", "--samples", "2", "--steps", "2", "--out", out)
	require.Zero(t, code, stderr)
	assert.Regexp(t, `(?m)^task .*\n(?:\w+ +(?:[\d.]+ dB +[\d.]+ +[a-z-]* *){3}[\d.]+\n){5}`, stdout, "four tasks of a face and a photograph")
	var made manifest
	text, err := os.ReadFile(filepath.Join(out, "demo.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &made))
	assert.Equal(t, []string{"demo", version(), "2"}, []string{made.Command, made.Version, made.Options["steps"]})
	assert.Contains(t, made.Results, "demo.png")
	assert.Empty(t, made.differing(out))
}

// verify fails when a vector is wrong, and says so in its exit code and last line.
func TestVerify(t *testing.T) {
	code, stdout, stderr := tool(context.Background(), "verify", "--quick")
	assert.Zero(t, code, stderr)
	last := strings.Split(strings.TrimSpace(stdout), "\n")
	assert.Regexp(t, `^\d+ passed, 0 failed, \d+ skipped$`, last[len(last)-1])

	folder := t.TempDir()
	data, err := os.ReadFile("../../testdata/golden/schedule.safetensors")
	require.NoError(t, err)
	data[len(data)-1] ^= 0x10 // an exponent bit of the last value
	require.NoError(t, os.WriteFile(filepath.Join(folder, "schedule.safetensors"), data, 0o644))
	code, stdout, _ = tool(context.Background(), "verify", "--quick", "--golden", folder, "--json")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stdout, `"status":"FAIL"`)
}

// Priors in other libraries' formats: info says what they are, restore takes them with their own
// schedule, and a class-conditional one wants a class.
func TestFormats(t *testing.T) {
	const formats = "../../testdata/golden/formats/"
	for name, says := range map[string]string{
		"diffusers-grey/model": "UNet2DModel of diffusers: 16×16 pixels of 1 channels", "ddpm-layout/model.ckpt": "UNet of DDPM's PyTorch port",
		"edm-ncsnpp/model.pkl": "EDM's SongUNet: 16×16 pixels of 3 channels",
	} {
		_, stdout, stderr := tool(t.Context(), "info", formats+name)
		assert.Empty(t, stderr)
		assert.Contains(t, stdout, says)
	}
	restore := func(prior string, more ...string) (int, string) {
		out := t.TempDir()
		code, _, stderr := tool(t.Context(), append([]string{"restore", face, "--crop", "--steps", "2", "--task", "sr2", "--out", out, "--prior", formats + prior}, more...)...)
		if code == 0 {
			assert.FileExists(t, filepath.Join(out, "01.png"))
		}
		return code, stderr
	}
	for _, prior := range []string{"diffusers-grey/model", "edm-ddpmpp/model.pkl"} {
		code, stderr := restore(prior)
		assert.Zero(t, code, stderr)
	}
	const classes = "diffusers-x0-classes/model"
	_, stderr := restore(classes)
	assert.Contains(t, stderr, "choose what the picture shows by --class 0 … 4")
	_, stderr = restore(classes, "--class", "5")
	assert.Contains(t, stderr, "has the classes 0 … 4")
	code, stderr := restore(classes, "--class", "4")
	assert.Zero(t, code, stderr)
	_, stderr = restore("diffusers-grey/model", "--class", "0")
	assert.Contains(t, stderr, "knows no classes")
}

// The version names the commit that make built, once, and says that files were changed.
func TestVersion(t *testing.T) {
	t.Cleanup(func() { commit = "" })
	commit = "0123456789ab-dirty"
	assert.Contains(t, version(), " 0123456789ab-dirty, go")
	code, stdout, _ := tool(t.Context(), "--version")
	assert.Zero(t, code)
	assert.Equal(t, "cmi-native version "+version()+"\n", stdout)
	info, ok := debug.ReadBuildInfo()
	require.True(t, ok)
	commit = info.Main.Version // as if Go had stamped it
	assert.Equal(t, 1, strings.Count(version(), commit))
}
