// Winograd's minimal filtering F(m×m, 3×3) (Lavin & Gray 2016), as in package
// cpu: F(4×4) with the points 0, ±1/√2, ±√2, ∞, and F(2×2) with 0, ±1, ∞. Summed
// over input channels, the products of the transformed tiles are a matrix product
// for each point. A vector holds the same value of four tiles side by side.
#include "conv.h"

#define ROOT 1.41421356237309515f
#define INVERSE 0.70710678118654746f

// A stage of a convolution: blocks of 8 tiles, two runs of 4, of all images one
// after the other.
struct winograd {
  const struct conv_args *a;
  int size, edge, points; // results and pixels of a tile's row, pixels of a tile
  int per_image;          // blocks of an image
  int from, blocks;       // the stage's
  int point;              // values of a point in a block of v
  int chunk, chunks;      // channels of a task
  int group, groups;      // blocks of a task
  int split;              // ranges of panels
  int pitch;
};

static void forward6(f4 *y, const f4 *x, int step) {
  f4 x0 = x[0], x1 = x[step], x2 = x[2 * step], x3 = x[3 * step], x4 = x[4 * step], x5 = x[5 * step];
  f4 e1 = x4 - splat(2) * x2, o1 = splat(INVERSE) * (x3 - splat(2) * x1);
  f4 e2 = x4 - splat(0.5f) * x2, o2 = splat(ROOT) * (x3 - splat(0.5f) * x1);
  y[0] = x0 + x4 - splat(2.5f) * x2;
  y[1] = e1 + o1;
  y[2] = e1 - o1;
  y[3] = e2 + o2;
  y[4] = e2 - o2;
  y[5] = x1 + x5 - splat(2.5f) * x3;
}

static void forward4(f4 *y, const f4 *x, int step) {
  f4 x0 = x[0], x1 = x[step], x2 = x[2 * step], x3 = x[3 * step];
  y[0] = x0 - x2;
  y[1] = x1 + x2;
  y[2] = x2 - x1;
  y[3] = x3 - x1;
}

static void back6(f4 *y, const f4 *m, int step) {
  f4 m1 = m[step], m2 = m[2 * step], m3 = m[3 * step], m4 = m[4 * step];
  f4 s1 = m1 + m2, d1 = m1 - m2, s2 = m3 + m4, d2 = m3 - m4;
  y[0] = m[0] + s1 + s2;
  y[1] = splat(INVERSE) * d1 + splat(ROOT) * d2;
  y[2] = splat(0.5f) * s1 + splat(2) * s2;
  y[3] = splat(INVERSE / 2) * d1 + splat(2 * ROOT) * d2 + m[5 * step];
}

static void back4(f4 *y, const f4 *m, int step) {
  f4 m1 = m[step], m2 = m[2 * step];
  y[0] = m[0] + m1 + m2;
  y[1] = m1 - m2 + m[3 * step];
}

#define SHUFFLE(a, b, i, j, k, l) ((f4)wasm_i32x4_shuffle(a, b, i, j, k, l))

// transpose turns four rows of four into columns.
INLINE void transpose(f4 *y, f4 a, f4 b, f4 c, f4 d) {
  f4 ab = SHUFFLE(a, b, 0, 4, 1, 5), cd = SHUFFLE(c, d, 0, 4, 1, 5);
  f4 AB = SHUFFLE(a, b, 2, 6, 3, 7), CD = SHUFFLE(c, d, 2, 6, 3, 7);
  y[0] = SHUFFLE(ab, cd, 0, 1, 4, 5);
  y[1] = SHUFFLE(ab, cd, 2, 3, 6, 7);
  y[2] = SHUFFLE(AB, CD, 0, 1, 4, 5);
  y[3] = SHUFFLE(AB, CD, 2, 3, 6, 7);
}

// in4 transforms a run of four 6×6 tiles, whose rows start at x, into v.
static void in4(float *v, int point, const float *x, int pitch) {
  f4 t[36];
  for (int y = 0; y < 6; y++, x += pitch) {
    f4 a = load(x), b = load(x + 4), c = load(x + 8), d = load(x + 12), e = load(x + 16), q[6];
    transpose(q, a, b, c, d);
    q[4] = SHUFFLE(q[0], e, 1, 2, 3, 4);
    q[5] = SHUFFLE(q[1], e, 1, 2, 3, 5);
    forward6(t + 6 * y, q, 1);
  }
  for (int j = 0; j < 6; j++) {
    f4 q[6];
    forward6(q, t + j, 6);
    for (int i = 0; i < 6; i++) store(v + (6 * i + j) * point, q[i]);
  }
}

static void in2(float *v, int point, const float *x, int pitch) {
  f4 t[16];
  for (int y = 0; y < 4; y++, x += pitch) {
    f4 a = load(x), b = load(x + 4), c = load(x + 8), q[4];
    q[0] = SHUFFLE(a, b, 0, 2, 4, 6);
    q[1] = SHUFFLE(a, b, 1, 3, 5, 7);
    q[2] = SHUFFLE(q[0], c, 1, 2, 3, 4);
    q[3] = SHUFFLE(q[1], c, 1, 2, 3, 5);
    forward4(t + 4 * y, q, 1);
  }
  for (int j = 0; j < 4; j++) {
    f4 q[4];
    forward4(q, t + j, 4);
    for (int i = 0; i < 4; i++) store(v + (4 * i + j) * point, q[i]);
  }
}

INLINE void emit(float *y, const float *add, f4 v) { store(y, add ? v + load(add) : v); }

// out4 transforms a run's products m back and stores its results in rows of y.
static void out4(float *y, int width, const float *m, int point, float bias, const float *add) {
  f4 t[24];
  for (int j = 0; j < 6; j++) {
    f4 q[6];
    for (int i = 0; i < 6; i++) q[i] = load(m + (6 * i + j) * point);
    f4 r[4];
    back6(r, q, 1);
    for (int i = 0; i < 4; i++) t[6 * i + j] = r[i];
  }
  for (int i = 0; i < 4; i++, y += width) {
    f4 r[4], q[4];
    back6(r, t + 6 * i, 1);
    transpose(q, r[0] + splat(bias), r[1] + splat(bias), r[2] + splat(bias), r[3] + splat(bias));
    for (int k = 0; k < 4; k++) emit(y + 4 * k, add ? add + i * width + 4 * k : 0, q[k]);
  }
}

static void out2(float *y, int width, const float *m, int point, float bias, const float *add) {
  f4 t[8];
  for (int j = 0; j < 4; j++) {
    f4 q[4], r[2];
    for (int i = 0; i < 4; i++) q[i] = load(m + (4 * i + j) * point);
    back4(r, q, 1);
    t[j] = r[0];
    t[4 + j] = r[1];
  }
  for (int i = 0; i < 2; i++, y += width) {
    f4 r[2];
    back4(r, t + 4 * i, 1);
    r[0] += splat(bias);
    r[1] += splat(bias);
    const float *plus = add ? add + i * width : 0;
    emit(y, plus, SHUFFLE(r[0], r[1], 0, 4, 1, 5));
    emit(y + 4, plus ? plus + 4 : 0, SHUFFLE(r[0], r[1], 2, 6, 3, 7));
  }
}

// The first pixel of a run of an image: its row and column.
INLINE int run_y(const struct winograd *s, int run) { return run * 4 * s->size / s->a->src.w * s->size; }
INLINE int run_x(const struct winograd *s, int run) { return run * 4 * s->size % s->a->src.w; }

INLINE float *block_of(const struct winograd *s, int b) { return CONTROL->stage + (b - s->from) * s->points * s->point; }

// transform_pixels is Bᵀ d B of some channels of one image's tiles in the stage.
static void transform_pixels(void *p, int i, int thread) {
  struct winograd *s = p;
  int n = s->from / s->per_image + i / s->chunks, h = s->a->src.h, w = s->a->src.w;
  int first = max(s->from, n * s->per_image), last = min(s->from + s->blocks, (n + 1) * s->per_image);
  int run0 = 2 * (first - n * s->per_image), run1 = 2 * (last - n * s->per_image);
  int top = run_y(s, run0) - 1, bottom = run_y(s, run1 - 1) + s->size + 1; // rows [top, bottom)
  float *padded = CONTROL->scratch[thread];
  int channel = i % s->chunks * s->chunk, end = min(channel + s->chunk, s->a->in);
  zero(padded, (bottom - top) * s->pitch + 16);
  for (; channel < end; channel++) {
    const float *plane = image(&s->a->src, n) + channel * h * w;
    for (int y = max(top, 0); y < min(bottom, h); y++) copy(padded + (y - top) * s->pitch + 1, plane + y * w, w);
    for (int run = run0; run < run1; run++) {
      float *v = block_of(s, n * s->per_image + run / 2) + channel * 8 + run % 2 * 4;
      const float *x = padded + (run_y(s, run) - 1 - top) * s->pitch + run_x(s, run);
      (s->size == 4 ? in4 : in2)(v, s->point, x, s->pitch);
    }
  }
}

// multiply computes some panels of output channels for the tiles of some blocks.
static void multiply(void *p, int i, int thread) {
  struct winograd *s = p;
  const struct conv_args *a = s->a;
  int panels = ceil_div(a->out, 4), in = a->in, part = i % s->split, g = i / s->split;
  int p0 = panels * part / s->split, p1 = panels * (part + 1) / s->split, rows = 4 * (p1 - p0);
  int first = s->from + s->blocks * g / s->groups, last = s->from + s->blocks * (g + 1) / s->groups, count = last - first;
  float *m = CONTROL->scratch[thread];
  int point = rows * count * 8 + 16;
  for (int q = 0; q < s->points; q++)
    for (int r = p0; r < p1; r++)
      for (int b = 0; b < count; b++)
        tile(&(struct product){a->weights + (q * panels + r) * in * 4, block_of(s, first + b) + q * s->point,
                               m + q * point + (r - p0) * 32 * count + b * 8, 8 * count, in, 8, 0, 1, 0});
  int hw = a->dst.h * a->dst.w, w = a->dst.w;
  for (int o = 4 * p0; o < min(4 * p1, a->out); o++)
    for (int b = 0; b < count; b++) {
      int n = (first + b) / s->per_image, run = 2 * ((first + b) % s->per_image);
      float *y = image(&a->dst, n) + o * hw;
      const float *add = a->add.at ? image(&a->add, n) + o * hw : 0;
      for (int half = 0; half < 2; half++) {
        int at = run_y(s, run + half) * w + run_x(s, run + half);
        (s->size == 4 ? out4 : out2)(y + at, w, m + (o - 4 * p0) * 8 * count + b * 8 + 4 * half, point, a->bias ? a->bias[o] : 0, add ? add + at : 0);
      }
    }
}

// Values of the pixels staged at a time, blocks of a task, and values of its products:
// what the second cache holds.
enum { STAGE = 1 << 18, GROUP = 4, PRODUCTS = 1 << 15 };

void winograd_run(const struct conv_args *a) {
  struct winograd s = {.a = a, .size = a->scheme ? 2 : 4, .edge = a->scheme ? 4 : 6};
  int h = a->src.h, w = a->src.w, threads = CONTROL->threads, panels = ceil_div(a->out, 4);
  s.points = s.edge * s.edge;
  s.per_image = h * w / (8 * s.size * s.size);
  s.point = a->in * 8 + 16; // off powers of two
  s.pitch = w + 8;
  int all = a->src.n * s.per_image, most = max(GROUP, STAGE / (s.points * s.point)), stages = ceil_div(all, most);
  if (!stage_of((unsigned)(min(most, all) * s.points * s.point))) return;
  for (int k = 0; k < stages && !CONTROL->failed; k++) {
    s.from = (int)((long long)all * k / stages);
    s.blocks = (int)((long long)all * (k + 1) / stages) - s.from;
    int images = (s.from + s.blocks - 1) / s.per_image - s.from / s.per_image + 1;
    s.chunk = threads == 1 ? a->in : max(1, ceil_div(images * a->in, 8 * threads));
    s.chunks = ceil_div(a->in, s.chunk);
    parallel(images * s.chunks, transform_pixels, &s, (unsigned)((h + 2) * s.pitch + 16));
    s.groups = ceil_div(s.blocks, GROUP);
    int widest = ceil_div(s.blocks, s.groups);
    // Products of a task stay in the second cache; few groups are made up for by more ranges.
    int rows = max(4, PRODUCTS / (s.points * widest * 8) / 4 * 4);
    s.split = max(ceil_div(4 * panels, rows), threads == 1 ? 1 : min(panels, ceil_div(4 * threads, s.groups)));
    parallel(s.groups * s.split, multiply, &s, (unsigned)(s.points * (4 * ceil_div(panels, s.split) * widest * 8 + 16)));
  }
}

struct transform_args {
  float *dst;       // [points][out/4][in][4]
  const float *src; // panels of the direct sum
  int out, in;      // of the forward map
  int adjoint, scheme;
};

// taps is G of a row of three weights: its values at the points.
static void taps(double *y, double a, double b, double c, int scheme) {
  y[0] = a;
  if (scheme) {
    y[1] = 0.5 * (a + b + c);
    y[2] = 0.5 * (a - b + c);
    y[3] = c;
    return;
  }
  double s = 1.41421356237309515 * b;
  y[1] = -(2 * a + s + c) / 3;
  y[2] = -(2 * a - s + c) / 3;
  y[3] = (a + s + 2 * c) / 6;
  y[4] = (a - s + 2 * c) / 6;
  y[5] = c;
}

// transform_weights is G g Gᵀ, in float64.
void transform_weights_run(void *args) {
  struct transform_args *t = args;
  int edge = t->scheme ? 4 : 6, in = t->adjoint ? t->out : t->in, out = t->adjoint ? t->in : t->out, panels = ceil_div(out, 4);
  zero(t->dst, edge * edge * panels * in * 4);
  for (int o = 0; o < out; o++)
    for (int i = 0; i < in; i++) {
      double g[9], half[3][6], u[6];
      for (int k = 0; k < 9; k++)
        g[k] = t->adjoint ? t->src[((i / 4 * t->in + o) * 9 + 8 - k) * 4 + i % 4] : t->src[((o / 4 * t->in + i) * 9 + k) * 4 + o % 4];
      for (int x = 0; x < 3; x++) taps(half[x], g[x], g[3 + x], g[6 + x], t->scheme);
      for (int p = 0; p < edge; p++) {
        taps(u, half[0][p], half[1][p], half[2][p], t->scheme);
        for (int q = 0; q < edge; q++) t->dst[(((edge * p + q) * panels + o / 4) * in + i) * 4 + o % 4] = (float)u[q];
      }
    }
}
