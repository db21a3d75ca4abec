// One call of the operator as its kernels see it.
#pragma once
#include "device.cuh"
#include <cuda_runtime_api.h>

namespace mmtrt::gptAttention
{
// What the cache has instead of T.
enum class Codes : int32_t
{
    kNONE,
    kINT8,
    kFP8,
};

struct Layer
{
    // T: rows of queries, keys and values, and the queries as attention reads them (rotated, or in qkv).
    void const* qkv;
    void const* queries;
    void* y;
    // The cache after this call: T or codes.
    void* keys;
    void* values;
    // Tokens before this call; null: `past` of every sequence.
    int32_t const* lengths;
    // Paged: [batch, maxBlocks].
    int32_t const* blockTable;
    // [batch, capacity]: the sequence whose cache has an earlier token. Null: its own.
    int32_t const* indirection;
    // Bit t % 32 of word [b, t / 32]: token t is no padding. Null: none is.
    uint32_t const* tokenBits;
    // T [heads, seq, biasColumns], added to the scores; null: nothing.
    void const* bias;
    // Of codes.
    float const* codeScale;
    int64_t biasColumns;
    // Elements from one token's row to the next.
    int64_t qkvStride;
    int64_t queryStride;
    int32_t batch;
    int32_t seq;
    int32_t heads;
    int32_t kvHeads;
    int32_t group;
    int32_t headDim;
    int32_t past;
    // Tokens of a row of the cache: past + seq, the static capacity, or a block's; and what a sequence can have in all.
    int32_t capacity;
    int32_t held;
    int32_t maxBlocks;
    int32_t blockShift;
    int32_t bitWords;
    // Tokens that a query sees, itself included; 0: all.
    int32_t window;
    // scale × log2 e.
    float scoreScale;
    Codes codes;
    // T [batch, seq, head_dim / 2]: the queries are still to be rotated. Null: they are.
    void const* cosine;
    void const* sine;
};

__device__ __forceinline__ int32_t pastOf(Layer const& layer, int32_t sequence)
{
    return layer.lengths == nullptr ? layer.past : min(max(layer.lengths[sequence], 0), layer.held);
}

// Row of the cache [rows, head_dim] that has `token`, for writing it.
__device__ __forceinline__ int64_t rowOf(Layer const& layer, int32_t sequence, int32_t kvHead, int32_t token)
{
    int64_t block = sequence;
    if (layer.blockTable != nullptr)
    {
        block = layer.blockTable[static_cast<int64_t>(sequence) * layer.maxBlocks + (token >> layer.blockShift)];
        token &= layer.capacity - 1;
    }
    return (block * layer.kvHeads + kvHead) * layer.capacity + token;
}

// The same for reading: `past` tokens of it may be another beam's.
__device__ __forceinline__ int64_t rowSeen(Layer const& layer, int32_t sequence, int32_t kvHead, int32_t token, int32_t past)
{
    if (layer.indirection != nullptr && token < past)
    {
        int32_t const from = layer.indirection[static_cast<int64_t>(sequence) * layer.capacity + token];
        sequence = min(max(from, 0), layer.batch - 1);
    }
    return rowOf(layer, sequence, kvHead, token);
}

__device__ __forceinline__ bool isToken(Layer const& layer, int32_t sequence, int32_t token)
{
    return (layer.tokenBits[static_cast<int64_t>(sequence) * layer.bitWords + token / 32] >> (token % 32) & 1U) != 0;
}

// Before attention, in one launch: rotates queries and keys, writes keys and values into the cache, copies a growing cache's
// past, makes bits of a mask.
struct Preparation
{
    void const* pastKey;
    void const* pastValue;
    int32_t const* mask;
    // T [batch, seq, rotated]; null: nothing is rotated.
    void const* cosine;
    void const* sine;
    int32_t rotated;
    // Null: whoever reads the queries rotates them.
    void* queries;
    uint32_t* tokenBits;
};

int32_t prepare(Layer const& layer, Preparation const& preparation, bool half, cudaStream_t stream) noexcept;
} // namespace mmtrt::gptAttention
