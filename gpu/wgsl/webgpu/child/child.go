package child

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// remote is a driver in a child process.
type remote struct {
	*wire
	process *exec.Cmd
	input   io.Closer
	info    webgpu.Info
	words   last // what the child said on its standard error
	ended   error
	creates bool // the child is making something that takes memory
}

// Open starts a process that calls [Serve], and is the driver that it opens.
func Open(process *exec.Cmd) (webgpu.GPU, error) {
	r := &remote{process: process}
	in, err := process.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	process.Stderr = &r.words
	if err := process.Start(); err != nil {
		return nil, fmt.Errorf("the process of the WebGPU driver: %w", err)
	}
	r.wire, r.input = newWire(out, in), in
	err = r.getError()
	var info []byte
	if err == nil {
		info = r.getBytes()
	}
	if e := r.alive(); e != nil {
		return nil, e
	}
	if err == nil {
		err = json.Unmarshal(info, &r.info)
	}
	if err != nil {
		r.end()
		return nil, err
	}
	return r, nil
}

// memory is how libraries say that an allocation has failed.
var memory = regexp.MustCompile(`(?i)out ?of ?memory|not enough memory|allocation .*failed`)

// end closes the child's input and waits until it has ended.
func (r *remote) end() error {
	r.input.Close()
	return r.process.Wait()
}

// alive is nil, or says how the child has ended.
func (r *remote) alive() error {
	if r.ended == nil && r.err != nil {
		how := r.err
		_ = r.process.Process.Kill() // it has ended, or does not speak sense
		if err := r.end(); err != nil {
			how = err
		}
		kind, text := compute.ErrLost, r.words.String()
		if r.creates && memory.MatchString(text) {
			kind = compute.ErrMemory
		}
		if text != "" {
			text = ": " + text
		}
		r.ended = fmt.Errorf("%w: the process of the WebGPU driver has ended (%v)%s", kind, how, text)
	}
	return r.ended
}

// result reads an answer of nothing but an error.
func (r *remote) result() error {
	r.flush()
	err := r.getError()
	return errors.Join(r.alive(), err)
}

// number reads an answer that is a number.
func (r *remote) number() (int32, error) {
	r.creates = true
	defer func() { r.creates = false }()
	r.flush()
	err := r.getError()
	id := r.getInt()
	if e := r.alive(); e != nil {
		return 0, e
	}
	return int32(id), err
}

func (r *remote) Info() webgpu.Info { return r.info }

func (r *remote) CreateBuffer(bytes int, use webgpu.Usage) (webgpu.Buffer, error) {
	r.request(createBuffer, bytes, int(use))
	id, err := r.number()
	return webgpu.Buffer(id), err
}

func (r *remote) DestroyBuffer(b webgpu.Buffer) { r.request(destroyBuffer, int(b)) }

func (r *remote) WriteBuffer(b webgpu.Buffer, offset int, data []byte) {
	r.request(write, int(b), offset)
	r.putBytes(data)
}

func (r *remote) CreatePipeline(label, wgsl, entry string, bindings []webgpu.Binding) (webgpu.Pipeline, error) {
	numbers := make([]int, len(bindings))
	for i, b := range bindings {
		numbers[i] = int(b)
	}
	r.request(createPipeline, numbers...)
	for _, s := range []string{label, wgsl, entry} {
		r.putBytes([]byte(s))
	}
	id, err := r.number()
	return webgpu.Pipeline(id), err
}

func (r *remote) CreateBindGroup(p webgpu.Pipeline, ranges []webgpu.Range) (webgpu.BindGroup, error) {
	numbers := []int{int(p)}
	for _, g := range ranges {
		numbers = append(numbers, int(g.Buffer), g.Offset, g.Size)
	}
	r.request(createBindGroup, numbers...)
	id, err := r.number()
	return webgpu.BindGroup(id), err
}

func (r *remote) DestroyBindGroup(b webgpu.BindGroup) { r.request(destroyGroup, int(b)) }

func (r *remote) Submit(commands []int32) {
	r.request(submit)
	r.putBytes(raw(commands))
	r.flush() // so that the adapter begins
}

func (r *remote) Read(dst []byte, b webgpu.Buffer, offset int) error {
	r.request(read, int(b), offset, len(dst))
	r.flush()
	err := r.getError()
	if err == nil {
		r.get(dst)
	}
	return errors.Join(r.alive(), err)
}

func (r *remote) Wait() error {
	r.request(wait)
	return r.result()
}

func (r *remote) Close() error {
	if r.ended != nil {
		return r.ended
	}
	r.request(closing)
	if err := r.result(); err != nil || r.ended != nil {
		if r.ended == nil {
			r.ended = errors.Join(errClosed, r.end())
		}
		return err
	}
	r.ended = errClosed
	r.err = errClosed
	return r.end()
}

var errClosed = errors.New("the WebGPU driver is closed")

// last keeps the end of what is written to it.
type last struct {
	mu   sync.Mutex
	text []byte
}

const lastBytes = 4 << 10

func (l *last) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	l.text = l.text[max(0, len(l.text)-lastBytes):]
	return len(b), nil
}

// String returns the text's first lines that say something, as one.
func (l *last) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text, _, _ := strings.Cut(string(l.text), "stack backtrace:")
	text = strings.Join(strings.Fields(text), " ")
	return text[:min(len(text), 300)]
}
