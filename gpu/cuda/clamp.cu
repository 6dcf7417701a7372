// y = min(max(x, shift), scale): the limits are lo = shift and hi = scale.
#include "pointwise.h"

KERNEL(clamp, Pointwise, 256, 4, plain) {
    float lo = p.shift, hi = p.scale;
    pointwise<1>(p, [=](const float (&x)[1]) { return x[0] < lo ? lo : x[0] > hi ? hi : x[0]; });
}
