// Keeps a = g where lo = shift ≤ b = x ≤ hi = scale, zero elsewhere.
#include "pointwise.h"

KERNEL(clampadjoint, Pointwise, 256, 4, plain) {
    float lo = p.shift, hi = p.scale;
    pointwise<2>(p, [=](const float (&x)[2]) { return lo <= x[1] && x[1] <= hi ? x[0] : 0.0f; });
}
