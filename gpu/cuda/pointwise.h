// Maps that compute each value from the values at the same place.
#pragma once
#include "device.h"

#define POINTWISE(F) \
    F(View, dst)     \
    F(View, a)       \
    F(View, b)       \
    F(View, c)       \
    F(View, d)       \
    F(int, length)   \
    F(int, wide)     \
    F(int, add)      \
    F(float, scale)  \
    F(float, shift)  \
    F(float, power)
// Values of an image; whether four at a time can be read; whether to add to dst.
PARAMS(Pointwise, POINTWISE)

// V values that lie together; four are read at once.
template <int V> struct Pack {
    float v[V];
};
template <int V> DEVICE Pack<V> load(const float *from) {
    Pack<V> p;
    if (V == 4) {
        float4 q = *reinterpret_cast<const float4 *>(from);
        p.v[0] = q.x, p.v[1 % V] = q.y, p.v[2 % V] = q.z, p.v[3 % V] = q.w;
    } else {
        p.v[0] = *from;
    }
    return p;
}
template <int V> DEVICE void store(float *to, const Pack<V> &p) {
    if (V == 4) {
        *reinterpret_cast<float4 *>(to) = make_float4(p.v[0], p.v[1 % V], p.v[2 % V], p.v[3 % V]);
    } else {
        *to = p.v[0];
    }
}

template <int V, int Sources, class F> DEVICE void pointwise_packs(const Pointwise &p, F f) {
    int n = blockIdx.y;
    float *dst = p.dst.image(n);
    const View *views[4] = {&p.a, &p.b, &p.c, &p.d};
    const float *from[Sources];
    for (int s = 0; s < Sources; s++) from[s] = views[s]->image(n);
    for (long long i = thread_index() * V; i < p.length; i += thread_count() * V) {
        Pack<V> in[Sources], out;
        for (int s = 0; s < Sources; s++) in[s] = load<V>(from[s] + i);
        if (p.add) out = load<V>(dst + i);
        for (int j = 0; j < V; j++) {
            float x[Sources];
            for (int s = 0; s < Sources; s++) x[s] = in[s].v[j];
            out.v[j] = p.add ? out.v[j] + f(x) : f(x);
        }
        store<V>(dst + i, out);
    }
}

// f maps an array of the sources' values. The image is blockIdx.y.
template <int Sources, class F> DEVICE void pointwise(const Pointwise &p, F f) {
    if (p.wide) pointwise_packs<4, Sources>(p, f);
    else pointwise_packs<1, Sources>(p, f);
}

// x·sigmoid(x) and its derivatives.
DEVICE float sigmoid(float x) { return 1 / (1 + expf(-x)); }
DEVICE float silu(float x) { return x * sigmoid(x); }
DEVICE float silu1(float x) {
    float s = sigmoid(x);
    return s * (1 + x * (1 - s));
}
DEVICE float silu2(float x) {
    float s = sigmoid(x);
    return s * (1 - s) * (2 + x * (1 - 2 * s));
}
