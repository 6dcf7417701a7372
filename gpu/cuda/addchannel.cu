// dst = x + e with one value of e for each channel.
#include "pointwise.h"

#define ADDCHANNEL(F) \
    F(View, dst)      \
    F(View, x)        \
    F(View, e)        \
    F(int, length)    \
    F(int, pixels)    \
    F(int, wide)
// length is the values of an image, pixels those of a channel; wide: pixels are a
// multiple of four.
PARAMS(AddChannel, ADDCHANNEL)

template <int V> DEVICE void addchannel_packs(const AddChannel &p) {
    float *dst = p.dst.image(blockIdx.y);
    const float *from = p.x.image(blockIdx.y), *e = p.e.image(blockIdx.y);
    for (long long i = thread_index() * V; i < p.length; i += thread_count() * V) {
        Pack<V> x = load<V>(from + i);
        float add = e[static_cast<int>(i) / p.pixels];
        for (int j = 0; j < V; j++) x.v[j] += add;
        store<V>(dst + i, x);
    }
}

KERNEL(addchannel, AddChannel, 256, 4, plain) {
    if (p.wide) addchannel_packs<4>(p);
    else addchannel_packs<1>(p);
}
