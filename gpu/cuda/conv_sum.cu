// The sum of a convolution's partial sums over ranges of its channels, with the bias
// and what is to be added. units is the number of ranges here.
#include "conv.h"

KERNEL(conv_sum, Conv, 256, 4, plain) {
    long long length = static_cast<long long>(p.out) * p.h * p.w;
    int n = blockIdx.y;
    float *dst = p.dst.image(n);
    for (long long i = thread_index(); i < length; i += thread_count()) {
        float sum = p.bias ? p.bias[i / (p.h * p.w)] : 0;
        if (p.plus.at) sum += p.plus.image(n)[i];
        for (int range = 0; range < p.units; range++) sum += p.partial[(static_cast<long long>(range) * p.images + n) * length + i];
        dst[i] = sum;
    }
}
