// N(0, 1) by Box–Muller from Philox 4×32-10 blocks, the same bits as
// sdk/diffusion/normal.go: exactly rounded float64 operations only.
#include "device.h"

// Of image n: the counter of its first block and the key.
struct normals_args {
  struct tensor dst;
  struct {
    unsigned counter[4], key[2];
  } first[];
};

static void philox(unsigned c[4], unsigned k0, unsigned k1) {
  for (int round = 0; round < 10; round++) {
    unsigned long long a = 0xD2511F53ull * c[0], b = 0xCD9E8D57ull * c[2];
    c[0] = (unsigned)(b >> 32) ^ c[1] ^ k0;
    c[1] = (unsigned)b;
    c[2] = (unsigned)(a >> 32) ^ c[3] ^ k1;
    c[3] = (unsigned)a;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// ln u for normal u in (0, 1) (FreeBSD's e_log.c).
static double natural_log(double u) {
  long long bits;
  __builtin_memcpy(&bits, &u, 8);
  int e = (int)(bits >> 52) - 1022;
  bits = (bits & 0xfffffffffffffll) | 0x3fe0000000000000ll;
  double m;
  __builtin_memcpy(&m, &bits, 8);
  if (m < 0.70710678118654752440) {
    m *= 2;
    e--;
  }
  double f = m - 1, k = e, s = f / (2 + f), z = s * s, sum = 1.479819860511658591e-01;
  sum = 1.531383769920937332e-01 + z * sum;
  sum = 1.818357216161805012e-01 + z * sum;
  sum = 2.222219843214978396e-01 + z * sum;
  sum = 2.857142874366239149e-01 + z * sum;
  sum = 3.999999999940941908e-01 + z * sum;
  sum = 6.666666666666735130e-01 + z * sum;
  double half = 0.5 * (f * f), correction = s * (half + z * sum);
  return k * 6.93147180369123816490e-01 - ((half - (correction + k * 1.90821492927058770002e-10)) - f);
}

// Two normals of two words: radius √(−2 ln u) at an angle, a quarter turn from the
// upper two bits and an angle within ±π/4 from the others.
static void box_muller(float *to, unsigned a, unsigned b) {
  double r = __builtin_sqrt(-2 * natural_log((a + 0.5) / 4294967296.0));
  double angle = (((b & 0x3fffffffu) + 0.5) / 1073741824.0 - 0.5) * 1.57079632679489661923, z = angle * angle;
  double c = 1.0 / 20922789888000, s = 1.0 / 355687428096000;
  c = -1.0 / 87178291200 + z * c, s = -1.0 / 1307674368000 + z * s;
  c = 1.0 / 479001600 + z * c, s = 1.0 / 6227020800 + z * s;
  c = -1.0 / 3628800 + z * c, s = -1.0 / 39916800 + z * s;
  c = 1.0 / 40320 + z * c, s = 1.0 / 362880 + z * s;
  c = -1.0 / 720 + z * c, s = -1.0 / 5040 + z * s;
  c = 1.0 / 24 + z * c, s = 1.0 / 120 + z * s;
  c = -1.0 / 2 + z * c, s = -1.0 / 6 + z * s;
  c = 1 + z * c, s = angle * (1 + z * s);
  double x = b >> 30 & 1 ? s : c, y = b >> 30 & 1 ? c : s;
  int quarter = (int)(b >> 30);
  to[0] = (float)(r * (quarter == 1 || quarter == 2 ? -x : x));
  to[1] = (float)(r * (quarter >= 2 ? -y : y));
}

static void piece(void *p, int i, int thread) {
  struct normals_args *a = p;
  int pieces = ceil_div(len(&a->dst), CHUNK), n = i / pieces, from = i % pieces * CHUNK, count = min(CHUNK, len(&a->dst) - from);
  float *to = image(&a->dst, n) + from;
  const unsigned *first = a->first[n].counter, *key = a->first[n].key;
  for (int j = 0; j < count; j += 4) {
    unsigned w[4] = {first[0] + (unsigned)(from + j) / 4, first[1], first[2], first[3]};
    float v[4];
    philox(w, key[0], key[1]);
    box_muller(v, w[0], w[1]);
    box_muller(v + 2, w[2], w[3]);
    put(to + j, load(v), count - j);
  }
}

void normals_run(void *args) {
  struct normals_args *a = args;
  parallel(a->dst.n * ceil_div(len(&a->dst), CHUNK), piece, a, 0);
}
