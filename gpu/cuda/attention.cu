// Attention softmax(qᵀk/√ch)·v per head: value, adjoint (vjp), tangent (jvp) and second
// coefficient (jet2), without ever holding a matrix of all scores. Input u is the
// derivative by the directions that are the bits of u, and scores differentiate as
//
//   S_m = Σ_{u ⊆ m} q_u·k_{m∖u}.
//
// A first pass, attention_rows, finds for each query the logarithm of its weights' sum
// and the weights' means of S_a, S_b, S_ab (of dP = dOᵀv for the adjoint). With them a
// second pass has the weights P and the centred L_a = S_a − ⟨P, S_a⟩ at once:
//
//   O = ΣP·v,  O_a = ΣP·(v_a + L_a v),
//   O_ab = ΣP·(v_ab + L_a v_b + L_b v_a + (L_a L_b + L_ab) v) − ⟨P, L_a L_b⟩·O
//   adjoint: dS = P∘(dP − ⟨P, dP⟩),  dq = ΣdS·k over keys,  dk = ΣdS·q and dv = ΣP·dO
//   over queries (Dao, FlashAttention-2).
//
// A block takes 32 tokens, its own; the others pass by in tiles of 64. For dk and dv
// the own are keys and the others queries.
#include "device.h"

#define ATTENTION(F)    \
    F(View, dst)        \
    F(View, x)          \
    F(View, a)          \
    F(View, b)          \
    F(View, ab)         \
    F(View, dy)         \
    F(float *, rows)    \
    F(int, heads)       \
    F(int, ch)          \
    F(int, tokens)      \
    F(int, split)       \
    F(int, add)         \
    F(float, scale)
// rows is [image][head][4][tokens].
PARAMS(Attention, ATTENTION)

enum Order { value, jvp, jet2, vjp_q, vjp_kv };
template <Order O> struct Kind {
    static const int sets = O == value ? 1 : O == jet2 ? 4 : 2;    // inputs, and kinds of scores
    static const int weights = O == value || O == vjp_q ? 1 : O == jet2 ? 4 : 2;
    static const int results = O == jet2 || O == vjp_kv ? 2 : 1;
};

const int own = 32, others = 64, depth = 16; // tokens of a block and of a tile; channels at a time
const int wide = 64, value_pitch = 68;       // channels of a result, and their pitch in shared memory

// Channel 0 of q (part 0), k or v of a head; all rows are tokens long.
DEVICE const float *part_of(const Attention &p, const View &x, int n, int head, int part) {
    int c = p.split ? (part * p.heads + head) * p.ch : (3 * head + part) * p.ch;
    return x.image(n) + static_cast<long long>(c) * p.tokens;
}

template <Order O> struct Attend {
    static const int sets = Kind<O>::sets;
    const Attention &p;
    int n, head, warp, lane, t0;
    const float *mine[sets], *theirs[sets]; // whose products are the scores
    float *scratch, *rows;

    DEVICE Attend(const Attention &p, float *memory) : p(p), scratch(memory) {
        n = blockIdx.z;
        head = blockIdx.y % p.heads;
        warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        t0 = blockIdx.x * own;
        rows = p.rows + (static_cast<long long>(n) * p.heads + head) * 4 * p.tokens;
        const View *inputs[4] = {&p.x, &p.a, &p.b, &p.ab};
        if (O == vjp_q || O == vjp_kv) {
            const float *dy = p.dy.image(n) + static_cast<long long>(head) * p.ch * p.tokens;
            const float *q = part_of(p, p.x, n, head, 0), *k = part_of(p, p.x, n, head, 1), *v = part_of(p, p.x, n, head, 2);
            const int second = sets - 1;
            mine[0] = O == vjp_q ? q : k, theirs[0] = O == vjp_q ? k : q;
            mine[second] = O == vjp_q ? dy : v, theirs[second] = O == vjp_q ? v : dy;
        } else {
#pragma unroll
            for (int u = 0; u < sets; u++) {
                mine[u] = part_of(p, *inputs[u], n, head, 0);
                theirs[u] = part_of(p, *inputs[u], n, head, 1);
            }
        }
    }

    // Scores of this warp's four own tokens with others s0 + lane and s0 + 32 + lane.
    DEVICE void scores(int s0, float (&s)[sets][4][2]) {
        float *q = scratch, *k = scratch + sets * depth * own;
#pragma unroll
        for (int m = 0; m < sets; m++)
#pragma unroll
            for (int r = 0; r < 4; r++) s[m][r][0] = s[m][r][1] = 0;
        for (int c0 = 0; c0 < p.ch; c0 += depth) {
            block_sync();
            for (int u = 0; u < sets; u++) {
                for (int at = threadIdx.x; at < depth * own; at += blockDim.x) {
                    int c = c0 + at / own, t = t0 + at % own;
                    q[u * depth * own + at] = c < p.ch && t < p.tokens ? mine[u][static_cast<long long>(c) * p.tokens + t] : 0;
                }
                for (int at = threadIdx.x; at < depth * others; at += blockDim.x) {
                    int c = c0 + at / others, t = s0 + at % others;
                    k[u * depth * others + at] = c < p.ch && t < p.tokens ? theirs[u][static_cast<long long>(c) * p.tokens + t] : 0;
                }
            }
            block_sync();
#pragma unroll 2
            for (int c = 0; c < depth; c++) {
                float qs[sets][4], ks[sets][2];
#pragma unroll
                for (int u = 0; u < sets; u++) {
                    float4 v = *reinterpret_cast<const float4 *>(q + (u * depth + c) * own + 4 * warp);
                    qs[u][0] = v.x, qs[u][1] = v.y, qs[u][2] = v.z, qs[u][3] = v.w;
                    ks[u][0] = k[(u * depth + c) * others + lane];
                    ks[u][1] = k[(u * depth + c) * others + 32 + lane];
                }
#pragma unroll
                for (int m = 0; m < sets; m++)
#pragma unroll
                    for (int u = 0; u <= m; u++) {
                        bool meet = O == vjp_q || O == vjp_kv ? u == m : (u & ~m) == 0;
                        if (!meet) continue;
                        const int rest = O == vjp_q || O == vjp_kv ? m : m & ~u;
#pragma unroll
                        for (int r = 0; r < 4; r++) {
                            s[m][r][0] = fmaf(qs[u][r], ks[rest][0], s[m][r][0]);
                            s[m][r][1] = fmaf(qs[u][r], ks[rest][1], s[m][r][1]);
                        }
                    }
            }
        }
#pragma unroll
        for (int m = 0; m < sets; m++) {
            if ((O == vjp_q || O == vjp_kv) && m > 0) continue; // dP has no scale
#pragma unroll
            for (int r = 0; r < 4; r++) s[m][r][0] *= p.scale, s[m][r][1] *= p.scale;
        }
    }
};

// rows: for each own query log Σ exp S, and the means of the other scores.
template <Order O> DEVICE void attend_rows(const Attention &p) {
    SHARED(float, memory);
    const int sets = Kind<O>::sets;
    Attend<O> d(p, memory);
    float top[4], sum[sets][4];
#pragma unroll
    for (int r = 0; r < 4; r++) {
        top[r] = -1e30f;
#pragma unroll
        for (int m = 0; m < sets; m++) sum[m][r] = 0;
    }
    for (int s0 = 0; s0 < p.tokens; s0 += others) {
        float s[sets][4][2];
        d.scores(s0, s);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            if (s0 + 32 * h + d.lane >= p.tokens) continue;
#pragma unroll
            for (int r = 0; r < 4; r++) {
                float most = fmaxf(top[r], s[0][r][h]), shrink = expf(top[r] - most), e = expf(s[0][r][h] - most);
                top[r] = most;
                sum[0][r] = sum[0][r] * shrink + e;
#pragma unroll
                for (int m = 1; m < sets; m++) sum[m][r] = sum[m][r] * shrink + e * s[m][r][h];
            }
        }
    }
#pragma unroll
    for (int r = 0; r < 4; r++) {
        float most = warp_max(top[r]), shrink = expf(top[r] - most);
        float total = warp_sum(sum[0][r] * shrink);
        int t = d.t0 + 4 * d.warp + r;
        if (d.lane == 0 && t < p.tokens) d.rows[t] = most + logf(total);
#pragma unroll
        for (int m = 1; m < sets; m++) {
            float mean = warp_sum(sum[m][r] * shrink) / total;
            if (d.lane == 0 && t < p.tokens) d.rows[m * p.tokens + t] = mean;
        }
    }
}

// sum[c] += Σ_s W[own][s]·v[c][s] for eight channels of one own token; v is a tile of
// `wide` channels from c0 on, brought to shared memory.
DEVICE void bring(const Attention &p, float *tile, const float *v, int c0, int s0) {
    block_sync();
    for (int at = threadIdx.x; at < wide * others; at += blockDim.x) {
        int c = at / others, s = at % others;
        tile[s * value_pitch + c] = c0 + c < p.ch && s0 + s < p.tokens ? v[static_cast<long long>(c0 + c) * p.tokens + s0 + s] : 0;
    }
    block_sync();
}
DEVICE void collect(float (&sum)[8], const float *weights, const float *tile, int warp, int lane) {
#pragma unroll 4
    for (int s = 0; s < others; s++) {
        float w = weights[lane * (others + 1) + s];
        const float *v = tile + s * value_pitch + 8 * warp;
        float4 low = *reinterpret_cast<const float4 *>(v), high = *reinterpret_cast<const float4 *>(v + 4);
        sum[0] = fmaf(w, low.x, sum[0]), sum[1] = fmaf(w, low.y, sum[1]), sum[2] = fmaf(w, low.z, sum[2]), sum[3] = fmaf(w, low.w, sum[3]);
        sum[4] = fmaf(w, high.x, sum[4]), sum[5] = fmaf(w, high.y, sum[5]), sum[6] = fmaf(w, high.z, sum[6]), sum[7] = fmaf(w, high.w, sum[7]);
    }
}

template <Order O> DEVICE void attend(const Attention &p) {
    SHARED(float, memory);
    const int sets = Kind<O>::sets, count = Kind<O>::weights, results = Kind<O>::results, of_weights = own * (others + 1);
    float *weights = memory, *tile = memory + count * of_weights + (-count * of_weights & 3);
    Attend<O> d(p, tile); // scores and tiles of values use the same memory in turn
    int warp = d.warp, lane = d.lane, c0 = blockIdx.y / p.heads * wide;
    float sum[results][8], curvature[4] = {0, 0, 0, 0};
#pragma unroll
    for (int k = 0; k < results; k++)
#pragma unroll
        for (int c = 0; c < 8; c++) sum[k][c] = 0;
    float row[sets][4]; // of this warp's own tokens
#pragma unroll
    for (int m = 0; m < sets; m++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
            int t = d.t0 + 4 * warp + r;
            row[m][r] = t < p.tokens ? d.rows[m * p.tokens + t] : 0;
        }
    for (int s0 = 0; s0 < p.tokens; s0 += others) {
        float s[sets][4][2];
        d.scores(s0, s);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int other = s0 + 32 * h + lane;
            bool there = other < p.tokens;
#pragma unroll
            for (int r = 0; r < 4; r++) {
                float *to = weights + (4 * warp + r) * (others + 1) + 32 * h + lane;
                const int a = sets > 1 ? 1 : 0, b = sets > 2 ? 2 : 0, ab = sets - 1;
                float log_sum = row[0][r], mean = row[a][r];
                if (O == vjp_kv) {
                    log_sum = there ? d.rows[other] : 0;
                    mean = there ? d.rows[p.tokens + other] : 0;
                }
                float w = there ? expf(s[0][r][h] - log_sum) : 0;
                if (O != vjp_q) to[0] = w;
                if (O == vjp_q) to[0] = w * (s[a][r][h] - mean);
                if (O == vjp_kv || O == jvp) to[of_weights] = w * (s[a][r][h] - mean);
                if (O == jet2) {
                    float la = s[a][r][h] - row[a][r], lb = s[b][r][h] - row[b][r], lab = s[ab][r][h] - row[ab][r];
                    to[of_weights] = w * la;
                    to[2 * of_weights] = w * lb;
                    to[3 * of_weights] = w * (la * lb + lab);
                    curvature[r] += w * la * lb;
                }
            }
        }
        const int n = d.n, head = d.head;
        if (O == vjp_q) {
            bring(p, tile, d.theirs[0], c0, s0); // keys
            collect(sum[0], weights, tile, warp, lane);
        } else if (O == vjp_kv) {
            bring(p, tile, d.theirs[sets - 1], c0, s0); // dO
            collect(sum[0], weights, tile, warp, lane);
            bring(p, tile, d.theirs[0], c0, s0); // queries
            collect(sum[results - 1], weights + of_weights, tile, warp, lane);
        } else {
            if (O == jvp) {
                bring(p, tile, part_of(p, p.a, n, head, 2), c0, s0);
                collect(sum[0], weights, tile, warp, lane);
            }
            if (O == jet2) {
                bring(p, tile, part_of(p, p.ab, n, head, 2), c0, s0);
                collect(sum[0], weights, tile, warp, lane);
                bring(p, tile, part_of(p, p.b, n, head, 2), c0, s0);
                collect(sum[0], weights + of_weights, tile, warp, lane);
                bring(p, tile, part_of(p, p.a, n, head, 2), c0, s0);
                collect(sum[0], weights + 2 * of_weights, tile, warp, lane);
            }
            bring(p, tile, part_of(p, p.x, n, head, 2), c0, s0);
            collect(sum[0], weights + (count - 1) * of_weights, tile, warp, lane);
            if (O == jet2) collect(sum[results - 1], weights, tile, warp, lane);
        }
    }
    if (O == jet2) { // −⟨P, L_a L_b⟩·O: the former is in the lanes of the scores' warps
        block_sync();
#pragma unroll
        for (int r = 0; r < 4; r++) {
            float total = warp_sum(curvature[r]);
            if (lane == 0) tile[4 * warp + r] = total;
        }
        block_sync();
        float q = tile[lane];
#pragma unroll
        for (int c = 0; c < 8; c++) sum[0][c] -= q * sum[results - 1][c];
    }
    int t = d.t0 + lane;
    if (t >= p.tokens) return;
#pragma unroll
    for (int k = 0; k < results; k++) {
        if (O == jet2 && k > 0) continue;
        float *to;
        float scale = 1;
        if (O == vjp_q || O == vjp_kv) {
            int part = O == vjp_q ? 0 : k == 0 ? 2 : 1;
            to = const_cast<float *>(part_of(p, p.dst, d.n, d.head, part));
            if (part < 2) scale = p.scale;
        } else {
            to = p.dst.image(d.n) + static_cast<long long>(d.head) * p.ch * p.tokens;
        }
#pragma unroll
        for (int c = 0; c < 8; c++) {
            int channel = c0 + 8 * warp + c;
            if (channel >= p.ch) continue;
            float *at = to + static_cast<long long>(channel) * p.tokens + t;
            *at = p.add ? fmaf(scale, sum[k][c], *at) : scale * sum[k][c];
        }
    }
}

KERNEL(attention_rows, Attention, 256, 2, fibers) { attend_rows<value>(p); }
KERNEL(attention, Attention, 256, 2, fibers) { attend<value>(p); }
KERNEL(jvp_attention_rows, Attention, 256, 2, fibers) { attend_rows<jvp>(p); }
KERNEL(jvp_attention, Attention, 256, 2, fibers) { attend<jvp>(p); }
KERNEL(jet2_attention_rows, Attention, 256, 2, fibers) { attend_rows<jet2>(p); }
KERNEL(jet2_attention, Attention, 256, 2, fibers) { attend<jet2>(p); }
KERNEL(vjp_attention_rows, Attention, 256, 2, fibers) { attend_rows<vjp_q>(p); }
KERNEL(vjp_attention_q, Attention, 256, 2, fibers) { attend<vjp_q>(p); }
KERNEL(vjp_attention_kv, Attention, 256, 2, fibers) { attend<vjp_kv>(p); }
