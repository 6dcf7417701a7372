// What all kernels share: tensor views, parameters, and every instruction that is
// written as PTX, a dozen functions, each with a twin for the host (emu/host.h) of
// the same contract. No system header: NVRTC has none.
#pragma once

#ifdef __CUDACC__

#define DEVICE __device__ __forceinline__
// KERNEL(name, parameters, threads a block, blocks a multiprocessor, features) { body }
// defines an entry point whose one parameter is p. Features are for the host twin.
#define KERNEL(name, Params, threads, blocks, features) \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const Params p)
// The block's dynamic shared memory.
#define SHARED(T, name)                                   \
    extern __shared__ __align__(16) unsigned char block_memory[]; \
    T *name = reinterpret_cast<T *>(block_memory)
// A structure of parameters; fields is a macro that lists them, see combine.cu.
#define PARAM_FIELD(type, name, ...) type name __VA_ARGS__;
#define PARAMS(Name, fields) \
    struct Name {            \
        fields(PARAM_FIELD)  \
    };

DEVICE void block_sync() { __syncthreads(); }
DEVICE void warp_sync() { __syncwarp(); }
DEVICE float shuffle_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
DEVICE double shuffle_xor(double v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }

// Asynchronous copies of 16 and 4 bytes to shared memory; what is not valid is
// filled with zeros. The source is then not read, but must be an address.
DEVICE void copy16(void *to, const void *from, bool valid) {
    unsigned s = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(s), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
DEVICE void copy4(void *to, const void *from, bool valid) {
    unsigned s = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(s), "l"(from), "r"(valid ? 4 : 0) : "memory");
}
// copy_commit ends a group of copies; copy_wait waits for all but the last N groups
// of this thread.
DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> DEVICE void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// The bits of v rounded to TF32 (nearest, ties away).
DEVICE unsigned to_tf32(float v) {
    unsigned r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
    return r;
}
// Two values rounded to bf16, lo in the lower half.
DEVICE unsigned to_bf16x2(float lo, float hi) {
    unsigned r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}
// c += a·b for a 16×8 product of a warp. With g = lane/4 and t = lane%4:
// c = C[g][2t], C[g][2t+1], C[g+8][2t], C[g+8][2t+1].
// TF32, depth 8: a = A[g][t], A[g+8][t], A[g][t+4], A[g+8][t+4]; b = B[t][g], B[t+4][g].
DEVICE void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// bf16, depth 16, pairs of neighbours in k: a = A[g][2t..], A[g+8][2t..], A[g][2t+8..],
// A[g+8][2t+8..]; b = B[2t..][g], B[2t+8..][g].
DEVICE void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Products and sums in float64 that no compiler may fuse.
DEVICE double times64(double a, double b) { return __dmul_rn(a, b); }
DEVICE double plus64(double a, double b) { return __dadd_rn(a, b); }
DEVICE unsigned high_product(unsigned a, unsigned b) { return __umulhi(a, b); }
DEVICE unsigned bits_of(float v) { return __float_as_uint(v); }
DEVICE float from_bits(unsigned v) { return __uint_as_float(v); }
DEVICE long long bits_of(double v) { return __double_as_longlong(v); }
DEVICE double from_bits(long long v) { return __longlong_as_double(v); }

#else
#include "emu/host.h"
#endif

// View is N images of C×H×W values: image n begins at + n·pitch and is dense.
// Image n beyond the last is n mod count.
struct View {
    float *at;
    int pitch, count;
    DEVICE float *image(int n) const { return at + static_cast<long long>(n % count) * pitch; }
};

// The index of this thread along x over the whole grid, and how many there are.
DEVICE long long thread_index() { return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; }
DEVICE long long thread_count() { return static_cast<long long>(gridDim.x) * blockDim.x; }

template <class T> DEVICE T warp_sum(T v) {
    for (int mask = 16; mask > 0; mask /= 2) v += shuffle_xor(v, mask);
    return v;
}
DEVICE float warp_max(float v) {
    for (int mask = 16; mask > 0; mask /= 2) v = fmaxf(v, shuffle_xor(v, mask));
    return v;
}

// The sums of K values over the block, in every thread. scratch holds K·32 values and
// is free again afterwards.
template <int K, class T> DEVICE void block_sum(T (&v)[K], T *scratch) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = (blockDim.x + 31) / 32;
    for (int k = 0; k < K; k++) {
        v[k] = warp_sum(v[k]);
        if (lane == 0) scratch[k * 32 + warp] = v[k];
    }
    block_sync();
    for (int k = 0; k < K; k++) {
        v[k] = 0;
        for (int w = 0; w < warps; w++) v[k] += scratch[k * 32 + w];
    }
    block_sync();
}
