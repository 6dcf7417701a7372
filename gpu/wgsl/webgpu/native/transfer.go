//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package native

import (
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rajveermalviya/go-webgpu/wgpu"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
)

const (
	pieceBytes  = 16 << 20 // of a transfer, in one call of the library
	unsentBytes = 64 << 20 // written and not submitted, before the driver waits
)

func (g *gpu) WriteBuffer(b webgpu.Buffer, offset int, data []byte) {
	dst, ok := g.buffer(b)
	if g.err != nil || !ok {
		return
	}
	if g.fail(webgpu.CheckWords(offset, len(data), dst.size)); g.err != nil {
		return
	}
	for len(data) > 0 && g.err == nil {
		n := min(len(data), pieceBytes)
		if err := g.queue.WriteBuffer(dst.ref, uint64(offset), data[:n]); err != nil {
			g.fail(err)
			return
		}
		offset, data = offset+n, data[n:]
		if g.unsent += n; g.unsent >= unsentBytes {
			g.fail(g.Wait())
		}
	}
}

func (g *gpu) Read(dst []byte, b webgpu.Buffer, offset int) error {
	src, ok := g.buffer(b)
	if g.err != nil || !ok {
		return g.err
	}
	if g.fail(webgpu.CheckWords(offset, len(dst), src.size)); g.err != nil {
		return g.err
	}
	if len(dst) == 0 {
		return g.Wait()
	}
	for len(dst) > 0 {
		n := min(len(dst), pieceBytes)
		if err := g.readPiece(dst[:n], src.ref, offset); err != nil {
			g.fail(err)
			return g.err
		}
		offset, dst = offset+n, dst[n:]
	}
	return nil
}

// readPiece copies a part of a buffer through the staging buffer.
func (g *gpu) readPiece(dst []byte, src *wgpu.Buffer, offset int) error {
	size := uint64(len(dst))
	if g.staging == nil || g.staging.GetSize() < size {
		if g.staging != nil {
			g.staging.Release()
			g.staging = nil
		}
		var err error
		g.staging, err = g.device.CreateBuffer(&wgpu.BufferDescriptor{Usage: wgpu.BufferUsage_MapRead | wgpu.BufferUsage_CopyDst, Size: max(size, 1<<16)})
		if err != nil {
			return err
		}
	}
	encoder, err := g.device.CreateCommandEncoder(nil)
	if err != nil {
		return err
	}
	defer encoder.Release()
	if err := encoder.CopyBufferToBuffer(src, uint64(offset), g.staging, 0, size); err != nil {
		return err
	}
	done, err := encoder.Finish(nil)
	if err != nil {
		return err
	}
	g.queue.Submit(done)
	done.Release()
	g.unsent = 0
	g.pace.submitted()
	g.idle()
	if err := g.mapStaging(size); err != nil {
		return err
	}
	copy(dst, g.staging.GetMappedRange(0, uint(size)))
	return g.staging.Unmap()
}

// collector is held while the library has a pointer that Go does not know of.
var collector sync.Mutex

// mapStaging maps the staging buffer of an idle device. The library's Go binding
// hands over a pointer to a variable that nothing keeps alive until the callback
// has run, so the garbage collector rests meanwhile.
func (g *gpu) mapStaging(size uint64) error {
	collector.Lock()
	defer collector.Unlock()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	status := wgpu.BufferMapAsyncStatus_Unknown // until the callback has run
	if err := g.staging.MapAsync(wgpu.MapMode_Read, 0, size, func(s wgpu.BufferMapAsyncStatus) { status = s }); err != nil {
		return err
	}
	g.device.Poll(false, nil)
	if status != wgpu.BufferMapAsyncStatus_Success {
		return fmt.Errorf("a buffer can't be read: %v", status)
	}
	return nil
}

func (g *gpu) Wait() error {
	if g.err != nil {
		return g.err
	}
	if g.unsent > 0 {
		g.queue.Submit()
		g.unsent = 0
		g.pace.submitted()
	}
	g.idle()
	return nil
}

// idle waits until the queue is empty. The library's own waiting gives up after
// five seconds and takes unfinished work for finished; its question whether the
// queue is empty is answered by the fence itself.
func (g *gpu) idle() {
	for pause := 20 * time.Microsecond; !g.device.Poll(false, nil); pause = min(2*pause, time.Millisecond) {
		time.Sleep(pause)
	}
	g.pace.idle()
}
