// dst = L · src · Rᵀ for each channel image.
#include "device.h"

struct separable_args {
  struct tensor dst, src, l, r;
  int acc;
  const float *left, *right; // made here: L in panels, Rᵀ with padded rows
};

static void channel(void *p, int i, int thread) {
  struct separable_args *a = p;
  int n = i / a->dst.c, c = i % a->dst.c, h = a->src.h, w = a->src.w;
  int w8 = round_up(w, 8), out8 = round_up(a->dst.w, 8), rows = round_up(a->dst.h, 4);
  float *in = CONTROL->scratch[thread], *tmp = in + h * w8, *packed = tmp + rows * w8, *out = packed + rows * w;
  pad_rows(in, image(&a->src, n) + c * h * w, h, w, w8);
  gemm(tmp, w8, a->left, a->dst.h, in, w8, h, w8, 0);
  pack_rows(packed, tmp, a->dst.h, w, w8);
  gemm(out, out8, packed, a->dst.h, a->right, out8, w, out8, 0);
  float *to = image(&a->dst, n) + c * a->dst.h * a->dst.w;
  for (int y = 0; y < a->dst.h; y++, to += a->dst.w)
    for (int x = 0; x < a->dst.w; x += 4) {
      f4 v = load(out + y * out8 + x);
      if (a->acc) v += get(to + x, a->dst.w - x);
      put(to + x, v, a->dst.w - x);
    }
}

void separable_run(void *args) {
  struct separable_args *a = args;
  int h = a->src.h, w = a->src.w, out8 = round_up(a->dst.w, 8), rows = round_up(a->dst.h, 4), w8 = round_up(w, 8);
  if (!stage_of((unsigned)(rows * h + w * out8))) return;
  float *left = CONTROL->stage, *right = left + rows * h;
  pack_rows(left, a->l.at, a->dst.h, h, h);
  for (int i = 0; i < w; i++)
    for (int j = 0; j < out8; j++) right[i * out8 + j] = j < a->dst.w ? a->r.at[j * w + i] : 0;
  a->left = left;
  a->right = right;
  parallel(a->dst.n * a->dst.c, channel, a, (unsigned)(h * w8 + rows * w8 + rows * w + rows * out8));
}
