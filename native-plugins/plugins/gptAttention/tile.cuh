// Rows of the cache and of queries into shared memory, 16 bytes a copy, and rows of results out of registers.
#pragma once
#include "layer.cuh"

namespace mmtrt::gptAttention
{
// Which tokens a block may read and where they are.
struct Source
{
    int32_t sequence;
    int32_t kvHead;
    int32_t past;
    // Columns below this are in the cache.
    int32_t total;
    // Column of the block's first query: from there on padding is read, because a query that is padding sees itself.
    int32_t firstOwn;
};

template <int32_t kROWS>
__device__ __forceinline__ bool allTokens(Layer const& layer, Source const& source, int32_t first)
{
    uint32_t bits = kFULL_WARP;
    if (layer.tokenBits != nullptr)
    {
        auto const* const words = layer.tokenBits + static_cast<int64_t>(source.sequence) * layer.bitWords + first / 32;
#pragma unroll
        for (int32_t i = 0; i < kROWS / 32; ++i)
            if (first + i * 32 < source.total)
                bits &= words[i];
    }
    return bits == kFULL_WARP;
}

// kROWS tokens from `first` on by kTHREADS threads; `place(row, chunk)` is a chunk's shared address. What is not in the cache
// becomes zeros, and values of padding too: they may be NaN, and 0 × NaN would reach the sum.
template <int32_t kROWS, int32_t kROW_BYTES, int32_t kTHREADS, typename Place>
__device__ __forceinline__ void copyTokens(
    Layer const& layer, Source const& source, void const* cache, bool values, int32_t first, int32_t thread, Place const& place)
{
    constexpr int32_t kCHUNKS = kROW_BYTES / 16;
    constexpr int32_t kCOPIES = kROWS * kCHUNKS;
    bool const masked = values && first < source.firstOwn && !allTokens<kROWS>(layer, source, first);
    bool const scattered = layer.blockTable != nullptr || layer.indirection != nullptr;
    if (!masked && !scattered)
    {
        // Tokens of a sequence are neighbours.
        auto const* const base = static_cast<char const*>(cache)
            + rowOf(layer, source.sequence, source.kvHead, first) * kROW_BYTES + thread * 16;
        int32_t const left = source.total - first;
#pragma unroll
        for (int32_t i = 0; i < (kCOPIES + kTHREADS - 1) / kTHREADS; ++i)
        {
            int32_t const copy = i * kTHREADS + thread;
            if (kCOPIES % kTHREADS != 0 && copy >= kCOPIES)
                break;
            bool const inside = copy / kCHUNKS < left;
            copyAsync16(place(copy / kCHUNKS, copy % kCHUNKS), base + (inside ? i * kTHREADS * 16 : 0), inside);
        }
        return;
    }
#pragma unroll 2
    for (int32_t copy = thread; copy < kCOPIES; copy += kTHREADS)
    {
        int32_t const r = copy / kCHUNKS;
        int32_t const c = copy % kCHUNKS;
        int32_t const column = first + r;
        bool inside = column < source.total;
        if (masked && inside && column < source.firstOwn)
            inside = isToken(layer, source.sequence, column);
        auto const* from = static_cast<char const*>(cache);
        if (inside)
            from += rowSeen(layer, source.sequence, source.kvHead, column, source.past) * kROW_BYTES + c * 16;
        copyAsync16(place(r, c), from, inside);
    }
}

// kROWS queries of a head from `first` on; rows past the last become zeros.
template <int32_t kROWS, int32_t kROW_BYTES, int32_t kTHREADS, typename Place>
__device__ __forceinline__ void copyQueries(
    Layer const& layer, int32_t sequence, int32_t head, int32_t first, int32_t thread, Place const& place)
{
    constexpr int32_t kCHUNKS = kROW_BYTES / 16;
    int64_t const row = static_cast<int64_t>(sequence) * layer.seq + first;
    auto const* const base
        = static_cast<char const*>(layer.queries) + row * layer.queryStride * 2 + static_cast<int64_t>(head) * kROW_BYTES;
#pragma unroll
    for (int32_t i = 0; i < kROWS * kCHUNKS / kTHREADS; ++i)
    {
        int32_t const copy = i * kTHREADS + thread;
        int32_t const r = copy / kCHUNKS;
        int32_t const c = copy % kCHUNKS;
        bool const inside = first + r < layer.seq;
        copyAsync16(place(r, c), inside ? base + r * layer.queryStride * 2 + c * 16 : base, inside);
    }
}

// Rows g and g + 8 of 16 queries from `first` on. out[j] has elements 8j to 8j + 7 of D; with codes, out[2c] has the even and
// out[2c + 1] the odd of 16c to 16c + 15.
template <typename T, bool kCODES, int32_t kD>
__device__ __forceinline__ void writeRows(
    Layer const& layer, float const (&out)[kD / 8][4], float const (&inverse)[2], int32_t sequence, int32_t head, int32_t first)
{
    int32_t const lane = threadIdx.x % 32;
    int32_t const t = lane % 4;
#pragma unroll
    for (int32_t i = 0; i < 2; ++i)
    {
        int32_t const query = first + lane / 4 + 8 * i;
        if (query >= layer.seq)
            continue;
        auto* const row = static_cast<T*>(layer.y) + ((static_cast<int64_t>(sequence) * layer.seq + query) * layer.heads + head) * kD;
#pragma unroll
        for (int32_t c = 0; c < kD / 16; ++c)
        {
            float const a = out[2 * c][2 * i] * inverse[i];
            float const b = out[2 * c][2 * i + 1] * inverse[i];
            float const x = out[2 * c + 1][2 * i] * inverse[i];
            float const y = out[2 * c + 1][2 * i + 1] * inverse[i];
            if constexpr (kCODES)
                *reinterpret_cast<uint2*>(row + c * 16 + 4 * t) = make_uint2(pack<T>(a, x), pack<T>(b, y));
            else
            {
                *reinterpret_cast<uint32_t*>(row + c * 16 + 2 * t) = pack<T>(a, b);
                *reinterpret_cast<uint32_t*>(row + c * 16 + 8 + 2 * t) = pack<T>(x, y);
            }
        }
    }
}
} // namespace mmtrt::gptAttention
