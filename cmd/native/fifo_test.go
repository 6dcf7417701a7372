//go:build unix

package main

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Ctrl-C, SIGTERM and SIGHUP end a command that waits for input which nobody writes.
func TestStopWhileInputBlocks(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe.png")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for name, args := range map[string][]string{
		"picture": {"restore", pipe},
		"mask":    {"restore", face, "--task", "mask", "--mask", pipe},
		"kernel":  {"restore", face, "--task", "kernel", "--kernel", pipe},
		"config":  {"sample", "--prior-config", pipe},
		"demo":    {"demo", "--images", filepath.Dir(pipe), "--faces", "1"},
		"eval":    {"eval", "--images", filepath.Dir(pipe), "--out", t.TempDir()},
		"metrics": {"metrics", filepath.Dir(pipe), filepath.Dir(pipe)},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			code, _, stderr := tool(ctx, args...)
			assert.Equal(t, exitInterrupted, code, name)
			assert.Contains(t, stderr, "stopped", name)
		}()
		time.Sleep(30 * time.Millisecond) // most then wait for the pipe; all must end
		cancel()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatal(name + " goes on")
		}
	}
}

// A picture from a pipe is read once: its manifest has no hash of it.
func TestPictureFromPipe(t *testing.T) {
	pipe, out := filepath.Join(t.TempDir(), "pipe.png"), t.TempDir()
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	data, err := os.ReadFile(face)
	require.NoError(t, err)
	go func() { _ = os.WriteFile(pipe, data, 0) }() // what fails there, fails here
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	code, _, stderr := tool(ctx, "restore", pipe, "--steps", "2", "--out", out)
	require.Zero(t, code, stderr)
	m, err := readManifest(filepath.Join(out, "pipe.json"))
	require.NoError(t, err)
	assert.Empty(t, m.InputIs)
	code, _, stderr = tool(ctx, "rerun", filepath.Join(out, "pipe.json"), "--out", t.TempDir())
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "a pipe, which is not kept")
}
