// The depthwise cross-correlation with one kernel, the border extended as named. Its
// adjoint correlates the image, zero outside, with the reversed kernel over the
// extended domain, and folds the border back.
#include "device.h"

#define CORRELATE(F)          \
    F(View, dst)              \
    F(View, src)              \
    F(const float *, kernel)  \
    F(int, channels)          \
    F(int, h)                 \
    F(int, w)                 \
    F(int, to_h)              \
    F(int, to_w)              \
    F(int, kh)                \
    F(int, kw)                \
    F(int, top)               \
    F(int, left)              \
    F(int, border)            \
    F(int, reversed)
// Value (y, x) of dst sums K[i][j]·src[y + i − top][x + j − left].
PARAMS(Correlate, CORRELATE)

enum { reflect, circular, nothing };

// The index that the border puts at i, −1 for zero.
DEVICE int extend(int i, int size, int border) {
    if (i >= 0 && i < size) return i;
    if (border == circular) return (i % size + size) % size;
    if (border == nothing) return -1;
    i = i < 0 ? -i : 2 * (size - 1) - i;
    return i >= 0 && i < size ? i : -1; // beyond the reflection: not reached by a value of dst
}

const int side = 32, rows = 8, columns = 16; // a tile of dst, and the part of the kernel at a time
const int patch_w = side + columns - 1, patch_h = side + rows - 1;

// A thread computes four values one below the other. The sums of each part of the
// kernel are separate: long float32 sums would lose digits.
KERNEL(correlate, Correlate, 256, 2, fibers) {
    SHARED(float, patch);
    float *taps = patch + patch_h * patch_w;
    int n = blockIdx.z / p.channels, c = blockIdx.z % p.channels;
    const float *src = p.src.image(n) + static_cast<long long>(c) * p.h * p.w;
    int x0 = blockIdx.x * side, y0 = blockIdx.y * side, tx = threadIdx.x % 32, ty = threadIdx.x / 32;
    float total[4] = {0, 0, 0, 0};
    for (int i0 = 0; i0 < p.kh; i0 += rows)
        for (int j0 = 0; j0 < p.kw; j0 += columns) {
            block_sync();
            for (int at = threadIdx.x; at < patch_h * patch_w; at += blockDim.x) {
                int y = extend(y0 + i0 + at / patch_w - p.top, p.h, p.border), x = extend(x0 + j0 + at % patch_w - p.left, p.w, p.border);
                patch[at] = y >= 0 && x >= 0 ? src[static_cast<long long>(y) * p.w + x] : 0;
            }
            if (threadIdx.x < rows * columns) {
                int i = i0 + threadIdx.x / columns, j = j0 + threadIdx.x % columns, at = i * p.kw + j;
                taps[threadIdx.x] = i < p.kh && j < p.kw ? p.kernel[p.reversed ? p.kh * p.kw - 1 - at : at] : 0;
            }
            block_sync();
            float sum[4] = {0, 0, 0, 0};
            for (int j = 0; j < columns; j++) {
                float v[rows + 3];
#pragma unroll
                for (int i = 0; i < rows + 3; i++) v[i] = patch[(4 * ty + i) * patch_w + tx + j];
#pragma unroll
                for (int i = 0; i < rows; i++)
#pragma unroll
                    for (int r = 0; r < 4; r++) sum[r] = fmaf(taps[i * columns + j], v[i + r], sum[r]);
            }
            for (int r = 0; r < 4; r++) total[r] += sum[r];
        }
    float *dst = p.dst.image(n) + static_cast<long long>(c) * p.to_h * p.to_w;
    for (int r = 0; r < 4; r++) {
        int y = y0 + 4 * ty + r, x = x0 + tx;
        if (y < p.to_h && x < p.to_w) dst[static_cast<long long>(y) * p.to_w + x] = total[r];
    }
}

// The places of the extended domain that the border puts at i, by index k; −1 for none.
DEVICE int folded(int i, int k, int size, int around, int border) {
    int end = size + 2 * around;
    if (border == circular) {
        int at = (i + around) % size + k * size;
        return at < end ? at : -1;
    }
    if (k == 0) return i + around;
    if (k == 1) return i > 0 && around - i >= 0 ? around - i : -1;
    int at = 2 * (size - 1) - i + around;
    return k == 2 && i < size - 1 && at < end ? at : -1;
}

// src is the extended domain, [to_h + kh − 1][to_w + kw − 1].
KERNEL(correlate_fold, Correlate, 256, 4, plain) {
    int n = blockIdx.z / p.channels, c = blockIdx.z % p.channels;
    int wide = p.to_w + p.kw - 1;
    const float *src = p.src.image(n) + static_cast<long long>(c) * (p.to_h + p.kh - 1) * wide;
    float *dst = p.dst.image(n) + static_cast<long long>(c) * p.to_h * p.to_w;
    int ky = p.border == circular ? (p.to_h + p.kh - 2) / p.to_h + 1 : 3, kx = p.border == circular ? (p.to_w + p.kw - 2) / p.to_w + 1 : 3;
    for (long long at = thread_index(); at < static_cast<long long>(p.to_h) * p.to_w; at += thread_count()) {
        int y = static_cast<int>(at / p.to_w), x = static_cast<int>(at % p.to_w);
        float sum = 0;
        for (int a = 0; a < ky; a++) {
            int ey = folded(y, a, p.to_h, p.kh / 2, p.border);
            if (ey < 0) continue;
            for (int b = 0; b < kx; b++) {
                int ex = folded(x, b, p.to_w, p.kw / 2, p.border);
                if (ex >= 0) sum += src[static_cast<long long>(ey) * wide + ex];
            }
        }
        dst[at] = sum;
    }
}
