// dst = Σ coefficient·x over up to six terms, with a coefficient for each image.
#include "pointwise.h"

// Images of one launch: their coefficients travel in the parameters.
const int combine_images = 32;

#define COMBINE(F)                 \
    F(View, dst)                   \
    F(View, x, [6])                \
    F(int, terms)                  \
    F(int, first)                  \
    F(int, length)                 \
    F(int, wide)                   \
    F(float, coef, [combine_images * 6])
// first is the number of the launch's first image.
PARAMS(Combine, COMBINE)

template <int V> DEVICE void combine_packs(const Combine &p) {
    int n = p.first + blockIdx.y;
    float *dst = p.dst.image(n);
    const float *coef = p.coef + blockIdx.y * 6;
    for (long long i = thread_index() * V; i < p.length; i += thread_count() * V) {
        Pack<V> sum;
        for (int j = 0; j < V; j++) sum.v[j] = 0;
        for (int k = 0; k < p.terms; k++) {
            Pack<V> x = load<V>(p.x[k].image(n) + i);
            for (int j = 0; j < V; j++) sum.v[j] = k == 0 ? coef[0] * x.v[j] : fmaf(coef[k], x.v[j], sum.v[j]);
        }
        store<V>(dst + i, sum);
    }
}

KERNEL(combine, Combine, 256, 4, plain) {
    if (p.wide) combine_packs<4>(p);
    else combine_packs<1>(p);
}
