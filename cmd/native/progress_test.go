package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// A log gets whole lines, the first after two seconds, and none of a run that is shorter.
func TestProgressWithoutTerminal(t *testing.T) {
	var log bytes.Buffer
	p := newProgress(&messages{to: &log}, 40)
	step := p.run("face dps")
	step(10)
	assert.Empty(t, log.String())
	p.start, p.next = time.Now().Add(-3*time.Second), time.Now()
	step(10)
	step(11) // too soon after the line before
	p.finish()
	assert.Equal(t, "face dps: 25 %, 3s, 9s left\n", log.String())
}

// A message puts an end to the bar's line first.
func TestMessageEndsBar(t *testing.T) {
	var screen bytes.Buffer
	m := &messages{to: &screen}
	io.WriteString(barLine{m}, "\rbar 50 %")
	io.WriteString(m, "stopped\n")
	io.WriteString(m, "more\n")
	assert.Equal(t, "\rbar 50 %\nstopped\nmore\n", screen.String())
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// Output that can't be written fails the command, whichever it is.
func TestFullOutput(t *testing.T) {
	for _, args := range [][]string{{"info"}, {"info", "faces64"}, {"sample", "--count", "1", "--steps", "2", "--out", t.TempDir()}} {
		var errs bytes.Buffer
		assert.Equal(t, exitFailed, run(context.Background(), args, full{}, &errs), args)
		assert.Equal(t, "cmi-native: results can't be written to standard output: no space left on device\n", errs.String())
	}
}

// What Ctrl-C leaves is said by commands that leave something.
func TestStoppedMessage(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"restore", face, "--out", t.TempDir()}, "stopped; finished pictures and samples are kept"},
		{[]string{"verify", "--quick"}, "stopped"},
		{[]string{"bench"}, "stopped"},
	} {
		code, _, stderr := tool(ctx, c.args...)
		require.Equal(t, exitInterrupted, code, stderr)
		assert.Equal(t, "cmi-native: "+c.want+"\n", stderr)
	}
}

// What a file's name or contents hold does not command the terminal.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü\tand\nlines": "plain ü\tand\nlines",
		"\x1b[2Jred\r\a":      `\x1b[2Jred\x0d\x07`,
		"\u009b31m\x7f":       `\x9b31m\x7f`,
	} {
		var out, told bytes.Buffer
		n, err := (&output{to: &out}).Write([]byte(in))
		require.NoError(t, err)
		assert.Equal(t, len(in), n)
		_, err = (&messages{to: &told}).Write([]byte(in))
		require.NoError(t, err)
		assert.Equal(t, [2]string{want, want}, [2]string{out.String(), told.String()})
	}
	name := filepath.Join(t.TempDir(), "\x1b[31m.png")
	code, _, stderr := tool(t.Context(), "restore", name)
	assert.Equal(t, exitUsage, code)
	assert.NotContains(t, stderr, "\x1b")
}

// A grid that can't be drawn is a warning: the pictures are there.
func TestNoGrid(t *testing.T) {
	var out, told bytes.Buffer
	wide := picture.Grid{Rows: make([]picture.Row, 400_000)}
	for i := range wide.Rows {
		wide.Rows[i].Cells = []picture.Cell{{}}
	}
	saveGrid(&out, &told, filepath.Join(t.TempDir(), "grid.png"), wide.Draw)
	assert.Empty(t, out.String())
	assert.Contains(t, told.String(), "no grid of the pictures")
}

func TestOneLine(t *testing.T) {
	assert.Equal(t, "a; b; c", oneLine(errors.New("a\nb\t\nc\n")))
	assert.Len(t, oneLine(errors.New(strings.Repeat("ß", 1<<20))), 4000+len("…"))
}
