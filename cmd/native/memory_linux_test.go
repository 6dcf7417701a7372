package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Pictures that memory can't hold are refused by their headers: the program runs in a process of its
// own, whose address space has room for less.
func TestPicturesInLittleMemory(t *testing.T) {
	if args := os.Getenv("CMI_TEST_ARGS"); args != "" {
		statm, err := os.ReadFile("/proc/self/statm")
		require.NoError(t, err)
		pages, err := strconv.Atoi(strings.Fields(string(statm))[0])
		require.NoError(t, err)
		most := uint64(pages*os.Getpagesize() + 350<<20)
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: most, Max: most}))
		os.Exit(run(t.Context(), filepath.SplitList(args), os.Stdout, os.Stderr))
	}
	dir := t.TempDir()
	large := filepath.Join(dir, "large.png")
	bareHeader(t, large, 8000, 8000)
	for want, args := range map[string]string{
		`large.png is 8000×8000, which takes \d+ MiB of memory to read, \d+ MiB are free: make it smaller first`:    "restore:" + large + ":--resize:--out:" + dir + "/out",
		`large: comparing pictures of 8000×8000 takes \d+ MiB of memory, \d+ MiB are free: make them smaller first`: "metrics:" + dir + ":" + dir,
	} {
		self := exec.Command(os.Args[0], "-test.run", "^TestPicturesInLittleMemory$")
		self.Env = append(os.Environ(), "CMI_TEST_ARGS="+args)
		out, err := self.CombinedOutput()
		var status *exec.ExitError
		require.ErrorAs(t, err, &status, string(out))
		assert.Equal(t, exitUsage, status.ExitCode(), string(out))
		assert.Regexp(t, want, string(out))
	}
	assert.NoDirExists(t, filepath.Join(dir, "out"))
}
