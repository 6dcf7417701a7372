// Lays weights [out][in][kernel][kernel] out for conv.h and linear.cu, each word by
// itself: block of output channels, unit, step, then
//   fragments: 16 channels, lane, register, as mma.sync takes them: TF32, bf16 or as
//     they are (tf32x3);
//   f32: input channel, output channel;
//   plain: [out][in], for linear.cu.
// In bf16 the depth 2t, 2t+1, 2t+8, 2t+9 of lane t is channels t, t+4, t+8, t+12.
#include "conv.h"

#define CONV_WEIGHTS(F)      \
    F(unsigned *, to)        \
    F(const float *, from)   \
    F(long long, words)      \
    F(int, out)              \
    F(int, in)               \
    F(int, kernel)           \
    F(int, adjoint)          \
    F(int, mode)             \
    F(int, mi)               \
    F(int, units)
// The map has out and in channels; where it is the adjoint, from is [in][out].
PARAMS(ConvWeights, CONV_WEIGHTS)

const int plain_layout = 4;

DEVICE float weight_at(const ConvWeights &p, int o, int i, int tap) {
    int taps = p.kernel * p.kernel;
    if (o >= p.out || i >= p.in) return 0;
    return p.adjoint ? p.from[(static_cast<long long>(i) * p.out + o) * taps + taps - 1 - tap] : p.from[(static_cast<long long>(o) * p.in + i) * taps + tap];
}

KERNEL(conv_weights, ConvWeights, 256, 2, plain) {
    for (long long at = thread_index(); at < p.words; at += thread_count()) {
        if (p.mode == plain_layout) {
            p.to[at] = bits_of(weight_at(p, static_cast<int>(at / p.in), static_cast<int>(at % p.in), 0));
            continue;
        }
        int steps = p.kernel == 3 ? 3 : 2, depth = p.mode == bf16 ? 16 : 8, of_step = 32 * p.mi * 8;
        int word = static_cast<int>(at % of_step);
        long long rest = at / of_step;
        int s = static_cast<int>(rest % steps);
        rest /= steps;
        int u = static_cast<int>(rest % p.units), block = static_cast<int>(rest / p.units) * 32 * p.mi;
        int channel = p.kernel == 3 ? u / 3 * depth : (u * steps + s) * depth, tap = p.kernel == 3 ? u % 3 * 3 + s : 0;
        if (p.mode == f32) {
            p.to[at] = bits_of(weight_at(p, block + word % (32 * p.mi), channel + word / (32 * p.mi), tap));
            continue;
        }
        int r = word % 4, lane = word / 4 % 32, o = block + word / 128 * 16 + lane / 4 + r % 2 * 8, t = lane % 4;
        if (p.mode == bf16) {
            int i = channel + t + r / 2 * 8;
            p.to[at] = to_bf16x2(weight_at(p, o, i, tap), weight_at(p, o, i + 4, tap));
            continue;
        }
        float v = weight_at(p, o, channel + t + r / 2 * 4, tap);
        p.to[at] = p.mode == tf32 ? to_tf32(v) : bits_of(v);
    }
}
