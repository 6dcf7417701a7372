package picture

import (
	"errors"
	"image"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// only requires that the folder holds one file with the given text.
func only(t *testing.T, path, text string) {
	t.Helper()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file is left")
}

func TestReplaceIsAllOrNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.png")
	require.NoError(t, Replace(path, func(w io.Writer) error {
		_, err := io.WriteString(w, "old")
		return err
	}))
	only(t, path, "old")
	full := errors.New("no space left on device")
	err := Replace(path, func(w io.Writer) error {
		_, err := w.Write(make([]byte, 1<<20)) // more than any buffer
		require.NoError(t, err)
		only := filepath.Join(filepath.Dir(path), "a.png")
		got, err := os.ReadFile(only)
		require.NoError(t, err)
		require.Equal(t, "old", string(got), "untouched while writing")
		return full
	})
	require.ErrorIs(t, err, full)
	require.ErrorContains(t, err, path)
	only(t, path, "old")

	// What cannot be encoded does not destroy what is there.
	require.Error(t, SavePNG(path, image.NewGray(image.Rect(0, 0, 0, 0))))
	only(t, path, "old")
	require.NoError(t, SavePNG(path, image.NewGray(image.Rect(0, 0, 1, 1))))
	_, err = Open(path)
	require.NoError(t, err)
}

func TestWhereNothingCanBeWritten(t *testing.T) {
	dir := t.TempDir()
	dot := image.NewGray(image.Rect(0, 0, 1, 1))
	missing := filepath.Join(dir, "gone")
	require.EqualError(t, SavePNG(filepath.Join(missing, "a.png"), dot),
		filepath.Join(missing, "a.png")+": there is no folder "+missing+": create it first")

	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.ErrorContains(t, SavePNG(filepath.Join(file, "a.png"), dot), "not written")

	folder := filepath.Join(dir, "folder.png")
	require.NoError(t, os.Mkdir(folder, 0o700))
	require.ErrorContains(t, SavePNG(folder, dot), folder)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "no temporary file is left")

	if os.Geteuid() != 0 { // root may write anywhere
		require.NoError(t, os.Chmod(folder, 0o500))
		require.ErrorIs(t, SavePNG(filepath.Join(folder, "a.png"), dot), os.ErrPermission)
	}
	require.EqualError(t, SavePNG("out.jpg", dot), "out.jpg: pictures are written as PNG: name it out.png")
}
