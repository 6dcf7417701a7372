// Vector arithmetic.
#include "device.h"

#define PIECE(dst) \
  int pieces = ceil_div(len(&(dst)), CHUNK), n = i / pieces, from = i % pieces * CHUNK, count = min(CHUNK, len(&(dst)) - from)

static int pieces_of(const struct tensor *t) { return t->n * ceil_div(len(t), CHUNK); }

// Combine: coefficients lie in a table, one for each image of the destination.
enum { TERMS = 6 };
struct combine_args {
  struct tensor dst;
  int terms;
  struct tensor x[TERMS];
  int uniform[TERMS];    // one coefficient for all images
  float coefficients[];  // term after term
};

static void combine_piece(void *p, int i, int thread) {
  struct combine_args *a = p;
  PIECE(a->dst);
  float *to = image(&a->dst, n) + from, coefficient[TERMS];
  const float *x[TERMS], *c = a->coefficients;
  for (int k = 0; k < a->terms; k++) {
    x[k] = image(&a->x[k], n) + from;
    coefficient[k] = c[a->uniform[k] ? 0 : n];
    c += a->uniform[k] ? 1 : a->dst.n;
  }
  // The destination may be a term: all are read before it is written.
  for (int j = 0; j < count; j += 4) {
    f4 sum = splat(coefficient[0]) * get(x[0] + j, count - j);
    for (int k = 1; k < a->terms; k++) sum += splat(coefficient[k]) * get(x[k] + j, count - j);
    put(to + j, sum, count - j);
  }
}

void combine_run(void *args) { parallel(pieces_of(args), combine_piece, args, 0); }

struct map_args {
  struct tensor dst, x, y;
  float f[3];
};

static void add_channel_image(void *p, int n, int thread) {
  struct map_args *a = p;
  int hw = a->dst.h * a->dst.w;
  for (int c = 0; c < a->dst.c; c++) {
    struct act k = {.m = 1, .c = image(&a->y, n)[c]};
    affine(image(&a->dst, n) + c * hw, image(&a->x, n) + c * hw, hw, &k);
  }
}

void add_channel_run(void *args) {
  struct map_args *a = args;
  parallel(a->dst.n, add_channel_image, a, 0);
}

static void mul_piece(void *p, int i, int thread) {
  struct map_args *a = p;
  PIECE(a->y);
  int length = len(&a->y), repeat = a->dst.c / a->y.c;
  n = i / pieces;
  const float *factor = image(&a->y, n) + from;
  if (repeat > 1) { // the destination may be the factor
    factor = CONTROL->scratch[thread];
    copy(CONTROL->scratch[thread], image(&a->y, n) + from, count);
  }
  for (int c = 0; c < repeat; c++) {
    float *to = image(&a->dst, n) + c * length + from;
    const float *x = image(&a->x, n) + c * length + from;
    for (int j = 0; j < count; j += 4) put(to + j, get(x + j, count - j) * get(factor + j, count - j), count - j);
  }
}

void mul_run(void *args) {
  struct map_args *a = args;
  parallel(a->dst.n * ceil_div(len(&a->y), CHUNK), mul_piece, a, CHUNK);
}

static void clamp_piece(void *p, int i, int thread) {
  struct map_args *a = p;
  PIECE(a->dst);
  float *to = image(&a->dst, n) + from;
  const float *x = image(&a->x, n) + from;
  f4 lo = splat(a->f[0]), hi = splat(a->f[1]);
  for (int j = 0; j < count; j += 4) put(to + j, wasm_f32x4_min(wasm_f32x4_max(get(x + j, count - j), lo), hi), count - j);
}

void clamp_run(void *args) { parallel(pieces_of(args), clamp_piece, args, 0); }

static void clamp_adjoint_piece(void *p, int i, int thread) {
  struct map_args *a = p;
  PIECE(a->dst);
  float *to = image(&a->dst, n) + from;
  const float *g = image(&a->x, n) + from, *x = image(&a->y, n) + from;
  f4 lo = splat(a->f[0]), hi = splat(a->f[1]);
  for (int j = 0; j < count; j += 4) {
    f4 v = get(x + j, count - j);
    i4 inside = (lo <= v) & (v <= hi);
    put(to + j, (f4)((i4)get(g + j, count - j) & inside), count - j);
  }
}

void clamp_adjoint_run(void *args) { parallel(pieces_of(args), clamp_adjoint_piece, args, 0); }

static void exp_piece(void *p, int i, int thread) {
  struct map_args *a = p;
  PIECE(a->dst);
  float *to = image(&a->dst, n) + from;
  const float *x = image(&a->x, n) + from;
  for (int j = 0; j < count; j += 4) put(to + j, exp4(splat(a->f[0]) * get(x + j, count - j) + splat(a->f[1])), count - j);
}

void exp_of_run(void *args) { parallel(pieces_of(args), exp_piece, args, 0); }

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

static void pow_piece(void *p, int i, int thread) {
  struct map_args *a = p;
  PIECE(a->dst);
  float *to = image(&a->dst, n) + from;
  const float *x = image(&a->x, n) + from;
  double scale = a->f[0], shift = a->f[1];
  for (int j = 0; j < count; j++) to[j] = (float)power(scale * x[j] + shift, a->f[2]);
}

void pow_of_run(void *args) { parallel(pieces_of(args), pow_piece, args, 0); }
