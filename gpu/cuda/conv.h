// Convolutions as implicit matrix products: C[out][pixel] = Σ W[out][k]·X[k][pixel],
// k over channels and taps. A block computes 32·MI channels of 128 pixels: rows of
// `tile` pixels, which may belong to several images.
//
// The sum goes over units: 8 channels (16 in bf16) of one kernel row (3×3), or 16 (32)
// channels (1×1). A unit's weights lie together in memory in the order in which the
// threads need them (conv_weights.cu), so that a fragment is one 16-byte load without
// bank conflicts. Its pixels are rows of the images as they are, with 4 pixels more on
// each side; the three taps of a row read them shifted. A channel's rows are a multiple
// of 32 words plus 8, so that the four channels and eight pixels of a fragment lie in
// 32 banks. Units arrive by asynchronous copies, `stages` − 1 ahead.
#pragma once
#include "device.h"

#define CONV(F)                \
    F(View, dst)               \
    F(View, src)               \
    F(View, plus)              \
    F(const unsigned *, weight) \
    F(const float *, bias)     \
    F(float *, partial)        \
    F(int, images)             \
    F(int, in)                 \
    F(int, out)                \
    F(int, h)                  \
    F(int, w)                  \
    F(int, units)              \
    F(int, tile)               \
    F(int, aligned)            \
    F(int, pairs)
// plus is added, unless it has no address; so is bias. A 1×1 convolution sees images of
// one row. aligned: src can be read four pixels at a time; pairs: dst and plus two.
// partial takes the sums of gridDim.z ranges of units, [range][image][out][pixel],
// where there is more than one.
PARAMS(Conv, CONV)

enum Mode { tf32, f32, bf16, tf32x3 };

template <Mode M, int K, int MI> struct Shape {
    // A warp on tensor cores computes 16·MI channels of 8·nj pixels: the larger, the
    // fewer words of shared memory for a product.
    static const int nj = MI == 4 && (M == tf32 || M == bf16) ? 8 : 4;
    static const int threads = nj == 8 ? 128 : 256, pixels = 128, stages = 3;
    static const int depth = M == bf16 ? 16 : 8;   // channels of a step
    static const int steps = K == 3 ? 3 : 2;       // of a unit
    static const int channels = K == 3 ? depth : depth * steps;
    static const int outs = 32 * MI;
    static const int weights = steps * outs * 8;   // words of a unit
    static const int chunks = (K == 3 ? 64 : 32) * channels / threads; // 16-byte pieces of pixels a thread copies, at most
};

// Floats from one channel to the next in shared memory.
template <int K> DEVICE int channel_pitch(int tile) { return K == 3 ? 128 / tile * (tile + 8) + 8 : 136; }

// A piece of four pixels that a thread copies for every unit. Registers are scarce:
// bits is the place in the stage, the channel of the unit above bit 16, and above bit
// 24 which of the four pixels lie in a row of an image; 0 for no piece.
struct Piece {
    const float *from; // in channel 0, kernel row 1
    int bits, y;
};

template <Mode M, int K, int MI> struct Conv2d {
    using S = Shape<M, K, MI>;
    const Conv &p;
    float *memory;
    int pitch, stage_words, row0, x0, first, count;
    Piece pieces[S::chunks];

    DEVICE Conv2d(const Conv &p, float *memory) : p(p), memory(memory) {
        pitch = channel_pitch<K>(p.tile);
        stage_words = S::weights + S::channels * pitch;
        int across = (p.w + p.tile - 1) / p.tile, rows = S::pixels / p.tile;
        x0 = static_cast<int>(blockIdx.x) % across * p.tile;
        row0 = static_cast<int>(blockIdx.x) / across * rows;
        int z = blockIdx.z, ranges = gridDim.z;
        first = static_cast<int>(static_cast<long long>(p.units) * z / ranges);
        count = static_cast<int>(static_cast<long long>(p.units) * (z + 1) / ranges) - first;
        int in_row = K == 3 ? p.tile / 4 + 2 : p.tile / 4, in_channel = rows * in_row;
#pragma unroll
        for (int i = 0; i < S::chunks; i++) {
            int at = threadIdx.x + i * S::threads;
            Piece &q = pieces[i];
            int channel = at / in_channel, rest = at % in_channel, r = rest / in_row, group = rest % in_row;
            int image = (row0 + r) / p.h, x = x0 + 4 * group - (K == 3 ? 4 : 0), there = 0;
            q.y = (row0 + r) % p.h;
            q.from = p.src.at;
            q.bits = 0;
            if (channel >= S::channels) continue;
            if (image < p.images) {
                for (int j = 0; j < 4; j++) there |= (x + j >= 0 && x + j < p.w) << j;
                q.from += static_cast<long long>(image) * p.src.pitch + (static_cast<long long>(channel) * p.h + q.y) * p.w + x;
            }
            q.bits = channel * pitch + (K == 3 ? r * (p.tile + 8) : r * p.tile) + 4 * group | channel << 16 | there << 24 | 1 << 30;
        }
    }

    // Starts the copies of a unit into its stage.
    DEVICE void fetch(int unit) {
        if (unit < count) {
            int u = first + unit, channel = K == 3 ? u / 3 * S::channels : u * S::channels, row = K == 3 ? u % 3 - 1 : 0;
            float *stage = memory + unit % S::stages * stage_words;
            const unsigned *weight = p.weight + (static_cast<long long>(blockIdx.y) * p.units + u) * S::weights;
#pragma unroll
            for (int at = 0; at < S::weights / 4; at += S::threads)
                if (S::weights / 4 % S::threads == 0 || at + threadIdx.x < S::weights / 4)
                    copy16(stage + 4 * (at + threadIdx.x), weight + 4 * (at + threadIdx.x), true);
            long long offset = (static_cast<long long>(channel) * p.h + row) * p.w;
            stage += S::weights;
#pragma unroll
            for (int i = 0; i < S::chunks; i++) {
                const Piece &q = pieces[i];
                if (q.bits == 0) continue;
                int there = q.bits >> 24 & 15;
                if (channel + (q.bits >> 16 & 255) >= p.in || q.y + row < 0 || q.y + row >= p.h) there = 0;
                float *to = stage + (q.bits & 0xffff);
                if (p.aligned) {
                    copy16(to, there ? q.from + offset : p.src.at, there);
                } else {
                    for (int j = 0; j < 4; j++) copy4(to + j, there >> j & 1 ? q.from + offset + j : p.src.at, there >> j & 1);
                }
            }
        }
        copy_commit();
    }

    // Where pixel n of the tile lies in a channel of a stage, for tap 0.
    DEVICE int pixel(int n) const { return K == 3 ? n / p.tile * (p.tile + 8) + n % p.tile + 3 : n; }
    // How much further the pixel is that lies j·each after one whose number has no such
    // bits: three numbers that the whole block shares, not j of each thread.
    DEVICE int jump(int j, int each) const {
        int one = pixel(each) - pixel(0), two = pixel(2 * each) - pixel(0), four = pixel(4 * each) - pixel(0);
        return j % 2 * one + j / 2 % 2 * two + j / 4 * four;
    }
    // What a step of a unit adds to that.
    DEVICE int step(int s) const { return K == 3 ? s : s * S::depth * pitch; }

    // Where pixels of the result belong: addresses in output channel 0, and how many
    // of the neighbours are inside.
    struct Spot {
        float *to;
        const float *plus, *bias;
        int inside;
    };
    DEVICE Spot spot(int n, int many) const {
        int row = row0 + n / p.tile, x = x0 + n % p.tile, image = row / p.h;
        Spot s = {nullptr, nullptr, p.bias, 0};
        if (image >= p.images || x >= p.w) return s;
        long long at = static_cast<long long>(row % p.h) * p.w + x;
        s.inside = p.w - x < many ? p.w - x : many;
        if (gridDim.z > 1) {
            s.to = p.partial + (static_cast<long long>(blockIdx.z) * p.images + image) * p.out * p.h * p.w + at;
            s.bias = nullptr;
        } else {
            s.to = p.dst.image(image) + at;
            if (p.plus.at) s.plus = p.plus.image(image) + at;
        }
        return s;
    }
    DEVICE void put1(const Spot &s, int out, float v) const {
        if (out >= p.out || s.inside == 0) return;
        long long at = static_cast<long long>(out) * p.h * p.w;
        if (s.bias) v += s.bias[out];
        if (s.plus) v += s.plus[at];
        s.to[at] = v;
    }
    DEVICE void put2(const Spot &s, int out, float v, float w) const {
        if (out >= p.out || s.inside == 0) return;
        long long at = static_cast<long long>(out) * p.h * p.w;
        float bias = s.bias ? s.bias[out] : 0;
        float2 sum = make_float2(v + bias, w + bias);
        if (p.pairs) {
            if (s.plus) {
                float2 old = *reinterpret_cast<const float2 *>(s.plus + at);
                sum.x += old.x, sum.y += old.y;
            }
            *reinterpret_cast<float2 *>(s.to + at) = sum;
            return;
        }
        s.to[at] = s.plus ? sum.x + s.plus[at] : sum.x;
        if (s.inside == 2) s.to[at + 1] = s.plus ? sum.y + s.plus[at + 1] : sum.y;
    }
};

// Tensor cores: 2 warps over the channels, the others over the pixels.
template <Mode M, int K, int MI> DEVICE void conv_mma(const Conv &p) {
    SHARED(float, memory);
    using S = Shape<M, K, MI>;
    const int nj = S::nj;
    Conv2d<M, K, MI> c(p, memory);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int out0 = warp % 2 * 16 * MI, pixel0 = warp / 2 * 8 * nj;
    int offset = c.pixel(pixel0) + g + t * c.pitch;
    float sum[MI][nj][4];
#pragma unroll
    for (int i = 0; i < MI; i++)
#pragma unroll
        for (int j = 0; j < nj; j++)
#pragma unroll
            for (int r = 0; r < 4; r++) sum[i][j][r] = 0;
#pragma unroll 1
    for (int u = 1 - S::stages; u < c.count; u++) { // the first rounds only start copies
        if (u >= 0) {
            copy_wait<S::stages - 2>();
            block_sync();
        }
        c.fetch(u + S::stages - 1);
        if (u < 0) continue;
        const float *stage = memory + u % S::stages * c.stage_words;
        const float *pixels = stage + S::weights;
        // Tensor cores cut sums off instead of rounding them: the precise mode adds
        // each unit's sum by itself.
        float part[MI][nj][4];
        if (M == tf32x3) {
#pragma unroll
            for (int i = 0; i < MI; i++)
#pragma unroll
                for (int j = 0; j < nj; j++)
#pragma unroll
                    for (int r = 0; r < 4; r++) part[i][j][r] = 0;
        }
#pragma unroll 1
        for (int s = 0; s < S::steps; s++) {
            unsigned b[nj][2], small_b[nj][2];
#pragma unroll
            for (int j = 0; j < nj; j++) {
                const float *x = pixels + offset + c.step(s) + c.jump(j, 8);
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    if (M == bf16) {
                        b[j][r] = to_bf16x2(x[8 * r * c.pitch], x[(8 * r + 4) * c.pitch]);
                    } else {
                        float v = x[4 * r * c.pitch];
                        b[j][r] = to_tf32(v);
                        if (M == tf32x3) small_b[j][r] = to_tf32(v - from_bits(b[j][r]));
                    }
                }
            }
#pragma unroll
            for (int i = 0; i < MI; i++) {
                float4 w = *reinterpret_cast<const float4 *>(stage + (s * 2 * MI + warp % 2 * MI + i) * 128 + 4 * lane);
                unsigned a[4] = {bits_of(w.x), bits_of(w.y), bits_of(w.z), bits_of(w.w)};
                if (M == tf32x3) {
                    unsigned small[4];
#pragma unroll
                    for (int r = 0; r < 4; r++) {
                        float v = from_bits(a[r]);
                        a[r] = to_tf32(v);
                        small[r] = to_tf32(v - from_bits(a[r]));
                    }
#pragma unroll
                    for (int j = 0; j < nj; j++) {
                        mma_tf32(part[i][j], small, b[j]);
                        mma_tf32(part[i][j], a, small_b[j]);
                        mma_tf32(part[i][j], a, b[j]);
                    }
                } else {
#pragma unroll
                    for (int j = 0; j < nj; j++) {
                        if (M == bf16) mma_bf16(sum[i][j], a, b[j]);
                        else mma_tf32(sum[i][j], a, b[j]);
                    }
                }
            }
        }
        if (M == tf32x3) {
#pragma unroll
            for (int i = 0; i < MI; i++)
#pragma unroll
                for (int j = 0; j < nj; j++)
#pragma unroll
                    for (int r = 0; r < 4; r++) sum[i][j][r] += part[i][j][r];
        }
    }
    out0 += blockIdx.y * S::outs;
#pragma unroll
    for (int j = 0; j < nj; j++) {
        auto spot = c.spot(pixel0 + 8 * j + 2 * t, 2);
#pragma unroll
        for (int i = 0; i < MI; i++) {
            c.put2(spot, out0 + 16 * i + g, sum[i][j][0], sum[i][j][1]);
            c.put2(spot, out0 + 16 * i + g + 8, sum[i][j][2], sum[i][j][3]);
        }
    }
}

// Without tensor cores: 16×16 threads, each 2·MI channels of 8 pixels.
template <int K, int MI> DEVICE void conv_fma(const Conv &p) {
    SHARED(float, memory);
    using S = Shape<f32, K, MI>;
    const int outs = 2 * MI;
    Conv2d<f32, K, MI> c(p, memory);
    int tx = threadIdx.x % 16, out0 = threadIdx.x / 16 * outs;
    int offset = c.pixel(tx);
    float sum[outs][8];
#pragma unroll
    for (int i = 0; i < outs; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) sum[i][j] = 0;
#pragma unroll 1
    for (int u = 1 - S::stages; u < c.count; u++) { // the first rounds only start copies
        if (u >= 0) {
            copy_wait<S::stages - 2>();
            block_sync();
        }
        c.fetch(u + S::stages - 1);
        if (u < 0) continue;
        const float *stage = memory + u % S::stages * c.stage_words;
#pragma unroll 1
        for (int s = 0; s < S::steps; s++) {
#pragma unroll 1
            for (int k = 0; k < 8; k++) {
                const float *x = stage + S::weights + offset + k * c.pitch + c.step(s);
                const float *w = stage + (s * 8 + k) * S::outs + out0;
                float a[outs];
#pragma unroll
                for (int i = 0; i < outs; i++) a[i] = w[i];
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    float b = x[c.jump(j, 16)];
#pragma unroll
                    for (int i = 0; i < outs; i++) sum[i][j] = fmaf(a[i], b, sum[i][j]);
                }
            }
        }
    }
    out0 += blockIdx.y * S::outs;
#pragma unroll
    for (int j = 0; j < 8; j++) {
        auto spot = c.spot(tx + 16 * j, 1);
#pragma unroll
        for (int i = 0; i < outs; i++) c.put1(spot, out0 + i, sum[i][j]);
    }
}
