// Changes of the resolution by two.
#include "device.h"

enum { UP2, SUM_DOWN2, SUBSAMPLE2, ZERO_INSERT2 };

struct resample_args {
  struct tensor dst, src;
  int kind;
  float scale;
  int acc;
};

static void channel(void *p, int i, int thread) {
  struct resample_args *a = p;
  int n = i / a->dst.c, c = i % a->dst.c, h = a->dst.h, w = a->dst.w, from_w = a->src.w;
  float *to = image(&a->dst, n) + c * h * w;
  const float *from = image(&a->src, n) + c * a->src.h * from_w;
  float scale = a->scale;
  for (int y = 0; y < h; y++, to += w) {
    const float *row = from + (a->kind == UP2 || a->kind == ZERO_INSERT2 ? y / 2 : 2 * y) * from_w;
    for (int x = 0; x < w; x++) {
      float v = 0;
      switch (a->kind) {
      case UP2: v = row[x / 2]; break;
      case SUM_DOWN2: v = (row[2 * x] + row[2 * x + 1]) + (row[from_w + 2 * x] + row[from_w + 2 * x + 1]); break;
      case SUBSAMPLE2: v = row[2 * x]; break;
      case ZERO_INSERT2: v = (x | y) & 1 ? 0 : row[x / 2]; break;
      }
      v *= scale;
      to[x] = a->acc ? to[x] + v : v;
    }
  }
}

void resample_run(void *args) {
  struct resample_args *a = args;
  parallel(a->dst.n * a->dst.c, channel, a, 0);
}
