//go:build js

package main

import (
	"errors"
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// move opens another device after a loss, as the command line tool does: a GPU
// again; or the processor, where the page lets it be taken and the GPU was lost twice
// in a row, is gone, or has not enough memory.
func (e *engine) move(loss sdk.Loss) error {
	full, fallback := errors.Is(loss.Cause, compute.ErrMemory), e.host.mayLeaveGPU()
	if full && !fallback {
		return fmt.Errorf("%w: a smaller model may fit, or the run without the information term", loss.Cause)
	}
	e.dev.Close() // it has failed: what it says now is not news
	leave := full || fallback && loss.InARow > 1
	err := e.host.reopen(leave)
	if err != nil && fallback && !leave {
		err = e.host.reopen(true)
	}
	if err == nil {
		e.dev, err = e.host.openDevice()
	}
	if err != nil {
		return fmt.Errorf("%w; there is no other: %v", loss.Cause, err)
	}
	e.host.moved(about(e.dev), loss.Cause)
	return nil
}
