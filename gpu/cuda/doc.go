// Package cuda is the compute device of NVIDIA GPUs from compute capability 8.0
// (A100) on. Its kernels are CUDA C++, one a file, compiled to PTX that is
// embedded; the driver compiles them for the GPU at hand.
package cuda
