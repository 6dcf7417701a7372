// Weights laid out once: panels of 4 output channels, [out/4][in][taps][4].
#include "device.h"

struct pack_args {
  float *dst;
  const float *src;
  int out, in, taps;
  int transpose; // src are the panels, dst those of the adjoint: channels swapped, taps reversed
};

void pack_weights_run(void *args) {
  struct pack_args *a = args;
  int in = a->in, out = a->out, taps = a->taps;
  if (!a->transpose) {
    pack_rows(a->dst, a->src, out, in * taps, in * taps);
    return;
  }
  zero(a->dst, round_up(in, 4) * out * taps);
  for (int i = 0; i < in; i++)
    for (int o = 0; o < out; o++)
      for (int t = 0; t < taps; t++)
        a->dst[((i / 4 * out + o) * taps + taps - 1 - t) * 4 + i % 4] = a->src[((o / 4 * in + i) * taps + t) * 4 + o % 4];
}
