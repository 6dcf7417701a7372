package wgsl

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
)

// stored is a file of trials: one for each adapter, driver and set of kernels. They
// save time and change no result, so that a file that can't be read, is damaged or
// belongs to something else is as good as none.
type stored struct {
	path    string
	Adapter string            `json:"adapter"` // for people
	Key     string            `json:"key"`     // of what the results depend on
	Fastest map[string]string `json:"fastest"` // names of variants by class
}

// mostTrials bounds the file that is read.
const mostTrials = 1 << 20

// Remember keeps the results of trials in a folder, and goes by those that it finds
// there for the same adapter, driver and kernels.
func (d *Device) Remember(folder string) {
	key, err := d.trialsKey()
	if err != nil {
		return
	}
	s := &stored{filepath.Join(folder, "webgpu-"+key+".json"), d.Info().Description, key, map[string]string{}}
	s.load()
	d.trials = s
}

// trialsKey names what trials depend on: the adapter, its driver and limits, the
// precision, the kernels and their variants.
func (d *Device) trialsKey() (string, error) {
	h := fnv.New64a()
	files, err := kernelFiles.ReadDir(".")
	for _, f := range files {
		var text []byte
		if text, err = kernelFiles.ReadFile(f.Name()); err != nil {
			break
		}
		fmt.Fprintf(h, "%s\n%s\n", f.Name(), text)
	}
	adapter := d.limits
	adapter.Memory = 0 // what is free
	fmt.Fprintf(h, "%+v %s\n", adapter, d.precision)
	for _, kernel := range []int{1, 3} {
		for _, v := range d.variants[kernel] {
			fmt.Fprintln(h, v.name())
		}
	}
	return fmt.Sprintf("%016x", h.Sum64()), err
}

// name of a variant among those of its device.
func (v *variant) name() string { return fmt.Sprint(v.kernel, v.ints) }

func (k class) String() string {
	return fmt.Sprintf("%d×%d %d→%d on %d×%d×%d", k.kernel, k.kernel, k.in, k.out, k.images, k.height, k.width)
}

// load adds what the file holds.
func (s *stored) load() {
	f, err := os.Open(s.path)
	if err != nil {
		return
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mostTrials))
	var have stored
	if err != nil || json.Unmarshal(text, &have) != nil || have.Key != s.Key {
		return
	}
	for class, name := range have.Fastest {
		if _, ok := s.Fastest[class]; !ok {
			s.Fastest[class] = name
		}
	}
}

// find returns the fastest variant of a class, nil where no trial is remembered.
func (s *stored) find(k class, possible []*variant) *variant {
	name := s.Fastest[k.String()]
	for _, v := range possible {
		if v.name() == name {
			return v
		}
	}
	return nil
}

// add stores a result, beside those that other processes have stored meanwhile.
func (s *stored) add(k class, v *variant) {
	s.load()
	s.Fastest[k.String()] = v.name()
	text, err := json.MarshalIndent(s, "", " ")
	folder := filepath.Dir(s.path)
	if err != nil || os.MkdirAll(folder, 0o755) != nil {
		return
	}
	f, err := os.CreateTemp(folder, ".webgpu-*")
	if err != nil {
		return
	}
	_, err = f.Write(append(text, '\n'))
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}
