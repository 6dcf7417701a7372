// Package libcuda binds [cuda.Driver] to NVIDIA's driver: libcuda.so.1, opened at
// run time without cgo.
//
// Every call runs on one OS thread, to which the context is bound. Launches are
// handed over without waiting; the first failure is kept. A failure is an [Error]
// with CUDA's own name. After one that wraps compute.ErrLost, CUDA wants the
// process to end; a new GPU opened in it may fail as well.
package libcuda
