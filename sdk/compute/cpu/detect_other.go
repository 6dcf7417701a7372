//go:build !amd64 && !arm64

package cpu

// available lists the kernels that this processor can run, the best first.
func available() []*kernels { return []*kernels{generic} }

// pause returns what a thread does between two looks at a counter.
func pause() {}
