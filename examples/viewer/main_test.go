//go:build gl

package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// The window's last frame holds the truth at its right, and pictures that resemble
// it in the other panels. It needs a display: xvfb-run is one.
func TestViewer(t *testing.T) {
	if os.Getenv("DISPLAY") == "" {
		t.Skip("no display: run the test with xvfb-run")
	}
	runtime.LockOSThread() // the window's; X11 takes any thread that stays
	path := filepath.Join(t.TempDir(), "shot.png")
	require.NoError(t, run(20, "", path))
	shot, err := picture.Open(path)
	require.NoError(t, err)
	truth, err := open("")
	require.NoError(t, err)
	require.Equal(t, [2]int{256, panels * 256}, [2]int{shot.H, shot.W})
	for panel := range panels {
		var sum float64
		for c := range 3 {
			for y := range 64 {
				for x := range 64 {
					d := float64(shot.Pix[(c*shot.H+4*y+2)*shot.W+panel*256+4*x+2] - truth.Pix[(c*64+y)*64+x])
					sum += d * d
				}
			}
		}
		mse := sum / (3 * 64 * 64)
		if panel == truthPanel {
			assert.Less(t, mse, 1e-4)
		} else {
			assert.Less(t, mse, 0.1, "panel %d", panel)
			assert.Greater(t, mse, 1e-4, "panel %d", panel)
		}
	}
}
