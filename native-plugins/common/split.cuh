// Attention of one query token over a cache: bound by reading keys and values once.
//
// A block owns up to 8 query heads of one key/value head and a range of tokens. Each of its warps takes every fourth tile of
// 16 tokens through a cp.async FIFO of its own and keeps its own softmax state; the warps, then the blocks, are merged at the
// end, so nothing is waited for while the cache streams.
//   scores[16 tokens × 8 heads] = K tile (operand A, ldmatrix) · qᵀ (operand B, registers)
//   out[16 of D × 8 heads]     += Vᵀ tile (operand A, ldmatrix.trans) · p (the scores, transposed by movmatrix)
// The maximum that is subtracted is only a reference: it moves when a score exceeds it by 2^kSLACK, which after the first tile
// is rare, so the usual tile has no exchange between lanes but one vote.
//
// C is the cache's element: T, or int8_t or Fp8 codes. What a form of the cache does not need is compiled out.
#pragma once
#include "codes.cuh"
#include <cmath>

namespace mmtrt::split
{
inline constexpr int32_t kWARPS = 4;
inline constexpr int32_t kTILE = 16;
inline constexpr int32_t kHEADS = 8;
inline constexpr int32_t kMOST_SPLITS = 64;
// 2^10 × the sum of 2^20 tokens is far from fp32's end, and p as fp16 (at most 65504) holds it.
inline constexpr float kSLACK = 10.F;
inline constexpr float kNONE = -INFINITY;
inline constexpr float kLOG2_E = 1.4426950408889634F;

enum class Form
{
    kCONTIGUOUS,
    kPAGED,
    // Either, with everything that Arguments marks as for any form.
    kANY,
};

struct Arguments
{
    void const* q;
    void const* keys;
    void const* values;
    // Null: every sequence has `capacity` tokens.
    int32_t const* lengths;
    // Null: sequence b's tokens are keys[b].
    int32_t const* blockTable;
    void* y;
    float* partials;
    uint32_t* counters;
    // scale × log2 e.
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
    // Elements between the q of two sequences.
    int64_t queryStride;

    // For any form:
    // Tokens that are in the cache beyond `lengths`: the new one.
    int32_t added;
    // Tokens that a query sees, itself included; 0: all.
    int32_t window;
    // log2 of a block's tokens.
    int32_t blockShift;
    // Batch of an indirection's rows.
    int32_t batch;
    // Bit t % 32 of word [b, t / 32]: token t is no padding. Null: none is.
    uint32_t const* tokenBits;
    int32_t bitWords;
    // [batch, capacity]: the sequence whose cache has an earlier token. Null: its own.
    int32_t const* indirection;
    // [heads, biasColumns], added to the scores.
    void const* bias;
    int64_t biasColumns;
    // Codes alone:
    float const* codeScale;
};

template <typename C, int32_t kD>
struct Layout
{
    static constexpr bool kCODES = sizeof(C) == 1;
    // An odd number of 16-byte chunks: the 8 rows of an ldmatrix hit different banks.
    static constexpr int32_t kCHUNKS = kD * static_cast<int32_t>(sizeof(C)) / 16;
    static constexpr int32_t kROW_BYTES = (kCHUNKS | 1) * 16;
    static constexpr int32_t kTILE_BYTES = kTILE * kROW_BYTES;
    // Multiprocessors of 100 KB take fewer stages.
    __host__ __device__ static constexpr int32_t stages(bool small)
    {
        if (kCODES)
            return kD <= 80 ? 8 : kD <= 96 ? 6 : kD <= 128 ? 5 : small ? 2 : 4;
        return kD <= 64 ? (small ? 5 : 6) : kD <= 96 ? 3 : kD <= 128 ? (small ? 2 : 3) : small ? 1 : 2;
    }
    __host__ __device__ static constexpr int32_t warpBytes(bool small) { return stages(small) * 2 * kTILE_BYTES; }
    static constexpr int32_t sharedBytes(bool small) { return kWARPS * warpBytes(small); }
    static constexpr int32_t kRESIDENT = kD <= 128 ? 2 : 1;
    // Floats of a block's result: out [8][D], then maximum and sum of 8 heads each.
    static constexpr int32_t kPARTIAL = kHEADS * kD + 2 * kHEADS;
};

// Tokens of sequence b that are seen lie in [first, end).
struct Range
{
    int32_t first;
    int32_t end;
};

template <Form kFORM>
__device__ __forceinline__ Range rangeOf(Arguments const& args, int32_t sequence)
{
    bool const paged = kFORM == Form::kPAGED || (kFORM == Form::kANY && args.blockTable != nullptr);
    // A cache holds what it can hold, whatever the length says.
    int32_t const held = paged ? args.maxBlocks * args.capacity : args.capacity;
    if constexpr (kFORM != Form::kANY)
        return {0, min(max(args.lengths[sequence], 0), held)};
    int32_t const end = args.lengths == nullptr ? held : min(max(args.lengths[sequence], 0) + args.added, held);
    return {args.window > 0 ? max(end - args.window, 0) : 0, end};
}

// Bit i: token 16 × tile + i is seen.
template <Form kFORM>
__device__ __forceinline__ uint32_t seenOf(Arguments const& args, int32_t sequence, int32_t tile, Range range)
{
    int32_t const first = tile * kTILE;
    uint32_t seen = range.end - first >= kTILE ? 0xffffU : (1U << max(range.end - first, 0)) - 1U;
    if constexpr (kFORM == Form::kANY)
    {
        if (range.first > first)
            seen &= range.first - first >= kTILE ? 0U : 0xffffU << (range.first - first);
        if (args.tokenBits != nullptr)
        {
            uint32_t bits = args.tokenBits[static_cast<int64_t>(sequence) * args.bitWords + tile / 2] >> (tile % 2 * kTILE);
            // A query that is padding sees itself.
            if (range.end - 1 - first < kTILE)
                bits |= 1U << (range.end - 1 - first);
            seen &= bits;
        }
    }
    return seen;
}
} // namespace mmtrt::split
