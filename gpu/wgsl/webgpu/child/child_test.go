package child_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/child"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/native"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// roles are what the test binary does instead of tests when it is started as a child.
var roles = map[string]func() (webgpu.GPU, error){
	"native": native.Open,
	"memory": func() (webgpu.GPU, error) { return ending{text: "thread panicked: Out of Memory"}, nil },
	"panics": func() (webgpu.GPU, error) { return ending{text: "the driver has a fault"}, nil },
	"absent": func() (webgpu.GPU, error) { return nil, errors.New("there is no adapter") },
	"noise": func() (webgpu.GPU, error) {
		fmt.Print("this is not what is expected")
		return nil, errors.New("nobody reads this")
	},
}

const roleOf = "CMI_TEST_CHILD"

func TestMain(m *testing.M) {
	if open, ok := roles[os.Getenv(roleOf)]; ok {
		if err := child.Serve(open, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func process(role string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), roleOf+"="+role)
	return c
}

// ending is a driver that ends its process when a buffer is made.
type ending struct {
	webgpu.GPU
	text string
}

func (ending) Info() webgpu.Info { return webgpu.Info{Name: "test"} }

func (e ending) CreateBuffer(int, webgpu.Usage) (webgpu.Buffer, error) {
	fmt.Fprintln(os.Stderr, e.text)
	os.Exit(101)
	return 0, nil
}

// What a library says on its way out tells a failed allocation from a loss.
func TestEndings(t *testing.T) {
	for role, kind := range map[string]error{"memory": compute.ErrMemory, "panics": compute.ErrLost} {
		g, err := child.Open(process(role))
		require.NoError(t, err)
		assert.Equal(t, "test", g.Info().Name)
		_, err = g.CreateBuffer(4, webgpu.Storage)
		require.ErrorIs(t, err, kind)
		assert.ErrorContains(t, err, "exit status 101")
	}
}

func TestOpenFails(t *testing.T) {
	_, err := child.Open(process("absent"))
	assert.EqualError(t, err, "there is no adapter")
	_, err = child.Open(process("noise"))
	assert.ErrorIs(t, err, compute.ErrLost)
	_, err = child.Open(exec.Command("/does/not/exist"))
	assert.Error(t, err)
}

// Requests that make no sense end the child, and nothing else happens.
func TestServeRefuses(t *testing.T) {
	open := func() (webgpu.GPU, error) { return ending{}, nil }
	number := func(n byte) []byte { return []byte{n, 0, 0, 0, 0, 0, 0, 0} }
	for name, request := range map[string][]byte{
		"unknown":      append([]byte{'?'}, number(0)...),
		"few numbers":  append([]byte{'r'}, number(0)...),
		"no pipeline":  append([]byte{'g'}, number(0)...),
		"cut":          {'s', 1, 0},
		"huge":         {'s', 255, 255, 255, 255, 255, 255, 255, 127},
		"negative":     {'s', 255, 255, 255, 255, 255, 255, 255, 255},
		"endless read": append(append(append(append([]byte{'r'}, number(3)...), number(1)...), number(0)...), 0, 0, 0, 0, 0, 0, 0, 64),
	} {
		var out bytes.Buffer
		assert.Error(t, child.Serve(open, bytes.NewReader(request), &out), name)
	}
}

// A request that is cut anywhere, or that announces more than comes, is an error that takes
// little memory.
func TestCutRequests(t *testing.T) {
	number := func(n int) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }
	whole := slices.Concat([]byte("w"), number(2), number(1), number(0), number(1<<30), []byte("data"))
	for cut := 1; cut <= len(whole); cut++ {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := child.Serve(func() (webgpu.GPU, error) { return ending{}, nil }, bytes.NewReader(whole[:cut]), io.Discard)
		runtime.ReadMemStats(&after)
		assert.True(t, errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF), "%d bytes: %v", cut, err)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
	}
	for _, letter := range "bBwgGrX" {
		err := child.Serve(func() (webgpu.GPU, error) { return ending{}, nil }, bytes.NewReader(append([]byte{byte(letter)}, number(0)...)), io.Discard)
		assert.ErrorContains(t, err, "request")
	}
}
