//go:build gogpu && !js

package gogpu

import (
	"context"
	"errors"
	"fmt"

	"github.com/gogpu/wgpu"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
)

const (
	mostCommands = 256      // of one submission
	pieceBytes   = 16 << 20 // of a transfer, in one call of the library
	unsentBytes  = 64 << 20 // written and not submitted, before the driver waits
)

func (g *gpu) Submit(commands []int32) {
	for len(commands) > 0 && g.err == nil {
		rest, err := g.submit(commands)
		g.fail(err)
		commands = rest
	}
}

// submit queues some commands and returns the others.
func (g *gpu) submit(commands []int32) (rest []int32, err error) {
	encoder, err := g.device.CreateCommandEncoder(nil)
	if err != nil {
		return nil, err
	}
	var pass *wgpu.ComputePassEncoder
	end := func() error {
		if pass == nil {
			return nil
		}
		p := pass
		pass = nil
		return p.End()
	}
	for n := 0; n < mostCommands && len(commands) > 0 && err == nil; n++ {
		var code int32
		var operands []int32
		if code, operands, commands, err = webgpu.Next(commands); err != nil {
			break
		}
		if code == webgpu.CmdDispatch {
			if pass == nil {
				if pass, err = encoder.BeginComputePass(nil); err != nil {
					break
				}
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
		encoder.DiscardEncoding()
		return nil, err
	}
	return commands, g.finish(encoder)
}

// finish submits what was encoded.
func (g *gpu) finish(encoder *wgpu.CommandEncoder) error {
	done, err := encoder.Finish()
	if err != nil {
		return err
	}
	g.unsent = 0
	_, err = g.queue.Submit(done)
	return err
}

func (g *gpu) dispatch(pass *wgpu.ComputePassEncoder, o []int32) error {
	if o[0] < 1 || int(o[0]) > len(g.pipelines) {
		return fmt.Errorf("pipeline %d does not exist", o[0])
	}
	if o[1] < 1 || int(o[1]) > len(g.groups) || g.groups[o[1]-1].ref == nil {
		return fmt.Errorf("bind group %d does not exist", o[1])
	}
	s := &g.groups[o[1]-1]
	for i, r := range s.ranges {
		if g.buffers[r.Buffer-1] != s.buffers[i] {
			return fmt.Errorf("bind group %d names a buffer that was destroyed", o[1])
		}
	}
	if err := errors.Join(webgpu.CheckOffset(o[2], s.uniform >= 0), g.info.CheckGroups(o[3:6])); err != nil {
		return err
	}
	var offsets []uint32
	if s.uniform >= 0 {
		r := s.ranges[s.uniform]
		if end := r.Offset + int(o[2]) + r.Size; end > int(s.buffers[s.uniform].Size()) { // the library does not look
			return fmt.Errorf("dynamic offset %d leads to byte %d of a buffer of %d", o[2], end, s.buffers[s.uniform].Size())
		}
		offsets = []uint32{uint32(o[2])}
	}
	pass.SetPipeline(g.pipelines[o[0]-1].ref)
	pass.SetBindGroup(0, s.ref, offsets)
	pass.Dispatch(uint32(o[3]), uint32(o[4]), uint32(o[5]))
	return nil
}

func (g *gpu) copy(encoder *wgpu.CommandEncoder, o []int32) error {
	src := g.buffer(webgpu.Buffer(o[0]), int(o[1]), int(o[4]))
	dst := g.buffer(webgpu.Buffer(o[2]), int(o[3]), int(o[4]))
	if src == nil || dst == nil {
		return g.err
	}
	encoder.CopyBufferToBuffer(src, uint64(o[1]), dst, uint64(o[3]), uint64(o[4]))
	return nil
}

func (g *gpu) WriteBuffer(b webgpu.Buffer, offset int, data []byte) {
	dst := g.buffer(b, offset, len(data))
	if g.err != nil || dst == nil {
		return
	}
	for len(data) > 0 && g.err == nil {
		n := min(len(data), pieceBytes)
		g.fail(g.queue.WriteBuffer(dst, uint64(offset), data[:n]))
		offset, data = offset+n, data[n:]
		if g.unsent += n; g.unsent >= unsentBytes {
			g.fail(g.Wait())
		}
	}
}

func (g *gpu) Read(dst []byte, b webgpu.Buffer, offset int) error {
	src := g.buffer(b, offset, len(dst))
	for len(dst) > 0 && g.err == nil {
		n := min(len(dst), pieceBytes)
		g.fail(g.readPiece(dst[:n], src, offset))
		offset, dst = offset+n, dst[n:]
	}
	return g.err
}

// readPiece copies a part of a buffer through the staging buffer.
func (g *gpu) readPiece(dst []byte, src *wgpu.Buffer, offset int) (err error) {
	size := uint64(len(dst))
	if g.staging == nil || g.staging.Size() < size {
		if g.staging != nil {
			g.staging.Release()
		}
		g.staging, err = g.device.CreateBuffer(&wgpu.BufferDescriptor{Usage: wgpu.BufferUsageMapRead | wgpu.BufferUsageCopyDst, Size: max(size, 1<<16)})
		if err != nil {
			return err
		}
	}
	encoder, err := g.device.CreateCommandEncoder(nil)
	if err != nil {
		return err
	}
	encoder.CopyBufferToBuffer(src, uint64(offset), g.staging, 0, size)
	if err := g.finish(encoder); err != nil {
		return err
	}
	if err := g.staging.Map(context.Background(), wgpu.MapModeRead, 0, size); err != nil {
		return err
	}
	mapped, err := g.staging.MappedRange(0, size)
	if err != nil {
		return errors.Join(err, g.staging.Unmap())
	}
	copy(dst, mapped.Bytes())
	return g.staging.Unmap()
}

func (g *gpu) Wait() error {
	if g.err == nil && g.unsent > 0 {
		g.unsent = 0
		_, err := g.queue.Submit()
		g.fail(err)
	}
	if g.err == nil {
		g.fail(g.device.WaitIdle())
	}
	return g.err
}
