// Group normalisation, an affine map per channel, and SiLU where asked for; value,
// adjoint, tangent and second coefficient. Formulas as in package cpu.
#include "device.h"

struct norm_args {
  struct tensor dst, x, stats, gamma, beta, scale, shift; // scale.at 0: none
  int groups;
  float eps;
  int silu, acc;
  struct tensor a, b, ab; // coefficients; a is the cotangent of the adjoint
};

// Σ x and Σ (x − mx)(y − my), in float64 over pieces short enough for float32.
static double total(const float *x, int n) {
  double all = 0;
  for (; n > 0; x += 1024, n -= 1024) {
    int k = min(n, 1024);
    f4 s = {0}, t = {0};
    for (int i = 0; i < k; i += 8) {
      s += get(x + i, k - i);
      if (i + 4 < k) t += get(x + i + 4, k - i - 4);
    }
    s += t;
    all += (double)((s[0] + s[2]) + (s[1] + s[3]));
  }
  return all;
}

static double covariance(const float *x, const float *y, float mx, float my, int n) {
  double all = 0;
  f4 cx = splat(mx), cy = splat(my);
  for (; n > 0; x += 1024, y += 1024, n -= 1024) {
    int k = min(n, 1024), i = 0;
    f4 s = {0};
    for (; i + 4 <= k; i += 4) s += (load(x + i) - cx) * (load(y + i) - cy);
    for (; i < k; i++) s[0] += (x[i] - mx) * (y[i] - my);
    all += (double)((s[0] + s[2]) + (s[1] + s[3]));
  }
  return all;
}

// group is one group of channels of one image: x̂ = (x − mean)·rstd.
struct group {
  int n, j, from, len;
  double mean, rstd;
};

static struct group group_of(const struct norm_args *a, int i) {
  struct group g = {.n = i / a->groups, .j = i % a->groups};
  g.len = len(&a->x) / a->groups;
  g.from = g.j * g.len;
  const float *s = image(&a->stats, g.n);
  g.mean = s[g.j];
  g.rstd = s[a->groups + g.j];
  return g;
}

// The affine map z = A·x̂ + B of channel c after the normalisation.
struct map {
  double a, b;
};

static struct map map_of(const struct norm_args *p, const struct group *g, int c) {
  struct map m = {p->gamma.at[c], p->beta.at[c]};
  if (p->scale.at) {
    int n = g->n % p->x.n;
    double s = 1 + (double)image(&p->scale, n)[c];
    m.a *= s;
    m.b = m.b * s + image(&p->shift, n)[c];
  }
  return m;
}

#define CHANNELS(p, g, at, c) \
  for (int hw = (p)->x.h * (p)->x.w, c = (g).from / hw, at = (g).from; at < (g).from + (g).len; at += hw, c++)

static void value(void *args, int i, int thread) {
  struct norm_args *p = args;
  struct group g = group_of(p, i);
  const float *x = image(&p->x, g.n);
  float *out = image(&p->dst, g.n), *stats = image(&p->stats, g.n);
  double exact = total(x + g.from, g.len) / g.len;
  float mu = (float)exact;
  double rest = exact - mu, variance = covariance(x + g.from, x + g.from, mu, mu, g.len) / g.len - rest * rest;
  g.rstd = 1 / __builtin_sqrt((variance > 0 ? variance : variance == variance ? 0 : variance) + p->eps);
  stats[g.j] = mu;
  stats[p->groups + g.j] = (float)g.rstd;
  CHANNELS(p, g, at, c) {
    struct map m = map_of(p, &g, c);
    struct act k = {.mu = mu, .m = (float)(m.a * g.rstd), .c = (float)m.b};
    (p->silu ? silu : affine)(out + at, x + at, hw, &k);
  }
}

static void adjoint(void *args, int i, int thread) {
  struct norm_args *p = args;
  struct group g = group_of(p, i);
  const float *x = image(&p->x, g.n), *up = image(&p->a, g.n);
  float mu = (float)g.mean, *grad = CONTROL->scratch[thread];
  double r = g.rstd;
  CHANNELS(p, g, at, c) {
    struct map m = map_of(p, &g, c);
    struct act k = {.mu = mu, .m = (float)(m.a * r), .c = (float)m.b, .p = (float)m.a};
    (p->silu ? silu_tangent : linear)(grad + at - g.from, x + at, up + at, hw, &k, 0);
  }
  double mean = total(grad, g.len) / g.len, slope = covariance(grad, x + g.from, (float)mean, mu, g.len) / g.len;
  struct act k = {.mu = mu, .p = (float)r, .q = (float)(-r * r * r * slope), .s = (float)(-r * mean)};
  linear(image(&p->dst, g.n) + g.from, x + g.from, grad, g.len, &k, p->acc);
}

// A direction's mean in a group, and the derivatives of the variance and of r.
struct direction {
  double mean, dvar, dr;
};

static struct direction direction_of(const float *x, const float *a, const struct group *g) {
  struct direction d;
  d.mean = total(a, g->len) / g->len;
  d.dvar = 2 * covariance(x, a, (float)g->mean, (float)d.mean, g->len) / g->len;
  d.dr = -0.5 * g->rstd * g->rstd * g->rstd * d.dvar;
  return d;
}

static void tangent(void *args, int i, int thread) {
  struct norm_args *p = args;
  struct group g = group_of(p, i);
  const float *x = image(&p->x, g.n), *a = image(&p->a, g.n);
  float *out = image(&p->dst, g.n);
  struct direction d = direction_of(x + g.from, a + g.from, &g);
  CHANNELS(p, g, at, c) {
    struct map m = map_of(p, &g, c);
    double ar = m.a * g.rstd;
    struct act k = {.mu = (float)g.mean, .m = (float)ar, .c = (float)m.b, .p = (float)ar, .q = (float)(m.a * d.dr), .s = (float)(-ar * d.mean)};
    (p->silu ? silu_tangent : linear)(out + at, x + at, a + at, hw, &k, 0);
  }
}

static void second(void *args, int i, int thread) {
  struct norm_args *p = args;
  struct group g = group_of(p, i);
  const float *x = image(&p->x, g.n), *a = image(&p->a, g.n), *b = image(&p->b, g.n), *ab = image(&p->ab, g.n);
  float *out = image(&p->dst, g.n);
  double r = g.rstd;
  struct direction da = direction_of(x + g.from, a + g.from, &g);
  struct direction db = a == b ? da : direction_of(x + g.from, b + g.from, &g);
  struct direction dab = direction_of(x + g.from, ab + g.from, &g);
  double dvar = dab.dvar + 2 * covariance(a + g.from, b + g.from, (float)da.mean, (float)db.mean, g.len) / g.len;
  double drr = 0.75 * r * r * r * r * r * da.dvar * db.dvar - 0.5 * r * r * r * dvar;
  CHANNELS(p, g, at, c) {
    struct map m = map_of(p, &g, c);
    float ar = (float)(m.a * r);
    struct act k = {
        .mu = (float)g.mean, .m = ar, .c = (float)m.b,
        .p = ar, .q = (float)(m.a * da.dr), .s = (float)(-m.a * r * da.mean),
        .pb = ar, .qb = (float)(m.a * db.dr), .sb = (float)(-m.a * r * db.mean),
        .w = ar, .wa = (float)(m.a * db.dr), .wb = (float)(m.a * da.dr), .wc = (float)(m.a * drr),
        .shift = (float)(-m.a * (r * dab.mean + db.dr * da.mean + da.dr * db.mean)),
    };
    if (p->silu) {
      silu_second(out + at, x + at, a + at, b + at, ab + at, hw, &k);
      continue;
    }
    for (int j = 0; j < hw; j += 4) {
      int n = hw - j;
      f4 v = splat(k.w) * get(ab + at + j, n) + (splat(k.wa) * get(a + at + j, n) + (splat(k.wb) * get(b + at + j, n) +
             (splat(k.wc) * (get(x + at + j, n) - splat(k.mu)) + splat(k.shift))));
      put(out + at + j, v, n);
    }
  }
}

static void groups(struct norm_args *p, int images, task *t, unsigned scratch) { parallel(images * p->groups, t, p, scratch); }

void groupnorm_run(void *args) {
  struct norm_args *p = args;
  groups(p, p->x.n, value, 0);
}
void vjp_groupnorm_run(void *args) {
  struct norm_args *p = args;
  groups(p, p->dst.n, adjoint, (unsigned)(len(&p->x) / p->groups));
}
void jvp_groupnorm_run(void *args) {
  struct norm_args *p = args;
  groups(p, p->dst.n, tangent, 0);
}
void jet2_groupnorm_run(void *args) {
  struct norm_args *p = args;
  groups(p, p->dst.n, second, 0);
}
