// The linear changes of resolution by two; the result is multiplied by scale.
#include "pointwise.h"

#define RESAMPLE(F)      \
    F(View, dst)         \
    F(View, src)         \
    F(int, length)       \
    F(int, width)        \
    F(int, kind)         \
    F(int, add)          \
    F(int, wide)         \
    F(float, scale)
// Values of an image of dst, and of its rows; wide: rows are a multiple of four.
PARAMS(Resample, RESAMPLE)

enum { up2, sumdown2, subsample2, zeroinsert2 };

// One value of dst in row y (counted through all channels, whose heights are even
// wherever the resolution is the larger one).
DEVICE float resampled(const Resample &p, const float *src, int y, int x) {
    long long w = p.width;
    switch (p.kind) {
    case up2: return src[y / 2 * (w / 2) + x / 2];
    case sumdown2: {
        const float *top = src + 4 * y * w + 2 * x, *bottom = top + 2 * w;
        return (top[0] + top[1]) + (bottom[0] + bottom[1]);
    }
    case subsample2: return src[4 * y * w + 2 * x];
    default: return y % 2 || x % 2 ? 0 : src[y / 2 * (w / 2) + x / 2];
    }
}

template <int V> DEVICE void resample_packs(const Resample &p) {
    float *dst = p.dst.image(blockIdx.y);
    const float *src = p.src.image(blockIdx.y);
    for (long long i = thread_index() * V; i < p.length; i += thread_count() * V) {
        int y = static_cast<int>(i) / p.width, x = static_cast<int>(i) % p.width;
        Pack<V> out;
        if (p.add) out = load<V>(dst + i);
        for (int j = 0; j < V; j++) {
            float v = p.scale * resampled(p, src, y, x + j);
            out.v[j] = p.add ? out.v[j] + v : v;
        }
        store<V>(dst + i, out);
    }
}

KERNEL(resample, Resample, 256, 4, plain) {
    if (p.wide) resample_packs<4>(p);
    else resample_packs<1>(p);
}
