// Convolutions on tensor cores in TF32, see conv.h. conv3_… is 3×3, conv1_… 1×1; the
// last number is the output channels of a block.
#include "conv.h"

KERNEL(conv3_tf32_128, Conv, 128, 2, fibers) { conv_mma<tf32, 3, 4>(p); }
KERNEL(conv3_tf32_32, Conv, 256, 2, fibers) { conv_mma<tf32, 3, 1>(p); }
KERNEL(conv1_tf32_128, Conv, 128, 2, fibers) { conv_mma<tf32, 1, 4>(p); }
KERNEL(conv1_tf32_32, Conv, 256, 2, fibers) { conv_mma<tf32, 1, 1>(p); }
