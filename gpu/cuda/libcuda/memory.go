//go:build linux && !nocuda && (amd64 || arm64)

package libcuda

import (
	"fmt"
	"unsafe"

	"github.com/cmi-diffusion/cmi/gpu/cuda"
)

// Alloc implements [cuda.Driver]. An error of too little memory says what is free.
func (g *GPU) Alloc(bytes int) (p cuda.Ptr, err error) {
	if bytes < 0 {
		return 0, fmt.Errorf("%d bytes of GPU memory: 0 or more are wanted", bytes)
	}
	err = g.wait(func() error {
		var at uint64
		if r := g.api.MemAlloc_v2(&at, uint64(max(bytes, 1))); r != success {
			return g.api.check("cuMemAlloc_v2", r, g.short(bytes))
		}
		p = cuda.Ptr(at)
		g.arrays[p] = true
		return nil
	})
	return p, err
}

// short says how much memory was wanted and is there.
func (g *GPU) short(bytes int) string {
	var free, total uint64
	if g.api.MemGetInfo_v2(&free, &total) != success {
		return fmt.Sprintf("%.1f MiB wanted", mib(uint64(bytes)))
	}
	return fmt.Sprintf("%.1f MiB wanted, %.1f of %.1f MiB free", mib(uint64(bytes)), mib(free), mib(total))
}

func mib(bytes uint64) float64 { return float64(bytes) / (1 << 20) }

// Free implements [cuda.Driver].
func (g *GPU) Free(p cuda.Ptr) {
	if p == 0 {
		return
	}
	g.queue(func() error {
		if !g.arrays[p] {
			return fmt.Errorf("free of %#x, which is not allocated", uint64(p))
		}
		if err := g.sync(); err != nil {
			return err
		}
		delete(g.arrays, p)
		return g.api.check("cuMemFree_v2", g.api.MemFree_v2(uint64(p)), "")
	})
}

// staging is pinned host memory, through which everything travels: only there a
// copy runs beside the kernels, and its end is known by an event.
type staging struct {
	slots []slot
	next  int
}

type slot struct {
	memory []byte
	event  handle // after the last copy
	busy   bool   // the event was recorded and not yet waited for
}

const slotCount = 4

var slotBytes = 2 << 20 // tests make it small

func (s *staging) open(a *api) error {
	s.slots = make([]slot, slotCount)
	for i := range s.slots {
		var p unsafe.Pointer
		if err := a.check("cuMemHostAlloc", a.MemHostAlloc(&p, uint64(slotBytes), 0), ""); err != nil {
			return err
		}
		s.slots[i].memory = unsafe.Slice((*byte)(p), slotBytes)
		if err := a.check("cuEventCreate", a.EventCreate(&s.slots[i].event, eventDisableTiming), ""); err != nil {
			return err
		}
	}
	return nil
}

func (s *staging) release(a *api, try func(call string, r Result)) {
	for _, s := range s.slots {
		if s.event != 0 {
			try("cuEventDestroy_v2", a.EventDestroy_v2(s.event))
		}
		if s.memory != nil {
			try("cuMemFreeHost", a.MemFreeHost(unsafe.Pointer(&s.memory[0])))
		}
	}
}

// free returns the next slot, once its last copy has ended.
func (s *staging) free(a *api) (*slot, error) {
	now := &s.slots[s.next]
	s.next = (s.next + 1) % len(s.slots)
	return now, now.wait(a)
}

func (s *slot) wait(a *api) error {
	if !s.busy {
		return nil
	}
	if err := a.check("cuEventSynchronize", a.EventSynchronize(s.event), ""); err != nil {
		return err
	}
	s.busy = false
	return nil
}

// record marks the end of a copy.
func (s *slot) record(g *GPU) error {
	s.busy = true
	return g.api.check("cuEventRecord", g.api.EventRecord(s.event, g.stream), "")
}

// Upload implements [cuda.Driver]: it returns when src lies in pinned memory.
func (g *GPU) Upload(dst cuda.Ptr, src []byte) {
	if g.closed {
		return
	}
	g.thread.do(func() {
		if g.err == nil {
			g.err = g.upload(uint64(dst), src)
		}
	})
}

func (g *GPU) upload(dst uint64, src []byte) error {
	for len(src) > 0 {
		s, err := g.staging.free(g.api)
		if err != nil {
			return err
		}
		n := copy(s.memory, src)
		if err := g.api.check("cuMemcpyHtoDAsync_v2", g.api.MemcpyHtoDAsync_v2(dst, unsafe.Pointer(&s.memory[0]), uint64(n), g.stream), ""); err != nil {
			return err
		}
		if err := s.record(g); err != nil {
			return err
		}
		dst, src = dst+uint64(n), src[n:]
	}
	return nil
}

// Download implements [cuda.Driver].
func (g *GPU) Download(dst []byte, src cuda.Ptr) error {
	return g.wait(func() error { return g.download(dst, uint64(src)) })
}

func (g *GPU) download(dst []byte, src uint64) error {
	if len(dst) == 0 {
		return g.sync()
	}
	type part struct {
		from *slot
		to   []byte
	}
	var pending []part // copies under way, oldest first
	finish := func() error {
		p := pending[0]
		pending = pending[1:]
		if err := p.from.wait(g.api); err != nil {
			return err
		}
		copy(p.to, p.from.memory)
		return nil
	}
	for len(dst) > 0 {
		if len(pending) == len(g.staging.slots) {
			if err := finish(); err != nil {
				return err
			}
		}
		s, err := g.staging.free(g.api)
		if err != nil {
			return err
		}
		n := min(len(dst), len(s.memory))
		if err := g.api.check("cuMemcpyDtoHAsync_v2", g.api.MemcpyDtoHAsync_v2(unsafe.Pointer(&s.memory[0]), src, uint64(n), g.stream), ""); err != nil {
			return err
		}
		if err := s.record(g); err != nil {
			return err
		}
		pending = append(pending, part{s, dst[:n]})
		dst, src = dst[n:], src+uint64(n)
	}
	for len(pending) > 0 {
		if err := finish(); err != nil {
			return err
		}
	}
	return nil
}
