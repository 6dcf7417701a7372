// What kernels share that compute each value from the values at the same place.
#pragma once
#include "device.h"

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
