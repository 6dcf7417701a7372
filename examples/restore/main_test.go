package main

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

func TestRestore(t *testing.T) {
	out := filepath.Join(t.TempDir(), "restored.png")
	require.NoError(t, restore(context.Background(), "../faces/01.png", out, 3))
	p, err := picture.Open(out)
	require.NoError(t, err)
	require.Equal(t, 64, p.W)
	require.Error(t, restore(context.Background(), "none.png", out, 3))
}
