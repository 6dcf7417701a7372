// The kernels of this directory's parent, compiled for the host: every thread
// of a block is a fiber, warp operations exchange values among the 32 fibers of a
// warp. This is the C interface by which a stand-in for the CUDA driver runs them.
// Pointers in the kernels' parameters are ordinary addresses.
//
// Build: a C++17 compiler, emu/*.cpp and every ../*.cu as C++ (-x c++ -O2 -fPIC).
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

// The name of the i-th kernel from 0; NULL after the last.
const char *emu_kernel(int i);

// Size in bytes of a kernel's one parameter structure; -1 for no such kernel.
long emu_params(const char *kernel);

// The fields of that structure in order, as text: "name offset size\n" each, or
// NULL. Tests compare it with the Go mirror.
const char *emu_layout(const char *kernel);

// Runs a kernel to its end with so many bytes of dynamic shared memory. 0: done;
// 1: no such kernel; 2: block larger than the kernel was compiled for, or not whole
// warps where it needs them; 3: threads of a block disagree on a barrier or a warp
// operation, or a misplaced asynchronous copy; 4: too much shared memory.
int emu_launch(const char *kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
               unsigned shared, const void *params);

#ifdef __cplusplus
}
#endif
