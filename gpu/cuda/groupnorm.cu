// Group normalisation with an affine map per channel and SiLU: value, adjoint (vjp),
// tangent (jvp) and second coefficient (jet2). With c = x − mean and r = 1/√(var + eps):
//
//   z = A·c·r + B,  A = gamma·(1 + scale),  B = beta·(1 + scale) + shift
//   x̂_a = (a − ā)·r + c·r_a,  r_a = −½ r³ V_a,  V_a = 2 mean(c c_a)
//   x̂_ab = (ab − mean)·r + (a − ā)·r_b + (b − b̄)·r_a + c·r_ab,
//   r_ab = ¾ r⁵ V_a V_b − ½ r³ (2 mean(c c_ab) + 2 mean(c_a c_b))
//   adjoint: g = A·dy·silu′(z),  dx = r·(g − ḡ) − r³·c·mean((g − ḡ) c)
//
// Each is a pass of sums in float64 over pieces of a group, and a pass that applies
// them. Pieces do not depend on the batch, nor does the result.
#include "pointwise.h"

#define GROUPNORM(F)   \
    F(View, dst)       \
    F(View, x)         \
    F(View, stats)     \
    F(View, a)         \
    F(View, b)         \
    F(View, ab)        \
    F(View, gamma)     \
    F(View, beta)      \
    F(View, scale)     \
    F(View, shift)     \
    F(double *, sums)  \
    F(int, groups)     \
    F(int, length)     \
    F(int, pixels)     \
    F(int, pieces)     \
    F(int, pass)       \
    F(int, wide)       \
    F(int, silu)       \
    F(int, scaled)     \
    F(int, add)        \
    F(float, eps)
// length is the values of a group, pixels those of a channel; scaled: scale and shift
// are there. a is dy for the adjoint. sums holds 8 values for each piece.
PARAMS(GroupNorm, GROUPNORM)

const int norm_piece = 8192;

enum Order { value, vjp, jvp, jet2 };
template <Order O> struct Sums {
    static const int count = O == value ? 2 : O == jet2 ? 8 : 3;
};

// Where a block works: a piece of a group of an image.
struct Place {
    int n, group, piece, from, to; // [from, to) are values of the group
    long long start;               // of the group in the image
};
DEVICE Place place(const GroupNorm &p) {
    Place w;
    w.n = blockIdx.y;
    w.group = blockIdx.x / p.pieces;
    w.piece = blockIdx.x % p.pieces;
    w.from = w.piece * norm_piece;
    w.to = w.from + norm_piece < p.length ? w.from + norm_piece : p.length;
    w.start = static_cast<long long>(w.group) * p.length;
    return w;
}

// The map after the normalisation, z = A·x̂ + B, at value i of the group.
struct Affine {
    float a, b;
};
DEVICE Affine affine(const GroupNorm &p, const Place &w, int i) {
    int c = static_cast<int>((w.start + i) / p.pixels);
    float a = p.gamma.at[c], b = p.beta.at[c];
    if (p.scaled) {
        float s = 1 + p.scale.image(w.n % p.x.count)[c];
        a *= s;
        b = b * s + p.shift.image(w.n % p.x.count)[c];
    }
    return {a, b};
}

// The gradient that reaches x̂.
DEVICE float pulled(const GroupNorm &p, Affine m, float xhat, float dy) { return p.silu ? m.a * dy * silu1(m.a * xhat + m.b) : m.a * dy; }

template <Order O, int V> DEVICE void gather(const GroupNorm &p, const Place &w, double (&sum)[Sums<O>::count]) {
    const float *x = p.x.image(w.n) + w.start, *a = nullptr, *b = nullptr, *ab = nullptr;
    if (O != value) a = p.a.image(w.n) + w.start;
    if (O == jet2) b = p.b.image(w.n) + w.start, ab = p.ab.image(w.n) + w.start;
    float mean = 0, r = 0;
    if (O != value) mean = p.stats.image(w.n)[w.group], r = p.stats.image(w.n)[p.groups + w.group];
    for (int i = w.from + threadIdx.x * V; i < w.to; i += blockDim.x * V) {
        Pack<V> xs = load<V>(x + i), as, bs, abs;
        if (O != value) as = load<V>(a + i);
        if (O == jet2) bs = load<V>(b + i), abs = load<V>(ab + i);
        Affine m = {0, 0};
        if (O == vjp) m = affine(p, w, i);
        for (int j = 0; j < V; j++) {
            if (O == value) {
                double v = xs.v[j];
                sum[0] += v;
                sum[1] += v * v;
                continue;
            }
            float c = xs.v[j] - mean;
            double first = O == vjp ? pulled(p, m, c * r, as.v[j]) : as.v[j];
            sum[0] += c;
            sum[1] += first;
            sum[2] += c * first;
            if (O == jet2) {
                double second = bs.v[j], both = abs.v[j];
                sum[3 % Sums<O>::count] += second;
                sum[4 % Sums<O>::count] += c * second;
                sum[5 % Sums<O>::count] += both;
                sum[6 % Sums<O>::count] += c * both;
                sum[7 % Sums<O>::count] += first * second;
            }
        }
    }
}

// The numbers of a group that the second pass needs.
struct Group {
    float mean, r, a, b, ab;    // means of x, of the directions (or of g), and r
    float ra, rb, rab;          // derivatives of r; for the adjoint ra = −r³·slope
};

template <Order O> DEVICE Group derive(const GroupNorm &p, const Place &w, const double (&sum)[Sums<O>::count]) {
    Group g = {};
    double n = p.length;
    float *stats = p.stats.image(w.n);
    if (O == value) {
        double mean = sum[0] / n, variance = sum[1] / n - mean * mean;
        double r = 1 / sqrt((variance > 0 ? variance : 0) + static_cast<double>(p.eps));
        g.mean = static_cast<float>(mean);
        g.r = static_cast<float>(r);
        if (w.piece == 0 && threadIdx.x == 0) stats[w.group] = g.mean, stats[p.groups + w.group] = g.r;
        return g;
    }
    g.mean = stats[w.group];
    g.r = stats[p.groups + w.group];
    double r = g.r, c = sum[0] / n, a = sum[1] / n, ca = sum[2] / n - c * a;
    g.a = static_cast<float>(a);
    if (O == vjp) {
        g.ra = static_cast<float>(-r * r * r * ca);
        return g;
    }
    double va = 2 * ca;
    g.ra = static_cast<float>(-0.5 * r * r * r * va);
    if (O == jet2) {
        const int last = Sums<O>::count - 1;
        double b = sum[3 % (last + 1)] / n, vb = 2 * (sum[4 % (last + 1)] / n - c * b);
        double ab = sum[5 % (last + 1)] / n, vab = 2 * (sum[6 % (last + 1)] / n - c * ab) + 2 * (sum[last] / n - a * b);
        g.b = static_cast<float>(b);
        g.rb = static_cast<float>(-0.5 * r * r * r * vb);
        g.ab = static_cast<float>(ab);
        g.rab = static_cast<float>(0.75 * r * r * r * r * r * va * vb - 0.5 * r * r * r * vab);
    }
    return g;
}

template <Order O, int V> DEVICE void apply(const GroupNorm &p, const Place &w, const Group &g) {
    const float *x = p.x.image(w.n) + w.start, *a = nullptr, *b = nullptr, *ab = nullptr;
    if (O != value) a = p.a.image(w.n) + w.start;
    if (O == jet2) b = p.b.image(w.n) + w.start, ab = p.ab.image(w.n) + w.start;
    float *dst = p.dst.image(w.n) + w.start;
    for (int i = w.from + threadIdx.x * V; i < w.to; i += blockDim.x * V) {
        Pack<V> xs = load<V>(x + i), as, bs, abs, out;
        if (O != value) as = load<V>(a + i);
        if (O == jet2) bs = load<V>(b + i), abs = load<V>(ab + i);
        if (O == vjp && p.add) out = load<V>(dst + i);
        Affine m = affine(p, w, i);
        for (int j = 0; j < V; j++) {
            float c = xs.v[j] - g.mean, xhat = c * g.r, y;
            if (O == value) {
                float z = m.a * xhat + m.b;
                y = p.silu ? silu(z) : z;
            } else if (O == vjp) {
                y = g.r * (pulled(p, m, xhat, as.v[j]) - g.a) + c * g.ra;
                if (p.add) y += out.v[j];
            } else {
                float za = m.a * ((as.v[j] - g.a) * g.r + c * g.ra), z = m.a * xhat + m.b;
                y = p.silu ? silu1(z) * za : za;
                if (O == jet2) {
                    float zb = m.a * ((bs.v[j] - g.b) * g.r + c * g.rb);
                    float zab = m.a * ((abs.v[j] - g.ab) * g.r + (as.v[j] - g.a) * g.rb + (bs.v[j] - g.b) * g.ra + c * g.rab);
                    y = p.silu ? silu2(z) * za * zb + silu1(z) * zab : zab;
                }
            }
            out.v[j] = y;
        }
        store<V>(dst + i, out);
    }
}

DEVICE double *sums_of(const GroupNorm &p, const Place &w, int piece) {
    return p.sums + ((static_cast<long long>(w.n) * p.groups + w.group) * p.pieces + piece) * 8;
}

// Pass 0 leaves the sums of pieces, pass 1 applies them, pass 2 is both at once for
// groups of one piece.
template <Order O> DEVICE void norm(const GroupNorm &p) {
    SHARED(double, scratch);
    const int count = Sums<O>::count;
    Place w = place(p);
    double sum[count];
    for (int k = 0; k < count; k++) sum[k] = 0;
    if (p.pass == 1) {
        for (int i = threadIdx.x; i < p.pieces; i += blockDim.x)
            for (int k = 0; k < count; k++) sum[k] += sums_of(p, w, i)[k];
    } else if (p.wide) {
        gather<O, 4>(p, w, sum);
    } else {
        gather<O, 1>(p, w, sum);
    }
    block_sum(sum, scratch);
    if (p.pass == 0) {
        if (threadIdx.x == 0)
            for (int k = 0; k < count; k++) sums_of(p, w, w.piece)[k] = sum[k];
        return;
    }
    Group g = derive<O>(p, w, sum);
    if (p.wide) apply<O, 4>(p, w, g);
    else apply<O, 1>(p, w, g);
}

KERNEL(groupnorm, GroupNorm, 256, 4, fibers) { norm<value>(p); }
KERNEL(vjp_groupnorm, GroupNorm, 256, 4, fibers) { norm<vjp>(p); }
KERNEL(jvp_groupnorm, GroupNorm, 256, 4, fibers) { norm<jvp>(p); }
KERNEL(jet2_groupnorm, GroupNorm, 256, 2, fibers) { norm<jet2>(p); }
