// Package faces holds a few 64×64 pictures of faces that the embedded model was
// not trained on; see README.md for where they come from.
package faces

import (
	"embed"
	"fmt"
	"io/fs"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

//go:embed *.png
var files embed.FS

// Load reads the first n pictures, in the order of their names.
func Load(n int) ([]picture.Image, error) {
	names, err := fs.Glob(files, "*.png")
	if err != nil {
		return nil, err
	}
	if n < 1 || n > len(names) {
		return nil, fmt.Errorf("%d faces asked for, 1 to %d are there", n, len(names))
	}
	var out []picture.Image
	for _, name := range names[:n] {
		f, err := files.Open(name)
		if err != nil {
			return nil, err
		}
		m, err := picture.Decode(f, name)
		f.Close()
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}
