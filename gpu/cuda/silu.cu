// y = x·sigmoid(x): value, adjoint, tangent (jvp) and second coefficient (jet2).
#include "pointwise.h"

KERNEL(silu, Pointwise, 256, 4, plain) {
    pointwise<1>(p, [](const float (&x)[1]) { return silu(x[0]); });
}

// a = x, b = dy.
KERNEL(vjp_silu, Pointwise, 256, 4, plain) {
    pointwise<2>(p, [](const float (&x)[2]) { return silu1(x[0]) * x[1]; });
}

// a = x, b = ∂x/∂α: the first directional derivative of an elementwise map.
KERNEL(jvp_silu, Pointwise, 256, 4, plain) {
    pointwise<2>(p, [](const float (&x)[2]) { return silu1(x[0]) * x[1]; });
}

// a = x, b = ∂x/∂α, c = ∂x/∂β, d = ∂²x/∂α∂β.
KERNEL(jet2_silu, Pointwise, 256, 4, plain) {
    pointwise<4>(p, [](const float (&x)[4]) { return silu2(x[0]) * x[1] * x[2] + silu1(x[0]) * x[3]; });
}
