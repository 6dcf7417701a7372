// Kernels that try the emulation itself: some are right, most are not.
#include "../../device.h"

#define TRIAL(F)            \
    F(const float *, from)  \
    F(float *, to)
PARAMS(Trial, TRIAL)

// One thread leaves before the barrier that the others wait at.
KERNEL(lost_barrier, Trial, 64, 1, fibers) {
    if (threadIdx.x == 5) return;
    block_sync();
}

// Half of a warp exchanges values, the other half only meets.
KERNEL(torn_warp, Trial, 64, 1, fibers) {
    if (threadIdx.x % 32 < 16) shuffle_xor(1.0f, 1);
    else warp_sync();
}

// A copy of 16 bytes to an address that is no multiple of 16.
KERNEL(crooked_copy, Trial, 32, 1, fibers) {
    SHARED(float, memory);
    copy16(memory + 1, p.from, true);
}

// A copy beyond the block's shared memory.
KERNEL(far_copy, Trial, 32, 1, fibers) {
    SHARED(float, memory);
    copy4(memory + 64, p.from, true);
}

// What a copy brings is read without waiting for it: to[0], then after waiting, to[1],
// and a place that is filled with zero, to[2].
KERNEL(hasty_copy, Trial, 32, 1, fibers) {
    SHARED(float, memory);
    if (threadIdx.x == 0) {
        copy4(memory, p.from, true);
        copy4(memory + 1, p.from, false);
        copy_commit();
        p.to[0] = memory[0];
        copy_wait<1>(); // one group may still be on its way
        p.to[1] = memory[0];
        copy_wait<0>();
        p.to[2] = memory[0];
        p.to[3] = memory[1];
    }
}

// A kernel that says it needs no fibers meets a barrier.
KERNEL(plain_barrier, Trial, 32, 1, plain) { block_sync(); }

// to = A·B + C of a 16×8·8×8 product: from holds A, B and C row after row.
KERNEL(product_tf32, Trial, 32, 1, fibers) {
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    const float *a = p.from, *b = a + 128, *c = b + 64;
    unsigned as[4] = {to_tf32(a[g * 8 + t]), to_tf32(a[(g + 8) * 8 + t]), to_tf32(a[g * 8 + t + 4]), to_tf32(a[(g + 8) * 8 + t + 4])};
    unsigned bs[2] = {to_tf32(b[t * 8 + g]), to_tf32(b[(t + 4) * 8 + g])};
    float cs[4] = {c[g * 8 + 2 * t], c[g * 8 + 2 * t + 1], c[(g + 8) * 8 + 2 * t], c[(g + 8) * 8 + 2 * t + 1]};
    mma_tf32(cs, as, bs);
    p.to[g * 8 + 2 * t] = cs[0], p.to[g * 8 + 2 * t + 1] = cs[1];
    p.to[(g + 8) * 8 + 2 * t] = cs[2], p.to[(g + 8) * 8 + 2 * t + 1] = cs[3];
}

// The same of 16×16·16×8 in bf16.
KERNEL(product_bf16, Trial, 32, 1, fibers) {
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    const float *a = p.from, *b = a + 256, *c = b + 128;
    unsigned as[4], bs[2];
    for (int r = 0; r < 4; r++) {
        const float *at = a + (g + r % 2 * 8) * 16 + 2 * t + r / 2 * 8;
        as[r] = to_bf16x2(at[0], at[1]);
    }
    for (int r = 0; r < 2; r++) bs[r] = to_bf16x2(b[(2 * t + 8 * r) * 8 + g], b[(2 * t + 8 * r + 1) * 8 + g]);
    float cs[4] = {c[g * 8 + 2 * t], c[g * 8 + 2 * t + 1], c[(g + 8) * 8 + 2 * t], c[(g + 8) * 8 + 2 * t + 1]};
    mma_bf16(cs, as, bs);
    p.to[g * 8 + 2 * t] = cs[0], p.to[g * 8 + 2 * t + 1] = cs[1];
    p.to[(g + 8) * 8 + 2 * t] = cs[2], p.to[(g + 8) * 8 + 2 * t + 1] = cs[3];
}

// The sum of 256 values over the block, by every thread.
KERNEL(sum_of_block, Trial, 256, 1, fibers) {
    SHARED(double, scratch);
    double sum[1] = {p.from[threadIdx.x]};
    block_sum(sum, scratch);
    p.to[threadIdx.x] = static_cast<float>(sum[0]);
}
