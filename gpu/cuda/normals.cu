// N(0, 1) by Box–Muller from Philox 4×32-10 blocks, the same bits as
// sdk/diffusion/normal.go: exactly rounded float64 operations only, none fused.
#include "device.h"

const int normals_images = 64;

#define NORMALS(F)  \
    F(View, dst)    \
    F(int, first)   \
    F(int, length)  \
    F(unsigned, blocks, [normals_images * 6])
// first is the number of the launch's first image; blocks holds the counter and the
// key of each.
PARAMS(Normals, NORMALS)

DEVICE void philox(unsigned (&c)[4], unsigned k0, unsigned k1) {
    for (int round = 0; round < 10; round++) {
        unsigned hi0 = high_product(0xD2511F53u, c[0]), lo0 = 0xD2511F53u * c[0];
        unsigned hi1 = high_product(0xCD9E8D57u, c[2]), lo1 = 0xCD9E8D57u * c[2];
        c[0] = hi1 ^ c[1] ^ k0, c[1] = lo1, c[2] = hi0 ^ c[3] ^ k1, c[3] = lo0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
}

template <int N> DEVICE double horner(double x, const double (&c)[N]) {
    double sum = 0;
#pragma unroll
    for (int i = N - 1; i >= 0; i--) sum = plus64(c[i], times64(x, sum));
    return sum;
}

// ln u for normal u in (0, 1) (FreeBSD's e_log.c).
DEVICE double natural_log(double u) {
    const double odd[7] = {6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
                           1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01};
    long long bits = bits_of(u);
    int e = static_cast<int>(bits >> 52) - 1022;
    double m = from_bits((bits & 0xfffffffffffffll) | 0x3fe0000000000000ll);
    if (m < 0.70710678118654752440) {
        m = times64(m, 2);
        e--;
    }
    double f = plus64(m, -1), k = e;
    double s = f / plus64(2, f), s2 = times64(s, s);
    double half = times64(0.5, times64(f, f));
    double correction = times64(s, plus64(half, times64(s2, horner(s2, odd))));
    double low = plus64(correction, times64(k, 1.90821492927058770002e-10));
    return plus64(times64(k, 6.93147180369123816490e-01), -plus64(plus64(half, -low), -f));
}

// Cosine and sine of 2π((w + ½)/2³² − ⅛).
DEVICE void turn(unsigned w, double &cosine, double &sine) {
    const double odd[9] = {1, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800, -1.0 / 1307674368000, 1.0 / 355687428096000};
    const double even[9] = {1, -1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600, -1.0 / 87178291200, 1.0 / 20922789888000};
    double angle = plus64(times64(plus64(w & 0x3fffffffu, 0.5), 1.0 / (1 << 30)), -0.5);
    angle = times64(angle, 1.57079632679489661923);
    double a2 = times64(angle, angle), s = times64(angle, horner(a2, odd)), c = horner(a2, even);
    switch (w >> 30) {
    case 0: cosine = c, sine = s; break;
    case 1: cosine = -s, sine = c; break;
    case 2: cosine = -c, sine = -s; break;
    default: cosine = s, sine = -c;
    }
}

DEVICE void box_muller(unsigned a, unsigned b, float &x, float &y) {
    double u = times64(plus64(a, 0.5), 1.0 / 4294967296.0);
    double r = sqrt(times64(-2, natural_log(u))), c, s;
    turn(b, c, s);
    x = static_cast<float>(times64(r, c));
    y = static_cast<float>(times64(r, s));
}

KERNEL(normals, Normals, 256, 2, plain) {
    float *dst = p.dst.image(p.first + blockIdx.y);
    const unsigned *from = p.blocks + blockIdx.y * 6;
    for (long long i = thread_index() * 4; i < p.length; i += thread_count() * 4) {
        unsigned c[4] = {from[0] + static_cast<unsigned>(i / 4), from[1], from[2], from[3]};
        philox(c, from[4], from[5]);
        float v[4];
        box_muller(c[0], c[1], v[0], v[1]);
        box_muller(c[2], c[3], v[2], v[3]);
        for (int j = 0; j < 4 && i + j < p.length; j++) dst[i + j] = v[j];
    }
}
