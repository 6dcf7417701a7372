//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package native

import (
	"errors"
	"fmt"

	"github.com/rajveermalviya/go-webgpu/wgpu"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
)

// Submit queues the commands in pieces, so that each keeps the adapter busy well
// below a second: systems reset an adapter that does not answer.
func (g *gpu) Submit(commands []int32) {
	for len(commands) > 0 && g.err == nil {
		rest, err := g.submit(commands, g.pace.commands)
		if err != nil {
			g.fail(err)
			return
		}
		commands = rest
	}
}

// submit queues at most so many commands and returns the others.
func (g *gpu) submit(commands []int32, most int) (rest []int32, err error) {
	encoder, err := g.device.CreateCommandEncoder(nil)
	if err != nil {
		return nil, err
	}
	defer encoder.Release()
	var pass *wgpu.ComputePassEncoder
	end := func() error {
		if pass == nil {
			return nil
		}
		err := pass.End()
		pass.Release()
		pass = nil
		return err
	}
	for n := 0; n < most && len(commands) > 0 && err == nil; n++ {
		var code int32
		var operands []int32
		if code, operands, commands, err = webgpu.Next(commands); err != nil {
			break
		}
		if code == webgpu.CmdDispatch {
			if pass == nil {
				pass = encoder.BeginComputePass(nil)
			}
			err = g.dispatch(pass, operands)
		} else if err = end(); err == nil {
			err = g.copy(encoder, operands)
		}
	}
	if ended := end(); err == nil {
		err = ended
	}
	if err != nil {
		return nil, err
	}
	done, err := encoder.Finish(nil)
	if err != nil {
		return nil, err
	}
	g.queue.Submit(done)
	done.Release()
	g.unsent = 0
	g.pace.submitted()
	g.device.Poll(false, nil) // releases what finished work held
	return commands, nil
}

func (g *gpu) dispatch(pass *wgpu.ComputePassEncoder, o []int32) error {
	p, ok := g.pipeline(webgpu.Pipeline(o[0]))
	if !ok {
		return g.err
	}
	b, ok := g.group(webgpu.BindGroup(o[1]))
	if !ok {
		return g.err
	}
	if !g.live(b) {
		return fmt.Errorf("bind group %d names a buffer that was destroyed", o[1])
	}
	if err := errors.Join(webgpu.CheckOffset(o[2], b.dynamic), g.info.CheckGroups(o[3:6])); err != nil {
		return err
	}
	pass.SetPipeline(p.ref)
	if b.dynamic {
		pass.SetBindGroup(0, b.ref, []uint32{uint32(o[2])})
	} else {
		pass.SetBindGroup(0, b.ref, nil)
	}
	pass.DispatchWorkgroups(uint32(o[3]), uint32(o[4]), uint32(o[5]))
	return nil
}

func (g *gpu) copy(encoder *wgpu.CommandEncoder, o []int32) error {
	src, ok := g.buffer(webgpu.Buffer(o[0]))
	if !ok {
		return g.err
	}
	dst, ok := g.buffer(webgpu.Buffer(o[2]))
	if !ok {
		return g.err
	}
	return encoder.CopyBufferToBuffer(src.ref, uint64(uint32(o[1])), dst.ref, uint64(uint32(o[3])), uint64(uint32(o[4])))
}
