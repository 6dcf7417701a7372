package diffusion

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Beyond its 2^24 blocks a stream would run into the next purpose's.
func TestStreamEnds(t *testing.T) {
	s := Stream{Purpose: Initial}
	assert.NotPanics(t, func() { s.block(maxBlocks - 1) })
	assert.Panics(t, func() { s.block(maxBlocks) })
	last, next := s.block(maxBlocks-1), Stream{Purpose: StepNoise}.block(0)
	assert.NotEqual(t, last, next)
}
