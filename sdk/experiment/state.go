package experiment

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk"
)

// jobState is the sampler's state in the middle of a job. Random numbers are keyed by seed,
// picture, sample and step, so that the step is their position, too.
//
// The file JOB.state is the SHA-256 of what follows, a line of JSON, and X in little-endian
// float32.
type jobState struct {
	Made    string  `json:"made"` // hash of the run
	Next    int     `json:"next"` // index of the step that comes next
	Passes  int     `json:"passes"`
	Seconds float64 `json:"seconds"` // so far
	Result  *Result `json:"result"`  // what the steps so far told

	X []float32 `json:"-"` // the image and what the method carries, see [sdk.Saved]
}

func (f *ShardFolder) saveState(j Job, c jobState) error {
	c.Made = f.made
	head, err := json.Marshal(c)
	if err != nil {
		return err
	}
	body := append(head, '\n')
	for _, v := range c.X {
		body = binary.LittleEndian.AppendUint32(body, math.Float32bits(v))
	}
	sum := sha256.Sum256(body)
	return replace(f.file(j, ".state"), append(sum[:], body...))
}

// state returns a job's last state; nil where there is none. One that is damaged or of
// another run is as good as none: err says why, and the job begins anew.
func (f *ShardFolder) state(j Job, size int) (c *jobState, err error) {
	path := f.file(j, ".state")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	body := data[min(len(data), sha256.Size):]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], data[:len(data)-len(body)]) {
		return nil, fmt.Errorf("%s is damaged", path)
	}
	head, state, _ := bytes.Cut(body, []byte{'\n'})
	c = &jobState{}
	if err := json.Unmarshal(head, c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if c.Made != f.made || c.Result == nil || !c.Result.is(j) || c.Next < 0 || len(state) == 0 || len(state)%(4*size) != 0 {
		return nil, fmt.Errorf("%s is not a state of this job and run", path)
	}
	c.X = make([]float32, len(state)/4)
	for i := range c.X {
		c.X[i] = math.Float32frombits(binary.LittleEndian.Uint32(state[4*i:]))
	}
	return c, nil
}

// split returns the part of one of n images, of size values each, of the state of a batch: the
// batch of images, then each batch of what the method carries.
func split(x []float32, n, size, image int) (one []float32) {
	for at := image * size; at < len(x); at += n * size {
		one = append(one, x[at:at+size]...)
	}
	return one
}

// join returns the state of a batch from those of its images; nil where they begin anew.
func join(states []*jobState, size int) *sdk.Saved {
	saved := &sdk.Saved{}
	if states[0] == nil {
		return saved
	}
	saved.Next, saved.Passes = states[0].Next, states[0].Passes
	for at := 0; at < len(states[0].X); at += size {
		for _, s := range states {
			saved.X = append(saved.X, s.X[at:at+size]...)
		}
	}
	return saved
}

// sameStep cuts the jobs of a batch into groups that go on from the same step: indices.
func sameStep(states []*jobState) (groups [][]int) {
	step := func(i int) [2]int {
		if states[i] == nil {
			return [2]int{-1}
		}
		return [2]int{states[i].Next, len(states[i].X)}
	}
	for i := range states {
		at := slices.IndexFunc(groups, func(g []int) bool { return step(g[0]) == step(i) })
		if at < 0 {
			groups = append(groups, nil)
			at = len(groups) - 1
		}
		groups[at] = append(groups[at], i)
	}
	return groups
}
