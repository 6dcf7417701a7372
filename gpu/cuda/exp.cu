// y = exp(scale·x + shift).
#include "pointwise.h"

KERNEL(exponential, Pointwise, 256, 4, plain) {
    float scale = p.scale, shift = p.shift;
    pointwise<1>(p, [=](const float (&x)[1]) { return expf(fmaf(scale, x[0], shift)); });
}
