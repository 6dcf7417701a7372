// The host twin of device.h: the same functions on the processor. See emu.h.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct emu_index {
    unsigned x, y, z;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }

namespace emu {
// Features of a kernel that decide how its threads run.
enum { plain = 0, fibers = 1 };

// The running thread, and its block.
extern emu_index thread, block, block_size, grid_size;
extern unsigned char *block_memory;
extern long shared_bytes;

struct Entry {
    const char *name;
    long params;
    int threads, features;
    void (*body)(const void *params);
    int (*layout)(char *to, int size);
    Entry *next;
    Entry(const char *name, long params, int threads, int features, void (*body)(const void *), int (*layout)(char *, int));
};

// The threads of a block, or of a warp, meet. Of a warp the last to come calls
// exchange with what each lane has brought; all must bring the same function.
void meet_block();
void meet_warp(void (*exchange)(void **lanes), void *mine);
// A pending asynchronous copy, done when it is waited for.
void copy(void *to, const void *from, int bytes, bool valid);
void commit();
void wait(int groups);
void fail(int code);
}  // namespace emu

#define __launch_bounds__(...)
#define threadIdx emu::thread
#define blockIdx emu::block
#define blockDim emu::block_size
#define gridDim emu::grid_size
#define DEVICE inline
#define __restrict__
using emu::fibers;
using emu::plain;

#define KERNEL(name, Params, threads, blocks, features)                                                           \
    static void name(const Params &p);                                                                            \
    static emu::Entry name##_entry(#name, sizeof(Params), threads, features,                                      \
                                   [](const void *params) { name(*static_cast<const Params *>(params)); }, Params::layout); \
    static void name(const Params &p)
#define SHARED(T, name) T *name = reinterpret_cast<T *>(emu::block_memory)
#define PARAM_FIELD(type, name, ...) type name __VA_ARGS__;
#define PARAM_LAYOUT(type, name, ...) \
    n += snprintf(to + n, n < size ? size - n : 0, #name " %d %d\n", int(offsetof(Self, name)), int(sizeof(Self::name)));
#define PARAMS(Name, fields)                    \
    struct Name {                               \
        fields(PARAM_FIELD)                     \
        static int layout(char *to, int size) { \
            using Self = Name;                  \
            int n = 0;                          \
            fields(PARAM_LAYOUT)                \
            return n;                           \
        }                                       \
    };

inline void block_sync() { emu::meet_block(); }
inline void warp_sync() {
    emu::meet_warp([](void **) {}, nullptr);
}
template <class T> inline T shuffle_xor(T v, int mask) {
    struct Mine {
        T v, got;
        int mask;
    } mine = {v, 0, mask};
    emu::meet_warp(
        [](void **lanes) {
            for (int i = 0; i < 32; i++) {
                Mine *m = static_cast<Mine *>(lanes[i]);
                m->got = static_cast<Mine *>(lanes[(i ^ m->mask) & 31])->v;
            }
        },
        &mine);
    return mine.got;
}

inline void copy16(void *to, const void *from, bool valid) { emu::copy(to, from, 16, valid); }
inline void copy4(void *to, const void *from, bool valid) { emu::copy(to, from, 4, valid); }
inline void copy_commit() { emu::commit(); }
template <int N> inline void copy_wait() { emu::wait(N); }

inline unsigned bits_of(float v) {
    unsigned u;
    memcpy(&u, &v, 4);
    return u;
}
inline float from_bits(unsigned u) {
    float v;
    memcpy(&v, &u, 4);
    return v;
}
inline long long bits_of(double v) {
    long long u;
    memcpy(&u, &v, 8);
    return u;
}
inline double from_bits(long long u) {
    double v;
    memcpy(&v, &u, 8);
    return v;
}
inline unsigned high_product(unsigned a, unsigned b) { return (static_cast<uint64_t>(a) * b) >> 32; }
// Compile with -ffp-contract=off.
inline double times64(double a, double b) { return a * b; }
inline double plus64(double a, double b) { return a + b; }

inline unsigned to_tf32(float v) { // infinities and NaN stay what they are
    unsigned u = bits_of(v);
    return (u & 0x7f800000u) == 0x7f800000u ? u : (u + 0x1000u) & ~0x1fffu;
}
inline unsigned to_bf16(float v) {
    unsigned u = bits_of(v);
    if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return (u + 0x7fffu + (u >> 16 & 1)) >> 16;
}
inline unsigned to_bf16x2(float lo, float hi) { return to_bf16(lo) | to_bf16(hi) << 16; }

namespace emu {
// The least exact arithmetic that tensor cores are known to do: products are exact,
// sums of `exact` of them and the accumulator are exact and then cut off, not
// rounded, to float32. (Fasi et al. 2021, "Numerical behavior of NVIDIA tensor cores".)
template <int Depth, int exact> inline void product(float (&c)[16][8], const float (&a)[16][Depth], const float (&b)[Depth][8]) {
    for (int i = 0; i < 16; i++)
        for (int k0 = 0; k0 < Depth; k0 += exact) {
            double sum[8];
            for (int j = 0; j < 8; j++) sum[j] = c[i][j];
            for (int k = k0; k < k0 + exact; k++)
                for (int j = 0; j < 8; j++) sum[j] += static_cast<double>(a[i][k]) * b[k][j];
            for (int j = 0; j < 8; j++) {
                int64_t u;
                memcpy(&u, &sum[j], 8);
                u &= ~0x1fffffffll;
                double cut;
                memcpy(&cut, &u, 8);
                c[i][j] = static_cast<float>(cut);
            }
        }
}
struct Fragments {
    float *c;
    const unsigned *a, *b;
};
// Collects the fragments of a warp, multiplies, and gives each lane its part.
template <int Depth, int exact, void (*unpack)(int lane, const Fragments *f, float (&a)[16][Depth], float (&b)[Depth][8])>
inline void multiply(void **lanes) {
    float a[16][Depth], b[Depth][8], c[16][8];
    for (int i = 0; i < 32; i++) {
        Fragments *f = static_cast<Fragments *>(lanes[i]);
        int g = i / 4, t = i % 4;
        unpack(i, f, a, b);
        for (int r = 0; r < 4; r++) c[g + r / 2 * 8][2 * t + r % 2] = f->c[r];
    }
    product<Depth, exact>(c, a, b);
    for (int i = 0; i < 32; i++) {
        Fragments *f = static_cast<Fragments *>(lanes[i]);
        for (int r = 0; r < 4; r++) f->c[r] = c[i / 4 + r / 2 * 8][2 * (i % 4) + r % 2];
    }
}
inline void unpack_tf32(int lane, const Fragments *f, float (&a)[16][8], float (&b)[8][8]) {
    int g = lane / 4, t = lane % 4;
    for (int r = 0; r < 4; r++) a[g + r % 2 * 8][t + r / 2 * 4] = from_bits(f->a[r] & ~0x1fffu);
    for (int r = 0; r < 2; r++) b[t + r * 4][g] = from_bits(f->b[r] & ~0x1fffu);
}
inline void unpack_bf16(int lane, const Fragments *f, float (&a)[16][16], float (&b)[16][8]) {
    int g = lane / 4, t = lane % 4;
    for (int h = 0; h < 2; h++) {
        for (int r = 0; r < 4; r++) a[g + r % 2 * 8][2 * t + h + r / 2 * 8] = from_bits(h ? f->a[r] & 0xffff0000u : f->a[r] << 16);
        for (int r = 0; r < 2; r++) b[2 * t + h + r * 8][g] = from_bits(h ? f->b[r] & 0xffff0000u : f->b[r] << 16);
    }
}
}  // namespace emu

inline void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    emu::Fragments f = {c, a, b};
    emu::meet_warp(emu::multiply<8, 4, emu::unpack_tf32>, &f);
}
inline void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    emu::Fragments f = {c, a, b};
    emu::meet_warp(emu::multiply<16, 8, emu::unpack_bf16>, &f);
}
