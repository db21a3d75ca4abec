// Masks and the running softmax of scores in the fragments of a tensor-core product: a lane has columns 8j + 2t and 8j + 2t + 1
// of rows g (elements 0, 1) and g + 8 (elements 2, 3), in mma.sync and in a warp of wgmma alike.
#pragma once
#include "layer.cuh"
#include <cmath>

namespace mmtrt::gptAttention
{
inline constexpr float kNONE = -INFINITY;
inline constexpr float kLOG2_E = 1.4426950408889634F;

__device__ __forceinline__ float power2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// What decides which of a tile's columns the queries of a warp see.
struct Sight
{
    int32_t sequence;
    int32_t past;
    // Columns below this are in the cache.
    int32_t total;
    int32_t window;
};

// Which of 32 columns are tokens.
__device__ __forceinline__ uint32_t tokensOf(Layer const& layer, Sight const& sight, int32_t first)
{
    if (layer.tokenBits == nullptr || first >= sight.total)
        return kFULL_WARP;
    return layer.tokenBits[static_cast<int64_t>(sight.sequence) * layer.bitWords + first / 32];
}

// Whether a query among those of columns [firstOwn, lastOwn] may not see a column of [first, first + kTOKENS).
template <int32_t kTOKENS>
__device__ __forceinline__ bool hides(Layer const& layer, Sight const& sight, int32_t first, int32_t firstOwn, int32_t lastOwn)
{
    bool hidden = first + kTOKENS - 1 > firstOwn || first + kTOKENS > sight.total;
    hidden = hidden || (sight.window > 0 && first <= lastOwn - sight.window);
#pragma unroll
    for (int32_t i = 0; i < kTOKENS / 32; ++i)
        hidden = hidden || tokensOf(layer, sight, first + i * 32) != kFULL_WARP;
    return hidden;
}

// Scores of columns that are not seen become −∞. `own` is the column of row g.
template <int32_t kTOKENS>
__device__ __forceinline__ void hide(
    float (&score)[kTOKENS / 8][4], Layer const& layer, Sight const& sight, int32_t first, int32_t own)
{
    // From here on counted from the lane's first column, so that the others are constants.
    int32_t const origin = first + 2 * static_cast<int32_t>(threadIdx.x % 4);
    int32_t const mine[2] = {own - origin, own + 8 - origin};
    int32_t const end = sight.total - origin;
    int32_t const reach = sight.window > 0 ? sight.window : INT32_MAX / 2;
#pragma unroll
    for (int32_t j = 0; j < kTOKENS / 8; ++j)
    {
#pragma unroll
        for (int32_t i = 0; i < 4; ++i)
        {
            int32_t const column = 8 * j + i % 2;
            bool const seen = column <= mine[i / 2] && column < end && column > mine[i / 2] - reach;
            score[j][i] = seen ? score[j][i] : kNONE;
        }
    }
    if (layer.tokenBits == nullptr)
        return;
    uint32_t tokens = 0;
#pragma unroll
    for (int32_t j = 0; j < kTOKENS / 8; ++j)
    {
        if (j % 4 == 0)
            tokens = tokensOf(layer, sight, first + j * 8) >> (2 * (threadIdx.x % 4));
#pragma unroll
        for (int32_t i = 0; i < 4; ++i)
        {
            int32_t const column = 8 * j + i % 2;
            // A query that is padding sees itself.
            bool const seen = (tokens >> (column % 32) & 1U) != 0 || column == mine[i / 2];
            score[j][i] = seen ? score[j][i] : kNONE;
        }
    }
}

// score × scale + bias, both × log2 e. `query` is row g's.
template <int32_t kTOKENS, typename T>
__device__ __forceinline__ void addBias(
    float (&score)[kTOKENS / 8][4], Layer const& layer, int32_t head, int32_t first, int32_t query, int32_t total, float scale)
{
    int32_t const t = threadIdx.x % 4;
    auto const* const bias = static_cast<T const*>(layer.bias) + static_cast<int64_t>(head) * layer.seq * layer.biasColumns;
#pragma unroll
    for (int32_t j = 0; j < kTOKENS / 8; ++j)
    {
#pragma unroll
        for (int32_t i = 0; i < 4; ++i)
        {
            int32_t const column = first + 8 * j + 2 * t + i % 2;
            int32_t const row = query + i / 2 * 8;
            float const added = row < layer.seq && column < total ? toFloat(bias[row * layer.biasColumns + column]) : 0.F;
            score[j][i] = score[j][i] * scale + added * kLOG2_E;
        }
    }
}

// Of rows g and g + 8; `sum` is over the lane's own columns.
struct Running
{
    float maximum[2] = {kNONE, kNONE};
    float sum[2] = {};
};

// Scores become probabilities 2^(score × scale − maximum × scale); `factor` is what sums until now are to be multiplied by.
template <int32_t kTOKENS>
__device__ __forceinline__ void advance(Running& running, float (&score)[kTOKENS / 8][4], float (&factor)[2], float scale)
{
#pragma unroll
    for (int32_t i = 0; i < 2; ++i)
    {
        float m = running.maximum[i];
#pragma unroll
        for (int32_t j = 0; j < kTOKENS / 8; ++j)
            m = fmaxf(m, fmaxf(score[j][2 * i], score[j][2 * i + 1]));
        m = fmaxf(m, __shfl_xor_sync(kFULL_WARP, m, 1));
        m = fmaxf(m, __shfl_xor_sync(kFULL_WARP, m, 2));
        // A row that has seen nothing yet: −∞ − −∞ would be NaN.
        float const reference = m == kNONE ? 0.F : m * scale;
        factor[i] = power2(running.maximum[i] * scale - reference);
        running.maximum[i] = m;
        float sum = 0.F;
#pragma unroll
        for (int32_t j = 0; j < kTOKENS / 8; ++j)
        {
#pragma unroll
            for (int32_t k = 2 * i; k < 2 * i + 2; ++k)
            {
                score[j][k] = power2(fmaf(score[j][k], scale, -reference));
                sum += score[j][k];
            }
        }
        running.sum[i] = running.sum[i] * factor[i] + sum;
    }
}

// 1 / the row's sum; 0 for a row that saw nothing.
__device__ __forceinline__ float inverseOf(float sum)
{
    sum += __shfl_xor_sync(kFULL_WARP, sum, 1);
    sum += __shfl_xor_sync(kFULL_WARP, sum, 2);
    return sum > 0.F ? 1.F / sum : 0.F;
}
} // namespace mmtrt::gptAttention
