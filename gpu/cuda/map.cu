// Pointwise maps, see compute.Map: y = f(x), the tangent y = f′(x)·a, and the second
// coefficient y = f″(x)·a·b + f′(x)·ab, for the functions f of compute.MapFunc.
#include "pointwise.h"

#define MAP(F)       \
    F(View, dst)     \
    F(View, x)       \
    F(View, a)       \
    F(View, b)       \
    F(View, ab)      \
    F(int, length)   \
    F(int, wide)     \
    F(int, add)      \
    F(float, p0)     \
    F(float, p1)     \
    F(float, p2)
// Values of an image; whether four at a time can be read; whether to add to dst; the
// function's parameters.
PARAMS(Map, MAP)

template <int V, int Sources, class F> DEVICE void map_packs(const Map &p, F f) {
    int n = blockIdx.y;
    float *dst = p.dst.image(n);
    const View *views[4] = {&p.x, &p.a, &p.b, &p.ab};
    const float *from[Sources];
    for (int s = 0; s < Sources; s++) from[s] = views[s]->image(n);
    for (long long i = thread_index() * V; i < p.length; i += thread_count() * V) {
        Pack<V> in[Sources], out;
        for (int s = 0; s < Sources; s++) in[s] = load<V>(from[s] + i);
        if (p.add) out = load<V>(dst + i);
        for (int j = 0; j < V; j++) {
            float v[Sources];
            for (int s = 0; s < Sources; s++) v[s] = in[s].v[j];
            out.v[j] = p.add ? out.v[j] + f(v) : f(v);
        }
        store<V>(dst + i, out);
    }
}

// f maps an array of the sources' values. The image is blockIdx.y.
template <int Sources, class F> DEVICE void map(const Map &p, F f) {
    if (p.wide) map_packs<4, Sources>(p, f);
    else map_packs<1, Sources>(p, f);
}

// VALUE defines the kernel of a function; f is an expression in x and p.
#define VALUE(name, f)                              \
    KERNEL(map_##name, Map, 256, 4, plain) {        \
        map<1>(p, [&](const float (&v)[1]) {        \
            float x = v[0];                         \
            return f;                               \
        });                                         \
    }
// TANGENT defines that of its first derivative, SECOND of its second coefficient.
#define TANGENT(name, slope)                        \
    KERNEL(jvp_map_##name, Map, 256, 4, plain) {    \
        map<2>(p, [&](const float (&v)[2]) {        \
            float x = v[0];                         \
            return (slope) * v[1];                  \
        });                                         \
    }
#define SECOND(name, slope, bend)                   \
    KERNEL(jet2_map_##name, Map, 256, 4, plain) {   \
        map<4>(p, [&](const float (&v)[4]) {        \
            float x = v[0];                         \
            return (bend) * v[1] * v[2] + (slope) * v[3]; \
        });                                         \
    }

DEVICE float power(float base, float p) {
    return p == 0.5f ? sqrtf(base) : p == -0.5f ? 1 / sqrtf(base) : p == -1 ? 1 / base : p == 2 ? base * base : powf(base, p);
}

VALUE(clamp, x < p.p0 ? p.p0 : x > p.p1 ? p.p1 : x)
TANGENT(clamp, p.p0 <= x && x <= p.p1 ? 1.0f : 0.0f)

VALUE(exp, expf(fmaf(p.p0, x, p.p1)))

VALUE(pow, power(fmaf(p.p0, x, p.p1), p.p2))

VALUE(silu, silu(x))
TANGENT(silu, silu1(x))
SECOND(silu, silu1(x), silu2(x))
