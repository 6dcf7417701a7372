// dst = a ⊙ b, where b may have one channel for all of a's.
#include "pointwise.h"

#define MUL(F)        \
    F(View, dst)      \
    F(View, a)        \
    F(View, b)        \
    F(int, length)    \
    F(int, channel)   \
    F(int, repeat)    \
    F(int, wide)
// A thread takes a place of a channel and all repeat channels that b holds for: b may
// be the destination, and is read once. length is the values of b.
PARAMS(Mul, MUL)

template <int V> DEVICE void mul_packs(const Mul &p) {
    float *dst = p.dst.image(blockIdx.y);
    const float *a = p.a.image(blockIdx.y), *b = p.b.image(blockIdx.y);
    for (long long i = thread_index() * V; i < p.length; i += thread_count() * V) {
        Pack<V> factor = load<V>(b + i);
        for (int c = 0; c < p.repeat; c++) {
            long long at = i + static_cast<long long>(c) * p.channel;
            Pack<V> x = load<V>(a + at);
            for (int j = 0; j < V; j++) x.v[j] *= factor.v[j];
            store<V>(dst + at, x);
        }
    }
}

KERNEL(mul, Mul, 256, 4, plain) {
    if (p.wide) mul_packs<4>(p);
    else mul_packs<1>(p);
}
