package wgsl

import (
	"encoding/binary"
	"errors"
	"math"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// ones is a listing whose results are 1, so that no part of a step is left out.
type ones struct{ *listing }

func (ones) Read(dst []byte, _ webgpu.Buffer, _ int) error {
	for i := range len(dst) / 4 {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(1))
	}
	return nil
}

// run takes two steps of a batch by the embedded prior on an adapter with so much
// memory, and bindings of 64 MiB; then again, of one image, and once more. need is the planned memory beside the weights.
func run(t *testing.T, memory int64, software bool, images int, withCMI bool) (d *Device, need, weights int64, err error) {
	t.Helper()
	gpu := ones{newListing(software)}
	gpu.info.Memory, gpu.info.MaxBinding = memory, 64<<20
	d, err = New(gpu, Options{})
	require.NoError(t, err)
	file, err := faces64.Open()
	require.NoError(t, err)
	defer file.Close()
	m, err := unet.Load(d, file, nil)
	require.NoError(t, err)
	defer m.Close()
	op, err := measure.ForTask("sr4", d, 3, 64, 64, measure.Inputs{})
	require.NoError(t, err)
	defer op.Close()
	o, err := sdk.Defaults(m, "sr4", 2)
	require.NoError(t, err)
	if withCMI {
		term := cmi.Defaults()
		term.MinAlphaBar = 0
		o.CMI = &term
	}
	weights, _ = d.Memory()
	need = sdk.NewPlan(m, o, images).Memory
	for _, n := range []int{images, images, 1, images} {
		s, err := sdk.NewSolver(sdk.Problem{Prior: m, Operator: op, Y: make([]float32, n*3*16*16), N: n, SigmaY: 0.05}, o)
		if err != nil {
			return d, need, weights, err
		}
		err = errors.Join(s.Step(), s.Step())
		s.Close()
		if err != nil {
			return d, need, weights, err
		}
	}
	return d, need, weights, nil
}

// A run takes what was planned: in that much memory it ends well, nearly all of it is
// used, and in a little less it is refused before its first step.
func TestPlannedMemory(t *testing.T) {
	for _, software := range []bool{true, false} {
		for _, images := range []int{1, 3} {
			for _, withCMI := range []bool{false, true} {
				_, need, weights, err := run(t, 1<<40, software, images, withCMI)
				require.NoError(t, err)
				memory := weights + (need/8+1)*9
				d, _, _, err := run(t, memory, software, images, withCMI)
				require.NoError(t, err)
				_, peak := d.Memory()
				t.Logf("software %v, %d images, term %v: %d MiB of weights, %d MiB planned, peak %d of %d MiB",
					software, images, withCMI, weights>>20, need>>20, peak>>20, memory>>20)
				assert.Greater(t, peak, memory*3/4)
				_, _, _, err = run(t, memory-64, software, images, withCMI)
				require.ErrorIs(t, err, compute.ErrMemory)
				assert.Regexp(t, "^a batch of .* fits?", err)
			}
		}
	}
}

// The batch that a refusal names is the largest that runs, also where arrays and not
// memory are the bound.
func TestLargestBatch(t *testing.T) {
	_, _, _, err := run(t, 1<<40, true, 200, false)
	require.ErrorIs(t, err, compute.ErrMemory)
	found := regexp.MustCompile(`^a batch of 200 needs an array of \d+ MiB on webgpu, which takes 64 MiB in one: a batch of (\d+) would fit`).FindStringSubmatch(err.Error())
	require.NotNil(t, found, err)
	most, err := strconv.Atoi(found[1])
	require.NoError(t, err)
	_, _, _, err = run(t, 1<<40, true, most, false)
	require.NoError(t, err)
	_, _, _, err = run(t, 1<<40, true, most+1, false)
	require.ErrorContains(t, err, "would fit")
}
