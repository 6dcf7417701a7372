// Depthwise cross-correlation with one kernel. The kernel's rows, shifted by
// 0 … 3, are the 4 rows of a tile: C[r][x] = Σ_m Σ_j K[m − r][j] · image[y + m][x + j].
// The adjoint correlates the zero-extended image with the reversed kernel over the
// extended domain, and folds the border back.
#include "device.h"

struct correlate_args {
  struct tensor dst, src, kernel;
  int circular, adjoint;
  const float *panel; // made here
  const int *taps;
};

// The index that the border puts at i, not further outside than the image is large.
static int extend(int i, int size, int circular) {
  if (i >= 0 && i < size) return i;
  if (circular) return (i % size + size) % size;
  return i < 0 ? -i : 2 * (size - 1) - i;
}

static void channel(void *p, int i, int thread) {
  struct correlate_args *a = p;
  int n = i / a->dst.c, c = i % a->dst.c, kh = a->kernel.h, kw = a->kernel.w, h = a->src.h, w = a->src.w;
  int out_h = a->adjoint ? h + kh - 1 : h, out_w = a->adjoint ? w + kw - 1 : w;
  int h4 = round_up(out_h, 4), w8 = round_up(out_w, 8), pitch = w8 + kw - 1, rows = h4 + kh - 1;
  float *wide = CONTROL->scratch[thread], *out = wide + rows * pitch, *to = image(&a->dst, n) + c * h * w;
  const float *from = image(&a->src, n) + c * h * w;
  zero(wide, rows * pitch);
  if (a->adjoint) {
    for (int y = 0; y < h; y++) copy(wide + (y + kh - 1) * pitch + kw - 1, from + y * w, w);
  } else {
    for (int y = 0; y < h + kh - 1; y++) {
      const float *row = from + extend(y - kh / 2, h, a->circular) * w;
      for (int x = 0; x < w + kw - 1; x++) wide[y * pitch + x] = row[extend(x - kw / 2, w, a->circular)];
    }
  }
  // In steps of few kernel rows: long float32 sums would lose digits.
  for (int y = 0; y < h4; y += 4)
    for (int x = 0; x < w8; x += 8)
      for (int m = 0; m < kh + 3; m += 8)
        tile(&(struct product){a->panel + m * kw * 4, wide + (y + m) * pitch + x, out + y * w8 + x, w8, min(8, kh + 3 - m), pitch, a->taps, kw, m > 0});
  if (!a->adjoint) {
    for (int y = 0; y < h; y++) copy(to + y * w, out + y * w8, w);
    return;
  }
  zero(to, h * w);
  for (int y = 0; y < out_h; y++) {
    float *row = to + extend(y - kh / 2, h, a->circular) * w;
    for (int x = 0; x < out_w; x++) row[extend(x - kw / 2, w, a->circular)] += out[y * w8 + x];
  }
}

void correlate_run(void *args) {
  struct correlate_args *a = args;
  int kh = a->kernel.h, kw = a->kernel.w, extra_h = a->adjoint ? kh - 1 : 0, extra_w = a->adjoint ? kw - 1 : 0;
  int h4 = round_up(a->src.h + extra_h, 4), w8 = round_up(a->src.w + extra_w, 8), size = (kh + 3) * kw * 4;
  if (!stage_of((unsigned)(size + kw))) return;
  float *panel = CONTROL->stage;
  int *taps = (int *)(panel + size);
  zero(panel, size);
  for (int i = 0; i < kh * kw; i++) {
    int k = a->adjoint ? kh * kw - 1 - i : i;
    for (int r = 0; r < 4; r++) panel[((k / kw + r) * kw + k % kw) * 4 + r] = a->kernel.at[i];
  }
  for (int j = 0; j < kw; j++) taps[j] = j;
  a->panel = panel;
  a->taps = taps;
  parallel(a->dst.n * a->dst.c, channel, a, (unsigned)((h4 + kh - 1) * (w8 + kw - 1) + h4 * w8));
}
