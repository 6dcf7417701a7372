//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package main

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/drivertest"
)

// onWebGPU returns the command line of a restoration by a small network, 30 steps with
// the information term.
func onWebGPU(t *testing.T, out string, more ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	const folder = "../../testdata/golden/tiny16/"
	c := exec.Command(self, append([]string{"restore", face, "--resize", "--prior", folder + "model.pt", "--prior-config", folder + "config.json",
		"--cmi", "--steps", "30", "--device", "webgpu", "--npy", "--diagnostics", "--out", out}, more...)...)
	c.Env = append(os.Environ(), asTool+"=1")
	return c
}

func results(t *testing.T, out string) (picture, steps []byte) {
	t.Helper()
	picture, err := os.ReadFile(filepath.Join(out, "01.npy"))
	require.NoError(t, err)
	steps, err = os.ReadFile(filepath.Join(out, "steps.jsonl"))
	require.NoError(t, err)
	return picture, steps
}

// npyPSNR returns the PSNR in dB of two files of float32 on [−1, 1].
func npyPSNR(t *testing.T, a, b []byte) float64 {
	t.Helper()
	require.Len(t, b, len(a))
	from := 10 + int(binary.LittleEndian.Uint16(a[8:]))
	sum := 0.0
	for i := from; i < len(a); i += 4 {
		x, y := math.Float32frombits(binary.LittleEndian.Uint32(a[i:])), math.Float32frombits(binary.LittleEndian.Uint32(b[i:]))
		sum += math.Pow(float64(x-y)/2, 2)
	}
	return -10 * math.Log10(sum/float64((len(a)-from)/4))
}

// killed runs a command and kills the processes that it starts whenever kill says
// so, given the lines of a file that it writes.
func killed(t *testing.T, c *exec.Cmd, file string, kill func(lines int) bool) (stderr string) {
	t.Helper()
	var errs bytes.Buffer
	c.Stderr = &errs
	require.NoError(t, c.Start())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	deadline := time.After(2 * time.Minute)
	for {
		select {
		case err := <-ended:
			require.NoError(t, err, errs.String())
			return errs.String()
		case <-deadline:
			_ = c.Process.Kill()
			require.Fail(t, "the run does not end", errs.String())
		case <-time.After(time.Millisecond):
			lines, _ := os.ReadFile(file)
			if pids := drivertest.Children(c.Process.Pid); len(pids) > 0 && kill(bytes.Count(lines, []byte("\n"))) {
				driver, err := os.FindProcess(pids[0])
				require.NoError(t, err)
				_ = driver.Kill() // it may have ended by itself
			}
		}
	}
}

// SIGKILL of the driver's process in mid-run, twice: the run goes on, with the same
// steps and the same picture to the byte. Killed whenever it is there, the run goes to
// the processor, where that is allowed.
func TestDriverKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the driver's process is found in /proc, which", runtime.GOOS, "has not")
	}
	calm := filepath.Join(t.TempDir(), "calm")
	if text, err := onWebGPU(t, calm).CombinedOutput(); err != nil {
		require.Contains(t, string(text), "no WebGPU adapter")
		t.Skip(string(text))
	}
	wantPicture, wantSteps := results(t, calm)

	out := filepath.Join(t.TempDir(), "killed")
	at := []int{4, 17}
	stderr := killed(t, onWebGPU(t, out), filepath.Join(out, "steps.jsonl"), func(steps int) bool {
		if len(at) == 0 || steps < at[0] {
			return false
		}
		at = at[1:]
		return true
	})
	picture, steps := results(t, out)
	assert.Empty(t, at, "killed twice")
	assert.Equal(t, 2, bytes.Count([]byte(stderr), []byte("going on from the last step on webgpu")), stderr)
	assert.True(t, bytes.Equal(wantPicture, picture), "the same picture")
	assert.Equal(t, string(wantSteps), string(steps))

	out = filepath.Join(t.TempDir(), "fallback")
	stderr = killed(t, onWebGPU(t, out, "--fallback", "cpu"), filepath.Join(out, "steps.jsonl"), func(steps int) bool { return steps > 3 })
	picture, _ = results(t, out)
	assert.Contains(t, stderr, "on cpu")
	processor := filepath.Join(t.TempDir(), "cpu")
	text, err := onWebGPU(t, processor, "--device", "cpu").CombinedOutput()
	require.NoError(t, err, string(text))
	fromProcessor, _ := results(t, processor)
	db := npyPSNR(t, fromProcessor, picture)
	t.Logf("PSNR to the processor's picture: %.0f dB", db)
	assert.Greater(t, db, 60.0)
}

// The same seed gives the picture of the processor: after 100 steps of DPS on the
// embedded prior, with all that happens on the device.
func TestSamePicture(t *testing.T) {
	if testing.Short() {
		t.Skip("minutes on a software adapter")
	}
	var pictures [2][]byte
	for i, device := range []string{"cpu", "webgpu"} {
		self, err := os.Executable()
		require.NoError(t, err)
		out := t.TempDir()
		c := exec.Command(self, "restore", face, "--task", "sr4", "--steps", "100", "--device", device, "--npy", "--out", out)
		c.Env = append(os.Environ(), asTool+"=1")
		text, err := c.CombinedOutput()
		if err != nil && strings.Contains(string(text), "no WebGPU adapter") {
			t.Skip(string(text))
		}
		require.NoError(t, err, string(text))
		pictures[i], err = os.ReadFile(filepath.Join(out, "01.npy"))
		require.NoError(t, err)
	}
	db := npyPSNR(t, pictures[0], pictures[1])
	t.Logf("PSNR to the processor's picture after 100 steps: %.1f dB", db)
	assert.GreaterOrEqual(t, db, 60.0)
}

// Results of trials are kept for the next process, which adds none.
func TestWebGPUTrials(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "cache")
	kept := func() (text string) {
		self, err := os.Executable()
		require.NoError(t, err)
		faces, err := filepath.Glob("../../examples/faces/0[1-4].png")
		require.NoError(t, err)
		c := exec.Command(self, append([]string{"restore", "--steps", "2", "--batch", "4", "--device", "webgpu", "--out", t.TempDir()}, faces...)...)
		c.Env = append(os.Environ(), asTool+"=1", "CMI_CACHE="+cache)
		if text, err := c.CombinedOutput(); err != nil {
			require.Contains(t, string(text), "no WebGPU adapter")
			t.Skip(string(text))
		}
		files, err := os.ReadDir(cache)
		require.NoError(t, err)
		require.Len(t, files, 1)
		got, err := os.ReadFile(filepath.Join(cache, files[0].Name()))
		require.NoError(t, err)
		return string(got)
	}
	first := kept()
	assert.Contains(t, first, "1×1")
	assert.Equal(t, first, kept())
}

// A bound that the user sets is kept, and a batch that it can't hold is refused at once,
// with the batch that it can.
func TestWebGPUMemory(t *testing.T) {
	faces, err := filepath.Glob("../../examples/faces/0[12].png")
	require.NoError(t, err)
	restore := func(memory string) (string, error) {
		self, err := os.Executable()
		require.NoError(t, err)
		c := exec.Command(self, append([]string{"restore", "--method", "dps", "--steps", "2", "--batch", "2", "--device", "webgpu:" + memory, "--out", t.TempDir()}, faces...)...)
		c.Env = append(os.Environ(), asTool+"=1")
		text, err := c.CombinedOutput()
		if strings.Contains(string(text), "no WebGPU adapter") {
			t.Skip(string(text))
		}
		return string(text), err
	}
	text, err := restore("95MB")
	require.Error(t, err)
	assert.Equal(t, 1, strings.Count(text, "\n"), text)
	assert.Regexp(t, `^cmi-native: a batch of 2 needs \d+ MiB of memory on webgpu, \d+ MiB are free: a batch of 1 would fit: out of device memory.*\n$`, text)
	text, err = restore("1GB")
	require.NoError(t, err, text)
}

// SIGKILL of the driver's process in mid-experiment, twice: the same bytes as without.
func TestDriverKilledInEval(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the driver's process is found in /proc, which", runtime.GOOS, "has not")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	eval := func(out string) *exec.Cmd {
		c := exec.Command(self, "eval", "--limit", "2", "--steps", "3", "--tasks", "sr4", "--methods", "dps", "--device", "webgpu", "--out", out)
		c.Env = append(os.Environ(), asTool+"=1")
		return c
	}
	calm := filepath.Join(t.TempDir(), "calm")
	if text, err := eval(calm).CombinedOutput(); err != nil {
		require.Contains(t, string(text), "no WebGPU adapter")
		t.Skip(string(text))
	}
	out, at := filepath.Join(t.TempDir(), "killed"), []int{1, 3}
	stderr := killed(t, eval(out), filepath.Join(out, "results.jsonl"), func(lines int) bool {
		if len(at) == 0 || lines < at[0] {
			return false
		}
		at = at[1:]
		return true
	})
	assert.Empty(t, at, "killed twice")
	assert.Equal(t, 2, strings.Count(stderr, "going on from the last step on webgpu"), stderr)
	sameResults(t, evalTree(t, calm), out)
}
