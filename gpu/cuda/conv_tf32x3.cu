// Convolutions on tensor cores with each factor in two TF32 parts, see conv.h.
#include "conv.h"

KERNEL(conv3_tf32x3_128, Conv, 256, 1, fibers) { conv_mma<tf32x3, 3, 4>(p); }
KERNEL(conv3_tf32x3_32, Conv, 256, 2, fibers) { conv_mma<tf32x3, 3, 1>(p); }
KERNEL(conv1_tf32x3_128, Conv, 256, 1, fibers) { conv_mma<tf32x3, 1, 4>(p); }
KERNEL(conv1_tf32x3_32, Conv, 256, 2, fibers) { conv_mma<tf32x3, 1, 1>(p); }
