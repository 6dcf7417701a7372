// The 1×1 convolution of single pixels, in float32: a warp computes one output of up
// to eight images.
#include "device.h"

#define LINEAR(F)              \
    F(View, dst)               \
    F(View, src)               \
    F(View, plus)              \
    F(const float *, weight)   \
    F(const float *, bias)     \
    F(int, images)             \
    F(int, in)                 \
    F(int, out)
// weight is [out][in]; plus and bias may have no address.
PARAMS(Linear, LINEAR)

const int at_once = 8;

KERNEL(linear, Linear, 256, 2, fibers) {
    int lane = threadIdx.x % 32, o = blockIdx.x * 8 + threadIdx.x / 32, n0 = blockIdx.y * at_once;
    if (o >= p.out) return; // the whole warp
    const float *w = p.weight + static_cast<long long>(o) * p.in;
    const float *x[at_once];
    float sum[at_once];
#pragma unroll
    for (int n = 0; n < at_once; n++) {
        x[n] = p.src.image(n0 + n < p.images ? n0 + n : 0);
        sum[n] = 0;
    }
    for (int i = lane; i < p.in; i += 32) {
        float v = w[i];
#pragma unroll
        for (int n = 0; n < at_once; n++) sum[n] = fmaf(v, x[n][i], sum[n]);
    }
#pragma unroll
    for (int n = 0; n < at_once; n++) {
        float v = warp_sum(sum[n]);
        if (lane == n && n0 + n < p.images) {
            if (p.bias) v += p.bias[o];
            if (p.plus.at) v += p.plus.image(n0 + n)[o];
            p.dst.image(n0 + n)[o] = v;
        }
    }
}
