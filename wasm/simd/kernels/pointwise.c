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

struct two_args {
  struct tensor dst, x, y;
};

static void addchannel_image(void *p, int n, int thread) {
  struct two_args *a = p;
  int hw = a->dst.h * a->dst.w;
  for (int c = 0; c < a->dst.c; c++) {
    struct act k = {.m = 1, .c = image(&a->y, n)[c]};
    affine(image(&a->dst, n) + c * hw, image(&a->x, n) + c * hw, hw, &k);
  }
}

void addchannel_run(void *args) {
  struct two_args *a = args;
  parallel(a->dst.n, addchannel_image, a, 0);
}

static void mul_piece(void *p, int i, int thread) {
  struct two_args *a = p;
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
  struct two_args *a = args;
  parallel(a->dst.n * ceil_div(len(&a->y), CHUNK), mul_piece, a, CHUNK);
}
