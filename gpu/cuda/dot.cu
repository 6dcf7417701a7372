// ⟨a, b⟩ of each image in float64: sums of pieces, then the sum of those. The
// pieces do not depend on the batch, nor does the result.
#include "device.h"

#define DOT(F)         \
    F(View, a)         \
    F(View, b)         \
    F(double *, sums)  \
    F(int, length)     \
    F(int, pieces)
// sums holds pieces partial sums for each image, then one result for each.
PARAMS(Dot, DOT)

const int dot_piece = 8192;

KERNEL(dot, Dot, 256, 4, fibers) {
    SHARED(double, scratch);
    const float *a = p.a.image(blockIdx.y), *b = p.b.image(blockIdx.y);
    long long from = static_cast<long long>(blockIdx.x) * dot_piece;
    double sum[1] = {0};
    for (long long i = from + threadIdx.x; i < from + dot_piece && i < p.length; i += blockDim.x) sum[0] += static_cast<double>(a[i]) * b[i];
    block_sum(sum, scratch);
    if (threadIdx.x == 0) p.sums[static_cast<long long>(blockIdx.y) * p.pieces + blockIdx.x] = sum[0];
}

KERNEL(dot_sum, Dot, 256, 4, fibers) {
    SHARED(double, scratch);
    const double *from = p.sums + static_cast<long long>(blockIdx.x) * p.pieces;
    double sum[1] = {0};
    for (int i = threadIdx.x; i < p.pieces; i += blockDim.x) sum[0] += from[i];
    block_sum(sum, scratch);
    if (threadIdx.x == 0) p.sums[static_cast<long long>(gridDim.x) * p.pieces + blockIdx.x] = sum[0];
}
