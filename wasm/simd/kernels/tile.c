// Products of matrices: the left one in panels of 4 rows, interleaved, so that a
// tile of 4 rows × 8 columns stays in registers.
#include "device.h"

#define STEP(A, B) \
  do { \
    f4 b0 = load(B), b1 = load((B) + 4), r; \
    r = splat((A)[0]); c00 += r * b0; c01 += r * b1; \
    r = splat((A)[1]); c10 += r * b0; c11 += r * b1; \
    r = splat((A)[2]); c20 += r * b0; c21 += r * b1; \
    r = splat((A)[3]); c30 += r * b0; c31 += r * b1; \
  } while (0)

void tile(const struct product *p) {
  f4 c00 = {0}, c01 = {0}, c10 = {0}, c11 = {0}, c20 = {0}, c21 = {0}, c30 = {0}, c31 = {0};
  const float *a = p->a, *b = p->b;
  int stride = p->stride;
  if (p->ntaps == 1) {
    b += p->taps ? p->taps[0] : 0;
    int i = p->outer;
    for (; i >= 2; i -= 2, a += 8, b += 2 * stride) {
      STEP(a, b);
      STEP(a + 4, b + stride);
    }
    if (i) STEP(a, b);
  } else {
    for (int i = 0; i < p->outer; i++, b += stride)
      for (int t = 0; t < p->ntaps; t++, a += 4) STEP(a, b + p->taps[t]);
  }
  float *c = p->c;
  int ld = p->ldc;
  if (p->acc) {
    c00 += load(c); c01 += load(c + 4);
    c10 += load(c + ld); c11 += load(c + ld + 4);
    c20 += load(c + 2 * ld); c21 += load(c + 2 * ld + 4);
    c30 += load(c + 3 * ld); c31 += load(c + 3 * ld + 4);
  }
  store(c, c00); store(c + 4, c01);
  store(c + ld, c10); store(c + ld + 4, c11);
  store(c + 2 * ld, c20); store(c + 2 * ld + 4, c21);
  store(c + 3 * ld, c30); store(c + 3 * ld + 4, c31);
}

void gemm(float *c, int ldc, const float *a, int m, const float *b, int ldb, int inner, int cols, int acc) {
  for (int r = 0; r < m; r += 4)
    for (int j = 0; j < cols; j += 8)
      tile(&(struct product){a + r * inner, b + j, c + r * ldc + j, ldc, inner, ldb, 0, 1, acc});
}

// dst[m/4][inner][4] = src[row][inner], zero beyond m.
void pack_rows(float *dst, const float *src, int m, int inner, int row_stride) {
  for (int r = 0; r < m; r += 4, dst += 4 * inner)
    for (int i = 0; i < 4; i++)
      for (int k = 0; k < inner; k++) dst[4 * k + i] = r + i < m ? src[(r + i) * row_stride + k] : 0;
}

// pack_rows of the transpose of src [inner][m], times scale.
void pack_columns(float *dst, const float *src, int m, int inner, float scale) {
  for (int r = 0; r < m; r += 4, dst += 4 * inner)
    for (int k = 0; k < inner; k++) store(dst + 4 * k, get(src + k * m + r, m - r) * splat(scale));
}

// Rows of so many values copied to a wider pitch, zero filled.
void pad_rows(float *dst, const float *src, int rows, int width, int pitch) {
  for (int r = 0; r < rows; r++, dst += pitch, src += width) {
    copy(dst, src, width);
    zero(dst + width, pitch - width);
  }
}
