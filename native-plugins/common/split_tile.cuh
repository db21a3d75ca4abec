// One tile of 16 tokens of a warp: its copies into shared memory, and its part of the attention.
#pragma once
#include "split.cuh"

namespace mmtrt::split
{
// Row of [rows, D] where token `first`, the first of a tile, lies.
template <Form kFORM>
__device__ __forceinline__ int64_t rowOf(Arguments const& args, int32_t sequence, int32_t kvHead, int32_t first)
{
    int64_t block = sequence;
    int32_t inBlock = first;
    if constexpr (kFORM == Form::kPAGED)
    {
        block = args.blockTable[static_cast<int64_t>(sequence) * args.maxBlocks + first / args.capacity];
        inBlock = first % args.capacity;
    }
    else if (kFORM == Form::kANY && args.blockTable != nullptr)
    {
        block = args.blockTable[static_cast<int64_t>(sequence) * args.maxBlocks + (first >> args.blockShift)];
        inBlock = first & (args.capacity - 1);
    }
    return (block * args.kvHeads + kvHead) * args.capacity + inBlock;
}

// Rows by which the row of `token` lies elsewhere than its tile says, when beams share earlier tokens.
__device__ __forceinline__ int64_t detour(Arguments const& args, int32_t sequence, int32_t token, Range range)
{
    if (args.indirection == nullptr || token >= range.end - args.added)
        return 0;
    int32_t const from = args.indirection[static_cast<int64_t>(sequence) * args.capacity + token];
    return static_cast<int64_t>(min(max(from, 0), args.batch - 1) - sequence) * args.kvHeads * args.capacity;
}

template <typename C, int32_t kD, Form kFORM>
__device__ __forceinline__ void prefetch(uint32_t stage, Arguments const& args, int32_t sequence, int32_t kvHead, int32_t tile,
    Range range, bool valid, uint64_t policy)
{
    using L = Layout<C, kD>;
    int32_t const lane = threadIdx.x % 32;
    int32_t const first = tile * kTILE;
    int64_t const row = valid ? rowOf<kFORM>(args, sequence, kvHead, first) : 0;
    uint32_t const seen = valid ? seenOf<kFORM>(args, sequence, tile, range) : 0U;
    auto const* k = static_cast<char const*>(args.keys) + row * (kD * sizeof(C));
    auto const* v = static_cast<char const*>(args.values) + row * (kD * sizeof(C));
    auto const copy = [&](uint32_t to, char const* from, bool inside)
    {
        if (args.passesBy)
            copyAsync16(to, from, inside, policy);
        else
            copyAsync16(to, from, inside);
    };
    constexpr int32_t kROW = kD * static_cast<int32_t>(sizeof(C));
    constexpr int32_t kCOPIES = kTILE * L::kCHUNKS;
    // Rows that nobody sees become zeros: what lies there may be NaN, and 0 × NaN would reach the sum.
    if (kFORM == Form::kANY && args.indirection != nullptr)
    {
#pragma unroll 1
        for (int32_t chunk = lane; chunk < kCOPIES; chunk += 32)
        {
            int32_t const r = chunk / L::kCHUNKS;
            int32_t const c = chunk % L::kCHUNKS;
            bool const inside = (seen >> r & 1U) != 0;
            int64_t const from = inside ? (r + detour(args, sequence, first + r, range)) * kROW + c * 16 : 0;
            copy(stage + r * L::kROW_BYTES + c * 16, k + from, inside);
            copy(stage + L::kTILE_BYTES + r * L::kROW_BYTES + c * 16, v + from, inside);
        }
        copyCommit();
        return;
    }
#pragma unroll
    for (int32_t i = 0; i < (kCOPIES + 31) / 32; ++i)
    {
        int32_t const chunk = i * 32 + lane;
        if (kCOPIES % 32 != 0 && chunk >= kCOPIES)
            break;
        int32_t const r = chunk / L::kCHUNKS;
        int32_t const c = chunk % L::kCHUNKS;
        bool const inside = (seen >> r & 1U) != 0;
        int32_t const from = inside ? r * kROW + c * 16 : 0;
        copy(stage + r * L::kROW_BYTES + c * 16, k + from, inside);
        copy(stage + L::kTILE_BYTES + r * L::kROW_BYTES + c * 16, v + from, inside);
    }
    copyCommit();
}

// This lane's operand B of every step of 16 of D, of head g. T: elements 2t, 2t + 1 and 2t + 8, 2t + 9. Codes: 4t to 4t + 3, the
// four that a register of theirs holds; the sum over D has no order. Scaling in fp32 and rounding once more would move q, so
// only the scores are scaled.
template <bool kCODES, int32_t kD, typename T>
__device__ __forceinline__ void loadQuery(uint32_t (&q)[kD / 16][2], T const* row, bool valid)
{
    int32_t const t = threadIdx.x % 4;
#pragma unroll
    for (int32_t d = 0; d < kD / 16; ++d)
    {
#pragma unroll
        for (int32_t i = 0; i < 2; ++i)
        {
            int32_t const at = d * 16 + (kCODES ? 4 * t + 2 * i : 2 * t + 8 * i);
            q[d][i] = valid ? *reinterpret_cast<uint32_t const*>(row + at) : 0U;
        }
    }
}

// Running softmax of the two heads 2t and 2t + 1 whose scores this lane holds. `sum` is over the lane's own tokens. out[d] has
// rows g and g + 8 of 16: elements g and g + 8 of D, of codes 2g and 2g + 1.
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

// score[16 × 8] = K · qᵀ. Two chains of products: one would wait for each instruction's latency.
template <typename T, typename C, int32_t kD>
__device__ __forceinline__ void scoresOf(float (&score)[4], uint32_t const (&q)[kD / 16][2], uint32_t stage)
{
    using L = Layout<C, kD>;
    int32_t const lane = threadIdx.x % 32;
    float odd[4] = {};
    uint32_t const row = stage + (lane % 16) * L::kROW_BYTES;
    if constexpr (L::kCODES)
    {
#pragma unroll
        for (int32_t d = 0; d < kD / 16; d += 2)
        {
            // Matrices: chunk d of tokens 0–7 and 8–15, chunk d + 1 of both. The last of an odd number is read twice.
            uint32_t m[4];
            loadMatrix(m, row + min(d + lane / 16, kD / 16 - 1) * 16);
#pragma unroll
            for (int32_t i = 0; i < 2 && d + i < kD / 16; ++i)
            {
                uint32_t const a[4] = {fromCodes<T, C, Bytes::kFIRST>(m[2 * i]), fromCodes<T, C, Bytes::kFIRST>(m[2 * i + 1]),
                    fromCodes<T, C, Bytes::kLAST>(m[2 * i]), fromCodes<T, C, Bytes::kLAST>(m[2 * i + 1])};
                mma<T>(i == 0 ? score : odd, a, q[d + i][0], q[d + i][1]);
            }
        }
    }
    else
    {
#pragma unroll
        for (int32_t d = 0; d < kD / 16; ++d)
        {
            uint32_t a[4];
            loadMatrix(a, row + lane / 16 * 16 + d * 32);
            mma<T>(d % 2 == 0 ? score : odd, a, q[d][0], q[d][1]);
        }
    }
#pragma unroll
    for (int32_t i = 0; i < 4; ++i)
        score[i] += odd[i];
}

// out[D × 8] += Vᵀ · p, the p of tokens 2t, 2t + 1 (b0) and 2t + 8, 2t + 9 (b1) of head g.
template <typename T, typename C, int32_t kD>
__device__ __forceinline__ void addValues(State<kD>& state, uint32_t stage, uint32_t b0, uint32_t b1)
{
    using L = Layout<C, kD>;
    int32_t const lane = threadIdx.x % 32;
    if constexpr (L::kCODES)
    {
        uint32_t const row = stage + L::kTILE_BYTES + (lane % 16) * L::kROW_BYTES;
#pragma unroll
        for (int32_t d = 0; d < kD / 16; d += 2)
        {
            // As for the keys, transposed: a register has elements 2g and 2g + 1 of token 2t, then of token 2t + 1.
            uint32_t m[4];
            loadMatrixTransposed(m, row + min(d + lane / 16, kD / 16 - 1) * 16);
#pragma unroll
            for (int32_t i = 0; i < 2 && d + i < kD / 16; ++i)
            {
                uint32_t const v[4] = {fromCodes<T, C, Bytes::kEVEN>(m[2 * i]), fromCodes<T, C, Bytes::kODD>(m[2 * i]),
                    fromCodes<T, C, Bytes::kEVEN>(m[2 * i + 1]), fromCodes<T, C, Bytes::kODD>(m[2 * i + 1])};
                mma<T>(state.out[d + i], v, b0, b1);
            }
        }
    }
    else
    {
        // Matrices in the order of operand A: (d 0–7, tokens 0–7), (d 8–15, tokens 0–7), (d 0–7, tokens 8–15), (d 8–15, tokens 8–15).
        uint32_t const row = stage + L::kTILE_BYTES + (lane % 8 + lane / 16 * 8) * L::kROW_BYTES + lane / 8 % 2 * 16;
#pragma unroll
        for (int32_t d = 0; d < kD / 16; ++d)
        {
            uint32_t v[4];
            loadMatrixTransposed(v, row + d * 32);
            mma<T>(state.out[d], v, b0, b1);
        }
    }
}

// Adds a tile to the state. `bias` is of the block's first head, null where there is none.
template <typename T, typename C, int32_t kD, Form kFORM>
__device__ __forceinline__ void attend(State<kD>& state, uint32_t const (&q)[kD / 16][2], uint32_t stage, int32_t tile, uint32_t seen,
    Arguments const& args, float scoreScale, T const* bias, int32_t heads)
{
    int32_t const lane = threadIdx.x % 32;
    float score[4] = {};
    scoresOf<T, C, kD>(score, q, stage);
#pragma unroll
    for (int32_t i = 0; i < 4; ++i)
    {
        int32_t const inTile = lane / 4 + i / 2 * 8;
        bool const visible = (seen >> inTile & 1U) != 0;
        score[i] = visible ? score[i] * scoreScale : kNONE;
        if constexpr (kFORM == Form::kANY)
        {
            int32_t const head = lane % 4 * 2 + i % 2;
            if (bias != nullptr && visible && head < heads)
                score[i] += toFloat(bias[head * args.biasColumns + tile * kTILE + inTile]) * kLOG2_E;
        }
    }
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
    addValues<T, C, kD>(state, stage, transpose8x8(low), transpose8x8(high));
}
} // namespace mmtrt::split
