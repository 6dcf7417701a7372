// What all kernels share. The module owns its memory: a control block, a stack
// for each thread, and a heap, in which arrays, weights and scratch live. There
// is no static data, so that every thread may run the same code on one memory.
#ifndef DEVICE_H
#define DEVICE_H

#include <wasm_simd128.h>

typedef float f4 __attribute__((vector_size(16)));
typedef float f4u __attribute__((vector_size(16), aligned(4))); // anywhere
typedef int i4 __attribute__((vector_size(16)));
typedef double d2 __attribute__((vector_size(16)));

#define INLINE static inline __attribute__((always_inline))
#define EXPORT(name) __attribute__((export_name(#name)))

enum { MAX_THREADS = 64, STACK = 1 << 16, PAGE = 1 << 16 };

typedef void task(void *args, int i, int thread);

struct block;

// The control block, at a fixed place.
struct control {
  int poisons; // the first field, set by the device: memory is full of NaN when it is handed out
  // The job of the pool, see pool.c.
  int left, undone, waiting, sleeping;
  task *task;
  void *args;
  int threads, may_wait;
  int failed; // a kernel found no memory
  // Memory that kernels work in.
  float *stage;
  unsigned stage_floats;
  float *scratch[MAX_THREADS];
  unsigned scratch_floats, scratch_asked; // what there is, and what the tasks of this job may use
  struct block *blocks; // the heap, see memory.c
};

#define CONTROL ((struct control *)1024)
enum { STACKS = 4096 };

// A tensor as in package compute: images of c × h × w values, pitch apart.
struct tensor {
  float *at;
  int n, c, h, w, pitch;
};

INLINE int len(const struct tensor *t) { return t->c * t->h * t->w; }
// image n, repeated beyond the last.
INLINE float *image(const struct tensor *t, int n) { return t->at + n % t->n * t->pitch; }
INLINE int ceil_div(int n, int of) { return (n + of - 1) / of; }
INLINE int round_up(int n, int to) { return ceil_div(n, to) * to; }
INLINE int min(int a, int b) { return a < b ? a : b; }
INLINE int max(int a, int b) { return a > b ? a : b; }

// memory.c
void *allocate(unsigned bytes); // 0 where there is no more
void release(void *);
int stage_of(unsigned floats);   // makes CONTROL->stage that large; 0 where it fails
int scratch_of(unsigned floats); // the same for every thread's scratch
void unwritten(float *p, unsigned floats); // fills memory with NaN where the device does so with arrays

// pool.c: task(args, i, thread) for i = 0 … n−1 in any order on all threads. Which
// thread runs a task must not change its result. Every thread's scratch has so
// many floats.
void parallel(int n, task *t, void *args, unsigned scratch_floats);
// Few values of pointwise work are one task, many are several.
enum { BATCH = 4096, CHUNK = 16384 };

// tile.c: c = Σ_i Σ_t a[i][t][4] ⊗ b[i·stride + taps[t]][8·blocks], 4 rows, plus the old
// c where acc; b_step is from one block of 8 columns to the next, of b and of c.
struct product {
  const float *a, *b;
  float *c;
  int ldc, outer, stride;
  const int *taps;
  int ntaps, acc;
};
void tile(const struct product *p);       // 8 columns
// C[m][cols] = A·B, A in panels of 4 rows, B [k][ldb], cols a multiple of 8.
void gemm(float *c, int ldc, const float *a, int m, const float *b, int ldb, int inner, int cols, int acc);
void pack_rows(float *dst, const float *src, int m, int inner, int row_stride);
void pack_columns(float *dst, const float *src, int m, int inner, float scale);
void pad_rows(float *dst, const float *src, int rows, int width, int pitch);

INLINE f4 splat(float x) { return (f4){x, x, x, x}; }
INLINE f4 load(const float *p) { return *(const f4u *)p; }
INLINE void store(float *p, f4 v) { *(f4u *)p = v; }

// The last of a row: k of four values, the others zero.
INLINE f4 get(const float *p, int k) {
  if (k >= 4) return load(p);
  return (f4){p[0], k > 1 ? p[1] : 0, k > 2 ? p[2] : 0, 0};
}
INLINE void put(float *p, f4 v, int k) {
  if (k >= 4) {
    store(p, v);
    return;
  }
  p[0] = v[0];
  if (k > 1) p[1] = v[1];
  if (k > 2) p[2] = v[2];
}

INLINE void copy(float *to, const float *from, int n) { __builtin_memmove(to, from, (unsigned)n * 4); }
INLINE void zero(float *to, int n) { __builtin_memset(to, 0, (unsigned)n * 4); }

// exp to about one unit in the last place, saturating instead of overflowing:
// x = n·ln 2 + r, the polynomial of Cephes expf for e^r.
INLINE f4 exp4(f4 x) {
  const f4 magic = splat(12582912.0f); // adding it rounds to an integer
  x = wasm_f32x4_pmax(wasm_f32x4_pmin(x, splat(88.37626f)), splat(-87.33654f));
  f4 t = x * splat(1.44269504088896341f) + magic, n = t - magic;
  f4 r = x - n * splat(0.693359375f) + n * splat(2.12194440e-4f);
  f4 p = splat(1.9875691500e-4f);
  p = p * r + splat(1.3981999507e-3f);
  p = p * r + splat(8.3334519073e-3f);
  p = p * r + splat(4.1665795894e-2f);
  p = p * r + splat(1.6666665459e-1f);
  p = p * r + splat(5.0000001201e-1f);
  p = p * r * r + r + splat(1);
  return p * (f4)(((i4)t << 23) + 0x3f800000);
}

INLINE f4 sigmoid4(f4 z) { return splat(1) / (splat(1) + exp4(-z)); }

// Coefficients of an affine map of the centred input c = x − mu and of its
// directional derivatives, as in package cpu.
struct act {
  float mu;
  float m, c;                  // z = m·c + c₀
  float p, q, s;               // z_a = p·a + q·c + s
  float pb, qb, sb;            // z_b = pb·b + qb·c + sb
  float w, wa, wb, wc, shift;  // z_ab = w·ab + wa·a + wb·b + wc·c + shift
};
// The identity's: z = x, z_a = a, z_b = b, z_ab = ab.
INLINE struct act plain(void) { return (struct act){.m = 1, .p = 1, .pb = 1, .w = 1}; }

// silu.c: the fused passes over n values of one channel.
void affine(float *dst, const float *x, int n, const struct act *k);                              // z
void linear(float *dst, const float *x, const float *a, int n, const struct act *k, int acc);      // z_a
void silu(float *dst, const float *x, int n, const struct act *k);                                // z·σ(z)
void silu_tangent(float *dst, const float *x, const float *a, int n, const struct act *k, int acc); // silu′(z)·z_a
void silu_second(float *dst, const float *x, const float *a, const float *b, const float *ab, int n, const struct act *k);

// The kernels by their commands, see run.c. Each reads its arguments in place.
#define KERNELS(K) \
  K(conv) K(resample) K(separable) K(correlate) \
  K(groupnorm) K(vjp_groupnorm) K(jvp_groupnorm) K(jet2_groupnorm) \
  K(attention) K(vjp_attention) \
  K(combine) K(addchannel) K(mul) K(map) K(dot) \
  K(pack_weights) K(transform_weights) K(normals)
#define DECLARE(name) void name##_run(void *args);
KERNELS(DECLARE)

#endif
