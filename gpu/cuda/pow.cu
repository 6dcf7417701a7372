// y = (scale·x + shift)^power for bases that are not negative.
#include "pointwise.h"

KERNEL(power, Pointwise, 256, 4, plain) {
    float scale = p.scale, shift = p.shift, power = p.power;
    pointwise<1>(p, [=](const float (&x)[1]) {
        float base = fmaf(scale, x[0], shift);
        return power == 0.5f ? sqrtf(base) : power == -0.5f ? 1 / sqrtf(base) : power == -1 ? 1 / base : power == 2 ? base * base : powf(base, power);
    });
}
