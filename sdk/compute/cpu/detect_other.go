//go:build !amd64

package cpu

// available lists the kernels that this processor can run, the best first.
func available() []*kernels { return []*kernels{generic} }
