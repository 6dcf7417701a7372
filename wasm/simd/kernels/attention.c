// softmax(qᵀk/√ch) applied to v, per head, and its derivatives, as in package
// cpu. Scores are held transposed, S[s][t], so that the softmax runs down columns.
#include "device.h"

enum { WIDTH = 48, INPUTS = 4 };

struct attention_args {
  struct tensor dst, x[INPUTS]; // x, a, b, ab; of the adjoint: dx, x, dy
  int inputs, heads, split, acc;
  // made here
  int ch, t, tp, t4, c4, width, blocks, each;
  float scale;
};

static void layout(struct attention_args *a, const struct tensor *out) {
  a->ch = out->c / a->heads;
  a->t = out->h * out->w;
  a->tp = round_up(a->t, 8);
  a->t4 = round_up(a->t, 4);
  a->c4 = round_up(a->ch, 4);
  a->width = ceil_div(a->tp / 8, ceil_div(a->tp, WIDTH)) * 8; // blocks of about equal width
  a->blocks = ceil_div(a->tp, a->width);
  a->scale = 1 / (float)__builtin_sqrt((double)a->ch);
}

// part k (q, k, v) of an image that belongs to a head, [ch][t].
static float *part(const struct attention_args *a, const struct tensor *x, int n, int head, int k) {
  int channel = a->split ? (k * a->heads + head) * a->ch : (3 * head + k) * a->ch;
  return image(x, n) + channel * a->t;
}

static void softmax(float *s, float *top, float *inverse, int rows, int ld) {
  for (int j = 0; j < ld; j += 4) {
    f4 most = load(s + j), sum = {0};
    for (int r = 1; r < rows; r++) most = wasm_f32x4_max(most, load(s + r * ld + j));
    for (int r = 0; r < rows; r++) {
      f4 e = exp4(load(s + r * ld + j) - most);
      store(s + r * ld + j, e);
      sum += e;
    }
    f4 inv = splat(1) / sum;
    for (int r = 0; r < rows; r++) store(s + r * ld + j, load(s + r * ld + j) * inv);
    store(top + j, most);
    store(inverse + j, inv);
  }
}

// centre subtracts from each column of s its mean Σ p·s, and stores the mean.
static void centre(float *s, const float *p, float *mean, int rows, int ld) {
  for (int j = 0; j < ld; j += 4) {
    f4 sum = {0};
    for (int r = 0; r < rows; r++) sum += load(p + r * ld + j) * load(s + r * ld + j);
    for (int r = 0; r < rows; r++) store(s + r * ld + j, load(s + r * ld + j) - sum);
    store(mean + j, sum);
  }
}

static void multiply(float *to, const float *a, const float *b, int n, int add) {
  for (int i = 0; i < n; i += 4) store(to + i, (add ? load(to + i) : splat(0)) + load(a + i) * load(b + i));
}

// The operands of a head, for each input: keys and values in panels, queries padded.
static float *operands(const struct attention_args *a, int head, int u) {
  return CONTROL->stage + (head * a->inputs + u) * a->each;
}
INLINE float *keys(const struct attention_args *a, int head, int u) { return operands(a, head, u); }
INLINE float *values(const struct attention_args *a, int head, int u) { return operands(a, head, u) + a->t4 * a->ch; }
INLINE float *queries(const struct attention_args *a, int head, int u) { return values(a, head, u) + a->c4 * a->t; }

static void pack(void *p, int i, int thread) {
  struct attention_args *a = p;
  int u = i % a->inputs, head = i / a->inputs, n = head / a->heads, k = head % a->heads;
  pack_columns(keys(a, head, u), part(a, &a->x[u], n, k, 1), a->t, a->ch, a->scale);
  pack_rows(values(a, head, u), part(a, &a->x[u], n, k, 2), a->ch, a->t, a->t);
  pad_rows(queries(a, head, u), part(a, &a->x[u], n, k, 0), a->ch, a->t, a->tp);
}

// One block of queries. Input m is the derivative by the directions that are the
// bits of m, and every product differentiates as (K·Q)_m = Σ_{u ⊆ m} K_u · Q_{m∖u}.
static void block(void *p, int i, int thread) {
  struct attention_args *a = p;
  int head = i / a->blocks, t = i % a->blocks * a->width, cols = min(a->width, a->tp - t), size = a->t4 * cols, last = a->inputs - 1;
  float *s[INPUTS], *scratch = CONTROL->scratch[thread], *out = scratch + a->inputs * size, *stat = out + a->c4 * cols;
  for (int m = 0; m <= last; m++) {
    s[m] = scratch + m * size;
    for (int u = m; u >= 0; u--)
      if (!(u & ~m)) gemm(s[m], cols, keys(a, head, u), a->t, queries(a, head, m & ~u) + t, a->tp, a->ch, cols, u != m);
  }
  // P_a = P∘L_a and P_ab = P∘(L_a L_b + S_ab − ⟨P, L_a L_b + S_ab⟩), L_a = S_a − ⟨P, S_a⟩.
  softmax(s[0], stat, stat + cols, a->t, cols);
  for (int m = 1; m <= last; m++) {
    if (m == 3) multiply(s[3], s[1], s[2], a->t * cols, 1);
    centre(s[m], s[0], stat, a->t, cols);
  }
  for (int m = 1; m <= last; m++) multiply(s[m], s[m], s[0], a->t * cols, 0);
  for (int u = last; u >= 0; u--)
    if (!(u & ~last)) gemm(out, cols, values(a, head, u), a->ch, s[last & ~u], cols, a->t, cols, u != last);
  float *to = image(&a->dst, head / a->heads) + head % a->heads * a->ch * a->t;
  for (int c = 0; c < a->ch; c++) copy(to + c * a->t + t, out + c * cols, min(cols, a->t - t));
}

void attention_run(void *args) {
  struct attention_args *a = args;
  layout(a, &a->dst);
  a->each = a->t4 * a->ch + a->c4 * a->t + a->ch * a->tp;
  int heads = a->dst.n * a->heads;
  if (!stage_of((unsigned)(heads * a->inputs * a->each))) return;
  parallel(heads * a->inputs, pack, a, 0);
  parallel(heads * a->blocks, block, a, (unsigned)((a->inputs * a->t4 + a->c4 + 2) * a->width));
}

// The adjoint. With dP = Vᵀ dO and dS = P∘(dP − D), D = ⟨P, dP⟩: dQ = K dS,
// dK = Q dSᵀ, dV = dO Pᵀ. A first pass over blocks of t gives dQ, the columns' sums
// and D; a second over blocks of s computes P and dS again, the other way round, for
// dK and dV (Dao, FlashAttention-2).
struct adjoint_parts {
  float *q_t, *k_t, *v_t, *o_t; // rows are tokens
  float *q_c, *k_c, *o_c;       // rows are channels
  float *q, *k, *v, *o;         // as they are, padded
  float *top, *inverse, *mean;
};

static struct adjoint_parts parts(const struct attention_args *a, int head) {
  float *s = CONTROL->stage + head * a->each;
  int rows_t = a->t4 * a->ch, rows_c = a->c4 * a->t, wide = a->ch * a->tp;
  float *c = s + 4 * rows_t, *w = c + 3 * rows_c, *stat = w + 4 * wide;
  return (struct adjoint_parts){s, s + rows_t, s + 2 * rows_t, s + 3 * rows_t, c, c + rows_c, c + 2 * rows_c,
                                w, w + wide, w + 2 * wide, w + 3 * wide, stat, stat + a->tp, stat + 2 * a->tp};
}

#define DX(a) (&(a)->x[0])
#define X(a) (&(a)->x[1])
#define DY(a) (&(a)->x[2])

static void pack_one(const struct attention_args *a, float *rows_t, float *rows_c, float *wide, const float *src, float scale) {
  pack_columns(rows_t, src, a->t, a->ch, scale);
  if (rows_c) pack_rows(rows_c, src, a->ch, a->t, a->t);
  pad_rows(wide, src, a->ch, a->t, a->tp);
}

static void pack_adjoint(void *p, int head, int thread) {
  struct attention_args *a = p;
  struct adjoint_parts b = parts(a, head);
  int n = head / a->heads, k = head % a->heads;
  pack_one(a, b.q_t, b.q_c, b.q, part(a, X(a), n, k, 0), a->scale);
  pack_one(a, b.k_t, b.k_c, b.k, part(a, X(a), n, k, 1), a->scale);
  pack_one(a, b.v_t, 0, b.v, part(a, X(a), n, k, 2), 1);
  pack_one(a, b.o_t, b.o_c, b.o, image(DY(a), n) + k * a->ch * a->t, 1);
}

static void deliver(const struct attention_args *a, float *to, const float *out, int t, int cols, float scale) {
  struct act k = {.m = scale, .p = scale, .q = 1};
  int n = min(cols, a->t - t);
  for (int c = 0; c < a->ch; c++) {
    float *row = to + c * a->t + t;
    if (a->acc) linear(row, row, out + c * cols, n, &k, 0);
    else affine(row, out + c * cols, n, &k);
  }
}

static void queries_pass(void *p, int i, int thread) {
  struct attention_args *a = p;
  int head = i / a->blocks, t = i % a->blocks * a->width, cols = min(a->width, a->tp - t);
  struct adjoint_parts b = parts(a, head);
  float *scores = CONTROL->scratch[thread], *grads = scores + a->t4 * cols, *out = grads + a->t4 * cols;
  gemm(scores, cols, b.k_t, a->t, b.q + t, a->tp, a->ch, cols, 0);
  softmax(scores, b.top + t, b.inverse + t, a->t, cols);
  gemm(grads, cols, b.v_t, a->t, b.o + t, a->tp, a->ch, cols, 0);
  centre(grads, scores, b.mean + t, a->t, cols);
  multiply(grads, grads, scores, a->t * cols, 0);
  gemm(out, cols, b.k_c, a->ch, grads, cols, a->t, cols, 0);
  deliver(a, part(a, DX(a), head / a->heads, head % a->heads, 0), out, t, cols, a->scale);
}

static void keys_pass(void *p, int i, int thread) {
  struct attention_args *a = p;
  int head = i / a->blocks, s = i % a->blocks * a->width, cols = min(a->width, a->tp - s), n = head / a->heads, k = head % a->heads;
  struct adjoint_parts b = parts(a, head);
  float *scores = CONTROL->scratch[thread], *grads = scores + a->t4 * cols, *out = grads + a->t4 * cols;
  gemm(scores, cols, b.q_t, a->t, b.k + s, a->tp, a->ch, cols, 0);
  gemm(grads, cols, b.o_t, a->t, b.v + s, a->tp, a->ch, cols, 0);
  for (int t = 0; t < a->t; t++) {
    f4 top = splat(b.top[t]), inverse = splat(b.inverse[t]), mean = splat(b.mean[t]);
    for (int j = t * cols; j < (t + 1) * cols; j += 4) {
      f4 w = exp4(load(scores + j) - top) * inverse;
      store(scores + j, w);
      store(grads + j, (load(grads + j) - mean) * w);
    }
  }
  gemm(out, cols, b.o_c, a->ch, scores, cols, a->t, cols, 0);
  deliver(a, part(a, DX(a), n, k, 2), out, s, cols, 1);
  gemm(out, cols, b.q_c, a->ch, grads, cols, a->t, cols, 0);
  deliver(a, part(a, DX(a), n, k, 1), out, s, cols, a->scale);
}

void vjp_attention_run(void *args) {
  struct attention_args *a = args;
  layout(a, DY(a));
  a->each = 4 * a->t4 * a->ch + 3 * a->c4 * a->t + 4 * a->ch * a->tp + 3 * a->tp;
  int heads = DY(a)->n * a->heads;
  if (!stage_of((unsigned)(heads * a->each))) return;
  parallel(heads, pack_adjoint, a, 0);
  unsigned scratch = (unsigned)((2 * a->t4 + a->c4) * a->width);
  parallel(heads * a->blocks, queries_pass, a, scratch);
  parallel(heads * a->blocks, keys_pass, a, scratch);
}
