// Convolutions on tensor cores in bf16, see conv.h.
#include "conv.h"

KERNEL(conv3_bf16_128, Conv, 128, 2, fibers) { conv_mma<bf16, 3, 4>(p); }
KERNEL(conv3_bf16_32, Conv, 256, 2, fibers) { conv_mma<bf16, 3, 1>(p); }
KERNEL(conv1_bf16_128, Conv, 128, 2, fibers) { conv_mma<bf16, 1, 4>(p); }
KERNEL(conv1_bf16_32, Conv, 256, 2, fibers) { conv_mma<bf16, 1, 1>(p); }
