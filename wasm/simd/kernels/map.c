// Pointwise maps, see compute.Map: f(x), the tangent f′(x)·a, and the second
// coefficient f″(x)·a·b + f′(x)·ab.
#include "device.h"

struct map_args {
  struct tensor dst, x[4]; // x, a, b, ab
  int function, order, accumulate;
  float p[3];
};

// log in float64: x = m·2ᵉ, log m by the series of artanh.
static double log_of(double x) {
  long long bits;
  __builtin_memcpy(&bits, &x, 8);
  int e = (int)(bits >> 52) - 1023;
  bits = (bits & 0xfffffffffffffLL) | 0x3ff0000000000000LL;
  double m;
  __builtin_memcpy(&m, &bits, 8);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    e++;
  }
  double s = (m - 1) / (m + 1), z = s * s, sum = 0;
  for (int k = 21; k >= 1; k -= 2) sum = sum * z + 1.0 / k;
  return e * 0.6931471805599453 + 2 * s * sum;
}

static double exp_double(double x) {
  if (x > 709) return __builtin_inf();
  if (x < -700) return 0;
  double n = __builtin_rint(x * 1.4426950408889634), r = x - n * 0.6931471803691238 - n * 1.9082149292705877e-10, sum = 1;
  for (int k = 13; k >= 1; k--) sum = 1 + sum * r / k;
  long long bits = ((long long)n + 1023) << 52;
  double scale;
  __builtin_memcpy(&scale, &bits, 8);
  return sum * scale;
}

static double power(double v, float p) {
  if (p == 0.5f) return __builtin_sqrt(v);
  if (p == -0.5f) return 1 / __builtin_sqrt(v);
  if (p == -1) return 1 / v;
  if (p == 0) return 1;
  if (v == 0) return p > 0 ? 0 : __builtin_inf();
  if (!(v > 0) || v == __builtin_inf()) return v == __builtin_inf() ? (p > 0 ? v : 0) : __builtin_nan("");
  return exp_double(p * log_of(v));
}

static f4 pow4(f4 x, const float *p) {
  f4 y;
  for (int k = 0; k < 4; k++) y[k] = (float)power((double)p[0] * x[k] + p[1], p[2]);
  return y;
}

// The functions' numbers, as compute.MapFunc has them.
enum { CLAMP, EXP, POW, SILU };

// Each expression is of four values x; a, b and ab are the directions at them, p the
// function's parameters.
#define LOOP(y)                                                   \
  for (int j = 0; j < count; j += 4) {                            \
    f4 x = get(from[0] + j, count - j), v = y;                    \
    if (m->accumulate) v += get(to + j, count - j);               \
    put(to + j, v, count - j);                                    \
  }                                                               \
  break;
#define DIRECTION(k) get(from[k] + j, count - j)
#define VALUE(name, f) case 3 * name: LOOP(f)
#define TANGENT(name, slope) case 3 * name + 1: LOOP((slope) * DIRECTION(1))
#define SECOND(name, slope, bend) \
  case 3 * name + 2: LOOP((bend) * (DIRECTION(1) * DIRECTION(2)) + (slope) * DIRECTION(3))

INLINE f4 clamp_slope(f4 x, const float *p) { return (f4)((i4)splat(1) & (splat(p[0]) <= x) & (x <= splat(p[1]))); }

INLINE f4 silu_slope(f4 x) {
  f4 g = sigmoid4(x);
  return g + x * (g * (splat(1) - g));
}

INLINE f4 silu_bend(f4 x) {
  f4 g = sigmoid4(x);
  return g * (splat(1) - g) * (splat(2) + x * (splat(1) - splat(2) * g));
}

// A piece of an image.
static void map_piece(void *args, int i, int thread) {
  struct map_args *m = args;
  int pieces = ceil_div(len(&m->dst), CHUNK), n = i / pieces, at = i % pieces * CHUNK, count = min(CHUNK, len(&m->dst) - at);
  float *to = image(&m->dst, n) + at;
  const float *p = m->p, *from[4];
  for (int k = 0; k < 4; k++) from[k] = image(&m->x[k], n) + at;
  switch (3 * m->function + m->order) {
    VALUE(CLAMP, wasm_f32x4_min(wasm_f32x4_max(x, splat(p[0])), splat(p[1])))
    TANGENT(CLAMP, clamp_slope(x, p))
    VALUE(EXP, exp4(splat(p[0]) * x + splat(p[1])))
    VALUE(POW, pow4(x, p))
    VALUE(SILU, x / (splat(1) + exp4(-x)))
    TANGENT(SILU, silu_slope(x))
    SECOND(SILU, silu_slope(x), silu_bend(x))
  }
}

void map_run(void *args) {
  struct map_args *m = args;
  parallel(m->dst.n * ceil_div(len(&m->dst), CHUNK), map_piece, m, 0);
}
