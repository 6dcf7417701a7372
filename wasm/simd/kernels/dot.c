// Inner products of images, summed in float64.
#include "device.h"

struct dot_args {
  double *partial; // of the pieces of the images
  struct tensor big, a, b;
};

static void piece(void *p, int i, int thread) {
  struct dot_args *d = p;
  int pieces = ceil_div(len(&d->big), CHUNK), n = i / pieces, from = i % pieces * CHUNK, count = min(CHUNK, len(&d->big) - from);
  const float *x = image(&d->a, n) + from, *y = image(&d->b, n) + from;
  d2 s = {0}, t = {0};
  for (int j = 0; j < count; j += 4) {
    f4 u = get(x + j, count - j), v = get(y + j, count - j);
    s += (d2){u[0], u[1]} * (d2){v[0], v[1]};
    t += (d2){u[2], u[3]} * (d2){v[2], v[3]};
  }
  s += t;
  d->partial[i] = s[0] + s[1];
}

void dot_run(void *args) {
  struct dot_args *d = args;
  parallel(d->big.n * ceil_div(len(&d->big), CHUNK), piece, d, 0);
}
