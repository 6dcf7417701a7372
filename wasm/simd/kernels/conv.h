// What the ways to convolve share.
#ifndef CONV_H
#define CONV_H
#include "device.h"

struct conv_args {
  struct tensor dst, src, add; // add.at 0: none
  const float *weights;        // panels of 4 output channels, or transformed
  const float *bias;           // 0: none
  int in, out, kernel;
  int scheme; // of winograd.c, −1: the direct sum
};

void winograd_run(const struct conv_args *a);

// One row of results: from, plus bias, plus add where there is one.
INLINE void finish(float *to, const float *from, int n, float bias, const float *add) {
  f4 b = splat(bias);
  for (int i = 0; i < n; i += 4) {
    f4 v = get(from + i, n - i) + b;
    if (add) v += get(add + i, n - i);
    put(to + i, v, n - i);
  }
}

#endif
