// Convolutions in float32 without tensor cores, see conv.h.
#include "conv.h"

KERNEL(conv3_f32_128, Conv, 256, 2, fibers) { conv_fma<3, 4>(p); }
KERNEL(conv3_f32_32, Conv, 256, 2, fibers) { conv_fma<3, 1>(p); }
KERNEL(conv1_f32_128, Conv, 256, 2, fibers) { conv_fma<1, 4>(p); }
KERNEL(conv1_f32_32, Conv, 256, 2, fibers) { conv_fma<1, 1>(p); }
