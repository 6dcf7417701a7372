// Convolution with stride 1 and zero padding: an implicit matrix product.
#include "conv.h"

enum { COLUMNS = 64, SCRATCH = 1 << 17 };

// direct is a convolution cut into tasks: an image, a range of it, some panels.
struct direct {
  const struct conv_args *a;
  int ranges, splits;
  int rows, pitch, stride, taps[9]; // of a range of rows, kernel 3
};

static int panels_of(const struct conv_args *a) { return ceil_div(a->out, 4); }

// Few ranges are made up for by tasks of fewer panels.
static void split(struct direct *d, int tasks) {
  d->splits = max(1, min(panels_of(d->a), ceil_div(4 * CONTROL->threads, tasks)));
  if (CONTROL->threads == 1) d->splits = 1;
}

// Columns are pixels of an image.
static void conv1(void *p, int i, int thread) {
  struct direct *d = p;
  const struct conv_args *a = d->a;
  int s = i % d->splits, r = i / d->splits % d->ranges, n = i / d->splits / d->ranges;
  int hw = a->src.h * a->src.w, from = r * COLUMNS, count = min(COLUMNS, hw - from), ld = round_up(count, 8);
  float *b = CONTROL->scratch[thread], *c = b + a->in * ld;
  const float *x = image(&a->src, n) + from;
  for (int k = 0; k < a->in; k++, x += hw) {
    copy(b + k * ld, x, count);
    zero(b + k * ld + count, ld - count);
  }
  float *dst = image(&a->dst, n) + from;
  const float *add = a->add.at ? image(&a->add, n) + from : 0;
  for (int g = panels_of(a) * s / d->splits; g < panels_of(a) * (s + 1) / d->splits; g++) {
    gemm(c, ld, a->weights + g * 4 * a->in, 4, b, ld, a->in, ld, 0);
    for (int o = 4 * g; o < min(4 * g + 4, a->out); o++)
      finish(dst + o * hw, c + (o - 4 * g) * ld, count, a->bias ? a->bias[o] : 0, add ? add + o * hw : 0);
  }
}

// Columns are positions y·pitch + x of some rows of an image between zeros.
static void conv3(void *p, int i, int thread) {
  struct direct *d = p;
  const struct conv_args *a = d->a;
  int s = i % d->splits, r = i / d->splits % d->ranges, n = i / d->splits / d->ranges;
  int h = a->src.h, w = a->src.w, hw = h * w, from = r * d->rows, to = min(h, from + d->rows);
  float *planes = CONTROL->scratch[thread], *c = planes + a->in * d->stride;
  for (int k = 0; k < a->in; k++) {
    float *row = planes + k * d->stride;
    const float *x = image(&a->src, n) + k * hw;
    zero(row, d->stride);
    for (int y = max(from - 1, 0); y < min(to + 1, h); y++) copy(row + 1 + (y - from + 1) * d->pitch, x + y * w, w);
  }
  int positions = (to - from) * d->pitch, ld = round_up(positions, 8);
  for (int g = panels_of(a) * s / d->splits; g < panels_of(a) * (s + 1) / d->splits; g++) {
    for (int j = 0; j < ld; j += 8)
      tile(&(struct product){a->weights + g * 36 * a->in, planes + j, c + j, ld, a->in, d->stride, d->taps, 9, 0});
    for (int o = 4 * g; o < min(4 * g + 4, a->out); o++)
      for (int y = from; y < to; y++) {
        int at = o * hw + y * w;
        finish(image(&a->dst, n) + at, c + (o - 4 * g) * ld + (y - from) * d->pitch, w, a->bias ? a->bias[o] : 0,
               a->add.at ? image(&a->add, n) + at : 0);
      }
  }
}

// Single pixels: a product of panels and vectors.
enum { VECTOR_PANELS = 16 };

static void conv_vector(void *p, int i, int thread) {
  const struct conv_args *a = p;
  for (int g = i * VECTOR_PANELS; g < min((i + 1) * VECTOR_PANELS, panels_of(a)); g++)
    for (int n = 0; n < a->src.n; n++) {
      const float *w = a->weights + g * 4 * a->in, *x = image(&a->src, n);
      f4 s[4] = {{0}, {0}, {0}, {0}};
      int k = 0;
      for (; k + 4 <= a->in; k += 4)
        for (int j = 0; j < 4; j++) s[j] += load(w + 4 * (k + j)) * splat(x[k + j]);
      for (; k < a->in; k++) s[0] += load(w + 4 * k) * splat(x[k]);
      f4 sum = (s[0] + s[1]) + (s[2] + s[3]);
      int o = 4 * g, left = a->out - o;
      if (a->bias) sum += get(a->bias + o, left);
      if (a->add.at) sum += get(image(&a->add, n) + o, left);
      put(image(&a->dst, n) + o, sum, left);
    }
}

static void direct3(const struct conv_args *a) {
  struct direct d = {.a = a, .pitch = a->src.w + 1};
  for (int t = 0; t < 9; t++) d.taps[t] = t / 3 * d.pitch + t % 3;
  int h = a->src.h, most = max(1, SCRATCH / (a->in * d.pitch) - 2);
  d.ranges = ceil_div(h, min(h, most));
  if (CONTROL->threads > 1) d.ranges = max(d.ranges, min(ceil_div(h, 4), ceil_div(4 * CONTROL->threads, a->src.n)));
  d.rows = ceil_div(h, d.ranges);
  d.ranges = ceil_div(h, d.rows);
  d.stride = round_up(d.rows * d.pitch, 8) + 2 * d.pitch + 2;
  d.stride = round_up(d.stride, 16) + 16 * (round_up(d.stride, 16) % 512 == 0); // off powers of two
  split(&d, a->src.n * d.ranges);
  parallel(a->src.n * d.ranges * d.splits, conv3, &d, (unsigned)(a->in * d.stride + 4 * round_up(d.rows * d.pitch, 8)));
}

void conv_run(void *args) {
  const struct conv_args *a = args;
  int hw = a->src.h * a->src.w;
  if (a->scheme >= 0) {
    winograd_run(a);
  } else if (a->kernel == 3) {
    direct3(a);
  } else if (hw == 1) {
    parallel(ceil_div(panels_of(a), VECTOR_PANELS), conv_vector, args, 0);
  } else {
    struct direct d = {.a = a, .ranges = ceil_div(hw, COLUMNS)};
    split(&d, a->src.n * d.ranges);
    parallel(a->src.n * d.ranges * d.splits, conv1, &d, (unsigned)(COLUMNS * (a->in + 4)));
  }
}
