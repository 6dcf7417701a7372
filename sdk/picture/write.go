package picture

import (
	"bufio"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/image/tiff"

	"github.com/cmi-diffusion/cmi/sdk/npy"
)

// SavePNG writes the image as an 8-bit PNG, rounded to the nearest and clamped; a
// value that is not finite is an error. See the function SavePNG.
func (m Image) SavePNG(path string) error {
	p, err := m.RGBA()
	if err != nil {
		return fmt.Errorf("%s not written: %w", path, err)
	}
	return SavePNG(path, p)
}

// SavePNG writes a picture as PNG: whole or not at all. It goes to a temporary file
// in the same folder that is then renamed, so a kill or a full disk leaves what
// was at path before. The folder must exist and path must end in .png.
func SavePNG(path string, p image.Image) error {
	if ext := filepath.Ext(path); !strings.EqualFold(ext, ".png") {
		return fmt.Errorf("%s: pictures are written as PNG: name it %s.png", path, strings.TrimSuffix(path, ext))
	}
	return Replace(path, func(w io.Writer) error { return png.Encode(w, p) })
}

// SaveDeep writes the image with 16 bits a channel, as PNG or TIFF by the path's extension,
// as SavePNG does.
func (m Image) SaveDeep(path string) error {
	if err := m.check(); err != nil {
		return fmt.Errorf("%s not written: %w", path, err)
	}
	p := image.NewRGBA64(image.Rect(0, 0, m.W, m.H))
	draw.Draw(p, p.Rect, deep{m}, image.Point{}, draw.Src)
	switch strings.ToLower(filepath.Ext(path)) {
	case ".png":
		return SavePNG(path, p)
	case ".tif", ".tiff":
		return Replace(path, func(w io.Writer) error {
			return tiff.Encode(w, p, &tiff.Options{Compression: tiff.Deflate, Predictor: true})
		})
	}
	return fmt.Errorf("%s: pictures of 16 bits are written as .png or .tif", path)
}

// SaveNPY writes the image's exact values, float32 [C, H, W]; see the function SaveNPY.
func (m Image) SaveNPY(path string) error { return SaveNPY(path, m.Pix, m.C, m.H, m.W) }

// SaveNPY writes an array for NumPy: whole or not at all, as SavePNG does.
func SaveNPY[T float32 | float64](path string, values []T, shape ...int) error {
	return Replace(path, func(w io.Writer) error { return npy.Write(w, values, shape...) })
}

// Replace writes a file as a whole or leaves path as it was, as SavePNG does.
func Replace(path string, write func(io.Writer) error) (err error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	// Hidden, and unlike os.CreateTemp's with the user's usual permissions.
	temp := filepath.Join(dir, fmt.Sprintf(".%s.%08x.tmp", base, rand.Uint32()))
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: there is no folder %s: create it first", path, filepath.Clean(dir))
		}
		return fmt.Errorf("%s not written: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()       // twice where closing failed: no harm
			os.Remove(temp) // the first error says more than this one's
			err = fmt.Errorf("%s not written: %w", path, err)
		}
	}()
	buffered := bufio.NewWriter(f)
	if err = write(buffered); err != nil {
		return err
	}
	if err = buffered.Flush(); err != nil {
		return err
	}
	if err = f.Sync(); err != nil { // else a power cut may leave an empty file
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
