// SiLU and its derivatives after the affine maps of a normalisation, and those alone.
#include "device.h"

void affine(float *dst, const float *x, int n, const struct act *k) {
  f4 mu = splat(k->mu), m = splat(k->m), c = splat(k->c);
  for (int i = 0; i < n; i += 4) put(dst + i, m * (get(x + i, n - i) - mu) + c, n - i);
}

void linear(float *dst, const float *x, const float *a, int n, const struct act *k, int acc) {
  f4 mu = splat(k->mu), p = splat(k->p), q = splat(k->q), s = splat(k->s);
  for (int i = 0; i < n; i += 4) {
    f4 v = p * get(a + i, n - i) + (q * (get(x + i, n - i) - mu) + s);
    if (acc) v += get(dst + i, n - i);
    put(dst + i, v, n - i);
  }
}

void silu(float *dst, const float *x, int n, const struct act *k) {
  f4 mu = splat(k->mu), m = splat(k->m), c = splat(k->c);
  for (int i = 0; i < n; i += 4) {
    f4 z = m * (get(x + i, n - i) - mu) + c;
    put(dst + i, z / (splat(1) + exp4(-z)), n - i);
  }
}

void silu_tangent(float *dst, const float *x, const float *a, int n, const struct act *k, int acc) {
  f4 mu = splat(k->mu), m = splat(k->m), c0 = splat(k->c), p = splat(k->p), q = splat(k->q), s = splat(k->s);
  for (int i = 0; i < n; i += 4) {
    f4 c = get(x + i, n - i) - mu, z = m * c + c0, g = sigmoid4(z);
    f4 v = (g + z * (g * (splat(1) - g))) * (p * get(a + i, n - i) + (q * c + s));
    if (acc) v += get(dst + i, n - i);
    put(dst + i, v, n - i);
  }
}

void silu_second(float *dst, const float *x, const float *a, const float *b, const float *ab, int n, const struct act *k) {
  f4 one = splat(1), two = splat(2);
  for (int i = 0; i < n; i += 4) {
    f4 c = get(x + i, n - i) - splat(k->mu), z = splat(k->m) * c + splat(k->c), g = sigmoid4(z), h = g * (one - g);
    f4 va = get(a + i, n - i), vb = get(b + i, n - i);
    f4 za = splat(k->p) * va + (splat(k->q) * c + splat(k->s));
    f4 zb = splat(k->pb) * vb + (splat(k->qb) * c + splat(k->sb));
    f4 zab = splat(k->w) * get(ab + i, n - i) + (splat(k->wa) * va + (splat(k->wb) * vb + (splat(k->wc) * c + splat(k->shift))));
    put(dst + i, h * (two + z * (one - two * g)) * (za * zb) + (g + z * h) * zab, n - i);
  }
}
