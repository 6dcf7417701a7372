package main

import (
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Shards that overlap, are killed with signal 9 and go on, merge into what one machine makes.
func TestEvalShards(t *testing.T) {
	whole, root := t.TempDir(), t.TempDir()
	code, stdout, stderr := tool(context.Background(), tiny(whole)...)
	require.Zero(t, code, stderr)
	want := evalTree(t, whole)
	self, err := os.Executable()
	require.NoError(t, err)
	a, b := filepath.Join(root, "a"), filepath.Join(root, "b")
	var all sync.WaitGroup
	for _, shard := range [][2]string{{a, "1/2"}, {a, "2/2"}, {b, "1/3"}} {
		all.Go(func() {
			for life := range 3 {
				c := exec.Command(self, tiny(shard[0], "--shard", shard[1], "--checkpoint", "1", "--lease", "500ms", "--quiet")...)
				c.Env = append(os.Environ(), asTool+"=1")
				if !assert.NoError(t, c.Start()) {
					return
				}
				if life < 2 {
					time.Sleep(time.Duration(rand.IntN(3000)) * time.Millisecond)
					_ = c.Process.Kill()
				}
				err := c.Wait()
				assert.True(t, err == nil || life < 2, "%v: %v", shard, err)
			}
		})
	}
	all.Wait()
	out := filepath.Join(root, "merged")
	code, merged, stderr := tool(context.Background(), "merge", a, b, "--out", out)
	require.Zero(t, code, stderr)
	sameResults(t, want, out)
	assert.Equal(t, strings.Replace(stdout, whole, out, 2), merged)
	code, _, stderr = tool(context.Background(), tiny(out)...) // one machine goes on with it
	require.Zero(t, code, stderr)
	sameResults(t, want, out)

	// What is missing is said, and other settings are refused.
	code, _, stderr = tool(context.Background(), "merge", b, "--out", filepath.Join(root, "other"))
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "10 of 16 results are missing, the first: ")
	code, _, stderr = tool(context.Background(), tiny(a, "--shard", "1/2", "--seed", "2")...)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "setting --seed is 1 there and 2 here")
}

// A shard that is told to stop keeps the state of the picture in hand, and the log of JSON says
// what befell each job.
func TestEvalShardStopped(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	args := tiny(dir, "--shard", "0/16", "--steps", "20", "--log", "json", "--lease", "1h", "--checkpoint", "1") // of one job
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			if states, _ := filepath.Glob(filepath.Join(dir, "work/*/*/*.state")); len(states) > 0 {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	code, _, stderr := tool(ctx, args...)
	require.Equal(t, exitInterrupted, code, stderr)
	states, err := filepath.Glob(filepath.Join(dir, "work/*/*/*.state"))
	require.NoError(t, err)
	require.Len(t, states, 1)
	code, stdout, stderr := tool(context.Background(), args...)
	require.Zero(t, code, stderr)
	assert.Contains(t, stdout, "part 16/16 is finished: 1 results in "+dir)
	var events []string
	for text := range strings.Lines(stderr) {
		var l line
		require.NoError(t, json.Unmarshal([]byte(text), &l), text)
		if l.Event != "" {
			events = append(events, l.Event)
			assert.Equal(t, "sr4 pigdm+cmi 02", l.Job)
			assert.Positive(t, l.Step)
		}
	}
	require.NotEmpty(t, events)
	assert.Equal(t, []string{"resume", "checkpoint", "finish"}, slices.Compact(events))
}

func TestEvalShardBadInput(t *testing.T) {
	for name, c := range map[string]struct{ args, want []string }{
		"no part":       {[]string{"--shard", "third"}, []string{`--shard is "third"`, "I/N"}},
		"more":          {[]string{"--shard", "1/2/3"}, []string{`--shard is "1/2/3"`}},
		"of none":       {[]string{"--shard", "0/0"}, []string{"part 0 of 0"}},
		"beyond":        {[]string{"--shard", "3/2"}, []string{"part 3 of 2"}},
		"lease":         {[]string{"--shard", "1/2", "--lease", "1ms"}, []string{"--lease is 1ms"}},
		"lease alone":   {[]string{"--lease", "1m"}, []string{"--lease 1m0s would do nothing", "--shard"}},
		"checkpoint":    {[]string{"--shard", "1/2", "--checkpoint", "-1"}, []string{"--checkpoint is -1"}},
		"metrics alone": {[]string{"--metrics", "localhost:0"}, []string{"--metrics localhost:0 would do nothing"}},
		"nodes":         {[]string{"--nodes", "3"}, []string{"--nodes 3 would do nothing"}},
		"report":        {[]string{"--shard", "1/2", "--report-only"}, []string{"merge"}},
		"estimate":      {[]string{"--shard", "1/2", "--estimate"}, []string{"--estimate"}},
		"other devices": {[]string{"--shard", "1/2", "--fallback", "cpu"}, []string{"--fallback cpu", "mix"}},
	} {
		t.Run(name, func(t *testing.T) { refusedByEval(t, c.args, c.want) })
	}
	code, _, stderr := tool(context.Background(), "merge", t.TempDir(), "--out", filepath.Join(t.TempDir(), "out"))
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "there is no run.json, which eval --shard writes")
}

// --status counts, --metrics answers on this machine alone, --estimate knows nodes and disks.
func TestEvalOperation(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	code, _, stderr := tool(context.Background(), tiny(dir, "--shard", "1/4", "--quiet")...)
	require.Zero(t, code, stderr)
	code, stdout, stderr := tool(context.Background(), "eval", "--status", "--out", dir)
	require.Zero(t, code, stderr)
	assert.Regexp(t, `(?s)^done     4 of 16 \(25 %\)\nrunning  0, .*stale    0: .*waiting  12\nleft     \S+ of work, by the times of 4 finished jobs\n$`, stdout)
	code, _, stderr = tool(context.Background(), "eval", "--status", "--out", t.TempDir())
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "run.json")

	count := &counters{part: "1/4", jobs: 4}
	count.finished.Add(3)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	where, err := count.serve(ctx, "localhost:0")
	require.NoError(t, err)
	for path, want := range map[string]string{"/metrics": "# TYPE cmi_jobs_finished_total counter\ncmi_jobs_finished_total{part=\"1/4\"} 3\n", "/debug/pprof/": "goroutine"} {
		answer, err := http.Get("http://" + where + path)
		require.NoError(t, err)
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		assert.Contains(t, string(text), want)
	}
	for _, address := range []string{"0.0.0.0:9100", ":9100", "example.org:9100", "9100"} {
		code, _, stderr := tool(context.Background(), tiny(dir, "--shard", "1/4", "--metrics", address)...)
		assert.Equal(t, exitUsage, code)
		assert.Contains(t, stderr, "--metrics "+address)
	}

	code, stdout, stderr = tool(context.Background(), "eval", "--estimate", "--methods", "dps", "--tasks", "sr4", "--limit", "64", "--nodes", "10", "--quiet")
	require.Zero(t, code, stderr)
	assert.Regexp(t, `10 machines like this one: \S+ hours, the largest part\ndisk: at most \S+ MiB in 384 files\n$`, stdout)
}
