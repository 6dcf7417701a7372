// dst = L · src · Rᵀ for each channel image: first T = src · Rᵀ, then L · T.
#include "device.h"

#define SEPARABLE(F)      \
    F(View, dst)          \
    F(View, src)          \
    F(const float *, l)   \
    F(const float *, r)   \
    F(float *, between)   \
    F(int, channels)      \
    F(int, h)             \
    F(int, w)             \
    F(int, to_h)          \
    F(int, to_w)          \
    F(int, add)
// between holds T, dense [image][channel][h][to_w].
PARAMS(Separable, SEPARABLE)

const int tile = 32; // a block of 32×8 threads computes 32×32 values

// C[i][j] = Σ_k A[i][k]·B(k, j) with B[k][j], or B[j][k] where transposed.
template <bool transposed> DEVICE void product(float *c, const float *a, const float *b, int rows, int inner, int columns, bool add) {
    SHARED(float, as);
    float *bs = as + tile * (tile + 1);
    int tx = threadIdx.x % tile, ty = threadIdx.x / tile;
    int i0 = blockIdx.y * tile, j0 = blockIdx.x * tile;
    float sum[4] = {0, 0, 0, 0};
    for (int k0 = 0; k0 < inner; k0 += tile) {
        for (int r = ty; r < tile; r += 8) {
            as[r * (tile + 1) + tx] = i0 + r < rows && k0 + tx < inner ? a[static_cast<long long>(i0 + r) * inner + k0 + tx] : 0;
            if (transposed) bs[tx * (tile + 1) + r] = j0 + r < columns && k0 + tx < inner ? b[static_cast<long long>(j0 + r) * inner + k0 + tx] : 0;
            else bs[r * (tile + 1) + tx] = k0 + r < inner && j0 + tx < columns ? b[static_cast<long long>(k0 + r) * columns + j0 + tx] : 0;
        }
        block_sync();
        for (int k = 0; k < tile; k++) {
            float v = bs[k * (tile + 1) + tx];
            for (int r = 0; r < 4; r++) sum[r] = fmaf(as[(ty + 8 * r) * (tile + 1) + k], v, sum[r]);
        }
        block_sync();
    }
    for (int r = 0; r < 4; r++) {
        int i = i0 + ty + 8 * r, j = j0 + tx;
        if (i >= rows || j >= columns) continue;
        float *to = c + static_cast<long long>(i) * columns + j;
        *to = add ? *to + sum[r] : sum[r];
    }
}

KERNEL(separable_rows, Separable, 256, 4, fibers) {
    int n = blockIdx.z / p.channels, c = blockIdx.z % p.channels;
    product<true>(p.between + static_cast<long long>(blockIdx.z) * p.h * p.to_w, p.src.image(n) + static_cast<long long>(c) * p.h * p.w, p.r,
                  p.h, p.w, p.to_w, false);
}

KERNEL(separable, Separable, 256, 4, fibers) {
    int n = blockIdx.z / p.channels, c = blockIdx.z % p.channels;
    product<false>(p.dst.image(n) + static_cast<long long>(c) * p.to_h * p.to_w, p.l, p.between + static_cast<long long>(blockIdx.z) * p.h * p.to_w,
                   p.to_h, p.h, p.to_w, p.add);
}
