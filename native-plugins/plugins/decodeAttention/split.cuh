// Attention of one query token over a cache: bound by reading keys and values once.
//
// A block owns up to 8 query heads of one key/value head and a range of tokens. Each of its warps takes every fourth tile of
// 16 tokens through a cp.async FIFO of its own and keeps its own softmax state; the warps, then the blocks, are merged at the
// end, so nothing is waited for while the cache streams.
//   scores[16 tokens × 8 heads] = K tile (operand A, ldmatrix) · qᵀ (operand B, registers, scaled by scale × log2 e)
//   out[16 of D × 8 heads]     += Vᵀ tile (operand A, ldmatrix.trans) · p (the scores, transposed by movmatrix)
// The maximum that is subtracted is only a reference: it moves when a score exceeds it by 2^kSLACK, which after the first tile
// is rare, so the usual tile has no exchange between lanes but one vote.
#pragma once
#include "device.cuh"
#include <cmath>

namespace mmtrt::decodeAttention
{
inline constexpr int32_t kWARPS = 4;
inline constexpr int32_t kTILE = 16;
inline constexpr int32_t kHEADS = 8;
inline constexpr int32_t kMOST_SPLITS = 64;
// 2^10 × the sum of 2^20 tokens is far from fp32's end, and p as fp16 (at most 65504) holds it.
inline constexpr float kSLACK = 10.F;
inline constexpr float kNONE = -INFINITY;

struct Arguments
{
    void const* q;
    void const* keys;
    void const* values;
    int32_t const* lengths;
    // Null: sequence b's tokens are keys[b].
    int32_t const* blockTable;
    void* y;
    float* partials;
    uint32_t* counters;
    float scoreScale;
    int32_t heads;
    int32_t kvHeads;
    int32_t group;
    // Blocks of 8 query heads for each key/value head.
    int32_t groupChunks;
    int32_t capacity;
    int32_t maxBlocks;
    int32_t splits;
    // The lines that are read leave L2 first.
    bool passesBy;
};

template <int32_t kD>
struct Layout
{
    // 16 bytes between rows beyond a multiple of 32: the 8 rows of an ldmatrix hit different banks.
    static constexpr int32_t kROW_BYTES = kD * 2 + 16;
    static constexpr int32_t kTILE_BYTES = kTILE * kROW_BYTES;
        static constexpr int32_t kSTAGES = kD <= 64 ? 6 : kD <= 128 ? 3 : 2;
    static constexpr int32_t kWARP_BYTES = kSTAGES * 2 * kTILE_BYTES;
    static constexpr int32_t kSHARED_BYTES = kWARPS * kWARP_BYTES;
    static constexpr int32_t kRESIDENT = kD <= 128 ? 2 : 1;
    // Floats of a block's result: out [8][D], then maximum and sum of 8 heads each.
    static constexpr int32_t kPARTIAL = kHEADS * kD + 2 * kHEADS;
};

// Tiles of 16 tokens of sequence b, which `splits` blocks share evenly.
__device__ __forceinline__ int32_t tilesOf(int32_t length) { return (length + kTILE - 1) / kTILE; }

template <typename T, int32_t kD, bool kPAGED>
__device__ __forceinline__ void prefetch(
    uint32_t stage, Arguments const& args, int32_t sequence, int32_t kvHead, int32_t tile, int32_t length, bool valid,
    uint64_t policy)
{
    using L = Layout<kD>;
    int32_t const lane = threadIdx.x % 32;
    int32_t const first = tile * kTILE;
    int64_t row = 0;
    if (valid)
    {
        int64_t block = sequence;
        int32_t inBlock = first;
        if constexpr (kPAGED)
        {
            block = args.blockTable[static_cast<int64_t>(sequence) * args.maxBlocks + first / args.capacity];
            inBlock = first % args.capacity;
        }
        row = (block * args.kvHeads + kvHead) * args.capacity + inBlock;
    }
    auto const* k = static_cast<T const*>(args.keys) + row * kD;
    auto const* v = static_cast<T const*>(args.values) + row * kD;
    constexpr int32_t kCHUNKS = kD / 8;
    auto const copy = [&](uint32_t to, T const* from, bool inside)
    {
        if (args.passesBy)
            copyAsync16(to, from, inside, policy);
        else
            copyAsync16(to, from, inside);
    };
#pragma unroll
    for (int32_t i = 0; i < kTILE * kCHUNKS / 32; ++i)
    {
        int32_t const chunk = i * 32 + lane;
        int32_t const r = chunk / kCHUNKS;
        int32_t const c = chunk % kCHUNKS;
        // Rows past the end become zeros: what lies there may be NaN, and 0 × NaN would reach the sum.
        bool const inside = valid && first + r < length;
        int32_t const element = inside ? r * kD + c * 8 : 0;
        copy(stage + r * L::kROW_BYTES + c * 16, k + element, inside);
        copy(stage + L::kTILE_BYTES + r * L::kROW_BYTES + c * 16, v + element, inside);
    }
    copyCommit();
}

// This lane's operand B of every step of 16 of D: elements 2t, 2t+1 and 2t+8, 2t+9 of head g. Scaling in fp32 and rounding
// once more would move q, so only the scores are scaled.
template <typename T, int32_t kD>
__device__ __forceinline__ void loadQuery(uint32_t (&q)[kD / 16][2], T const* row, bool valid)
{
    int32_t const t = threadIdx.x % 4;
#pragma unroll
    for (int32_t d = 0; d < kD / 16; ++d)
    {
#pragma unroll
        for (int32_t i = 0; i < 2; ++i)
            q[d][i] = valid ? *reinterpret_cast<uint32_t const*>(row + d * 16 + 2 * t + 8 * i) : 0U;
    }
}

// Running softmax of the two heads 2t and 2t+1 whose scores this lane holds. `sum` is over the lane's own tokens.
template <int32_t kD>
struct State
{
    float out[kD / 16][4] = {};
    float maximum[2] = {kNONE, kNONE};
    float sum[2] = {};
};

// The maximum over the warp's tokens becomes the reference, and what was summed is brought to it.
template <int32_t kD>
__device__ __forceinline__ void moveReference(State<kD>& state, float const (&score)[4])
{
#pragma unroll
    for (int32_t i = 0; i < 2; ++i)
    {
        float m = fmaxf(state.maximum[i], fmaxf(score[i], score[i + 2]));
#pragma unroll
        for (int32_t other = 4; other < 32; other *= 2)
            m = fmaxf(m, __shfl_xor_sync(kFULL_WARP, m, other));
        float const factor = m == kNONE ? 1.F : exp2f(state.maximum[i] - m);
        state.maximum[i] = m;
        state.sum[i] *= factor;
#pragma unroll
        for (int32_t d = 0; d < kD / 16; ++d)
        {
            state.out[d][i] *= factor;
            state.out[d][i + 2] *= factor;
        }
    }
}

template <typename T, int32_t kD>
__device__ __forceinline__ void attend(
    State<kD>& state, uint32_t const (&q)[kD / 16][2], uint32_t stage, int32_t first, int32_t length, float scoreScale)
{
    using L = Layout<kD>;
    int32_t const lane = threadIdx.x % 32;
    // Two chains of products: one would wait for each instruction's latency.
    float score[4] = {};
    float score2[4] = {};
    uint32_t const kRow = stage + (lane % 16) * L::kROW_BYTES + lane / 16 * 16;
#pragma unroll
    for (int32_t d = 0; d < kD / 16; ++d)
    {
        uint32_t a[4];
        loadMatrix(a, kRow + d * 32);
        mma<T>(d % 2 == 0 ? score : score2, a, q[d][0], q[d][1]);
    }
    int32_t const token = first + lane / 4;
#pragma unroll
    for (int32_t i = 0; i < 4; ++i)
        score[i] = token + i / 2 * 8 < length ? (score[i] + score2[i]) * scoreScale : kNONE;
    bool const above = fmaxf(score[0], score[2]) > state.maximum[0] + kSLACK || fmaxf(score[1], score[3]) > state.maximum[1] + kSLACK;
    if (__any_sync(kFULL_WARP, above))
        moveReference<kD>(state, score);
    float p[4];
#pragma unroll
    for (int32_t i = 0; i < 4; ++i)
        p[i] = score[i] == kNONE ? 0.F : exp2f(score[i] - state.maximum[i % 2]);
    uint32_t const low = pack<T>(p[0], p[1]);
    uint32_t const high = pack<T>(p[2], p[3]);
    // The sum is over what the product below multiplies: the rounded values.
    float2 const a = unpack<T>(low);
    float2 const b = unpack<T>(high);
    state.sum[0] += a.x + b.x;
    state.sum[1] += a.y + b.y;
    uint32_t const b0 = transpose8x8(low);
    uint32_t const b1 = transpose8x8(high);
    // Matrices in the order of operand A: (d 0–7, tokens 0–7), (d 8–15, tokens 0–7), (d 0–7, tokens 8–15), (d 8–15, tokens 8–15).
    uint32_t const vRow = stage + L::kTILE_BYTES + (lane % 8 + lane / 16 * 8) * L::kROW_BYTES + lane / 8 % 2 * 16;
#pragma unroll
    for (int32_t d = 0; d < kD / 16; ++d)
    {
        uint32_t v[4];
        loadMatrixTransposed(v, vRow + d * 32);
        mma<T>(state.out[d], v, b0, b1);
    }
}

// One of several results over different tokens, in shared or global memory: out[8][D], maximum[8], sum[8].
template <int32_t kD>
__device__ __forceinline__ void store(float* to, State<kD> const& state)
{
    int32_t const g = threadIdx.x % 32 / 4;
    int32_t const t = threadIdx.x % 4;
#pragma unroll
    for (int32_t i = 0; i < 2; ++i)
    {
        float sum = state.sum[i];
#pragma unroll
        for (int32_t other = 4; other < 32; other *= 2)
            sum += __shfl_xor_sync(kFULL_WARP, sum, other);
        int32_t const head = 2 * t + i;
#pragma unroll
        for (int32_t d = 0; d < kD / 16; ++d)
        {
            to[head * kD + d * 16 + g] = state.out[d][i];
            to[head * kD + d * 16 + g + 8] = state.out[d][i + 2];
        }
        if (g == 0)
        {
            to[kHEADS * kD + head] = state.maximum[i];
            to[kHEADS * kD + kHEADS + head] = sum;
        }
    }
}

// Merges the block's warps, whose results lie kPARTIAL floats apart in shared memory. `write(head, d, out, maximum, sum)` gets
// each element.
template <int32_t kD, typename Write>
__device__ __forceinline__ void mergeWarps(float const* from, int32_t heads, Write write)
{
    using L = Layout<kD>;
    for (int32_t i = threadIdx.x; i < heads * kD; i += kWARPS * 32)
    {
        int32_t const head = i / kD;
        float maximum = kNONE;
#pragma unroll
        for (int32_t w = 0; w < kWARPS; ++w)
            maximum = fmaxf(maximum, from[w * L::kPARTIAL + kHEADS * kD + head]);
        float out = 0.F;
        float sum = 0.F;
#pragma unroll
        for (int32_t w = 0; w < kWARPS; ++w)
        {
            float const* part = from + w * L::kPARTIAL;
            float const m = part[kHEADS * kD + head];
            float const factor = m == kNONE ? 0.F : exp2f(m - maximum);
            out += part[i] * factor;
            sum += part[kHEADS * kD + kHEADS + head] * factor;
        }
        write(head, i % kD, out, maximum, sum);
    }
}

// Merges the results of `splits` blocks in global memory, past L1, where other blocks' writes do not show.
template <typename T, int32_t kD>
__device__ __forceinline__ void mergeBlocks(T* y, float const* from, int32_t splits, int32_t heads, float* factors)
{
    using L = Layout<kD>;
    static_assert(kMOST_SPLITS == 64, "two results a lane");
    int32_t const lane = threadIdx.x % 32;
    for (int32_t head = threadIdx.x / 32; head < heads; head += kWARPS)
    {
        float m[2];
        float sum[2];
#pragma unroll
        for (int32_t i = 0; i < 2; ++i)
        {
            int32_t const s = lane + 32 * i;
            float const* part = from + s * L::kPARTIAL + kHEADS * kD + head;
            m[i] = s < splits ? __ldcg(part) : kNONE;
            sum[i] = s < splits ? __ldcg(part + kHEADS) : 0.F;
        }
        float maximum = fmaxf(m[0], m[1]);
#pragma unroll
        for (int32_t other = 1; other < 32; other *= 2)
            maximum = fmaxf(maximum, __shfl_xor_sync(kFULL_WARP, maximum, other));
        float total = 0.F;
#pragma unroll
        for (int32_t i = 0; i < 2; ++i)
        {
            m[i] = m[i] == kNONE ? 0.F : exp2f(m[i] - maximum);
            total += m[i] * sum[i];
        }
#pragma unroll
        for (int32_t other = 1; other < 32; other *= 2)
            total += __shfl_xor_sync(kFULL_WARP, total, other);
        // A sequence without tokens has no average: zeros.
        float const inverse = total > 0.F ? 1.F / total : 0.F;
        factors[head * kMOST_SPLITS + lane] = m[0] * inverse;
        factors[head * kMOST_SPLITS + lane + 32] = m[1] * inverse;
    }
    __syncthreads();
    for (int32_t i = threadIdx.x * 4; i < heads * kD; i += kWARPS * 32 * 4)
    {
        float const* factor = factors + i / kD * kMOST_SPLITS;
        float4 out{};
#pragma unroll 8
        for (int32_t s = 0; s < splits; ++s)
        {
            float4 const part = __ldcg(reinterpret_cast<float4 const*>(from + s * L::kPARTIAL + i));
            float const f = factor[s];
            out.x += part.x * f;
            out.y += part.y * f;
            out.z += part.z * f;
            out.w += part.w * f;
        }
        *reinterpret_cast<uint2*>(y + i) = make_uint2(pack<T>(out.x, out.y), pack<T>(out.z, out.w));
    }
}

template <typename T, int32_t kD, bool kPAGED>
__global__ void __launch_bounds__(kWARPS * 32, Layout<kD>::kRESIDENT) splitKernel(Arguments const args)
{
    using L = Layout<kD>;
    extern __shared__ __align__(128) char shared[];
    int32_t const warp = threadIdx.x / 32;
    int32_t const g = threadIdx.x % 32 / 4;
    int32_t const sequence = blockIdx.z;
    int32_t const kvHead = blockIdx.y / args.groupChunks;
    int32_t const firstInGroup = blockIdx.y % args.groupChunks * kHEADS;
    int32_t const heads = min(kHEADS, args.group - firstInGroup);
    int64_t const pair = static_cast<int64_t>(sequence) * gridDim.y + blockIdx.y;
    int64_t const head0 = static_cast<int64_t>(sequence) * args.heads + kvHead * args.group + firstInGroup;
    // A cache holds what it can hold, whatever the length says.
    int32_t const held = kPAGED ? args.maxBlocks * args.capacity : args.capacity;
    int32_t const length = min(max(args.lengths[sequence], 0), held);
    int32_t const tiles = tilesOf(length);
    int32_t const begin = static_cast<int32_t>(static_cast<int64_t>(tiles) * blockIdx.x / args.splits);
    int32_t const end = static_cast<int32_t>(static_cast<int64_t>(tiles) * (blockIdx.x + 1) / args.splits);
    uint32_t const fifo = sharedAddress(shared) + warp * L::kWARP_BYTES;

    uint64_t const policy = streamingPolicy();
    int32_t next = begin + warp;
    auto const queue = [&](int32_t stage)
    {
        prefetch<T, kD, kPAGED>(fifo + stage * 2 * L::kTILE_BYTES, args, sequence, kvHead, next, length, next < end, policy);
        next += kWARPS;
    };
#pragma unroll
    for (int32_t i = 0; i < L::kSTAGES; ++i)
        queue(i);
    uint32_t q[kD / 16][2];
    loadQuery<T, kD>(q, static_cast<T const*>(args.q) + (head0 + g) * kD, g < heads);
    State<kD> state;
    for (int32_t tile = begin + warp, stage = 0; tile < end; tile += kWARPS)
    {
        uint32_t const at = fifo + stage * 2 * L::kTILE_BYTES;
        copyWait<L::kSTAGES - 1>();
        __syncwarp();
        attend<T, kD>(state, q, at, tile * kTILE, length, args.scoreScale);
        __syncwarp();
        queue(stage);
        stage = stage + 1 == L::kSTAGES ? 0 : stage + 1;
    }
    copyWait<0>();
    __syncthreads();

    auto* const parts = reinterpret_cast<float*>(shared);
    store<kD>(parts + warp * L::kPARTIAL, state);
    __syncthreads();
    T* const y = static_cast<T*>(args.y) + head0 * kD;
    if (args.splits == 1)
    {
        mergeWarps<kD>(parts, heads,
            [&](int32_t head, int32_t d, float out, float, float sum)
            { y[head * kD + d] = fromFloat<T>(sum > 0.F ? out / sum : 0.F); });
        return;
    }
    float* const all = args.partials + pair * args.splits * L::kPARTIAL;
    float* const mine = all + blockIdx.x * L::kPARTIAL;
    mergeWarps<kD>(parts, heads,
        [&](int32_t head, int32_t d, float out, float maximum, float sum)
        {
            mine[head * kD + d] = out;
            if (d == 0)
            {
                mine[kHEADS * kD + head] = maximum;
                mine[kHEADS * kD + kHEADS + head] = sum;
            }
        });
    if (arrivesLast(args.counters + pair, args.splits))
        mergeBlocks<T, kD>(y, all, args.splits, heads, parts);
}
} // namespace mmtrt::decodeAttention
