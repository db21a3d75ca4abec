// What the native runner does with logits without bringing them to the host.
#include "sampling.h"
#include <cmath>
#include <cuda_runtime.h>

namespace
{
constexpr int kTHREADS = 512;

// A value with its place; among equals the smaller place, as the host's rule has it.
struct Best
{
    float value;
    int32_t index;

    __device__ void take(float other, int32_t at)
    {
        if (other > value || (other == value && at < index))
        {
            value = other;
            index = at;
        }
    }
};

// One block a row. A row with NaN, or without a finite largest value, gives -1: the host then says what is wrong.
__global__ void argmaxRows(float const* __restrict__ logits, int32_t vocab, int32_t* __restrict__ tokens)
{
    float const* const row = logits + static_cast<int64_t>(blockIdx.x) * vocab;
    Best best{-INFINITY, INT32_MAX};
    bool isNan = false;
    for (int32_t i = threadIdx.x; i < vocab; i += kTHREADS)
    {
        float const value = row[i];
        isNan = isNan || isnan(value);
        best.take(value, i);
    }
    __shared__ Best warps[kTHREADS / 32];
    bool const anyNan = __syncthreads_or(isNan);
    for (int32_t offset = 16; offset > 0; offset /= 2)
    {
        float const value = __shfl_down_sync(0xFFFFFFFFU, best.value, offset);
        int32_t const index = __shfl_down_sync(0xFFFFFFFFU, best.index, offset);
        best.take(value, index);
    }
    if (threadIdx.x % 32 == 0)
        warps[threadIdx.x / 32] = best;
    __syncthreads();
    if (threadIdx.x != 0)
        return;
    for (int32_t warp = 1; warp < kTHREADS / 32; ++warp)
        best.take(warps[warp].value, warps[warp].index);
    tokens[blockIdx.x] = anyNan || !isfinite(best.value) ? -1 : best.index;
}
} // namespace

extern "C" MMTRT_API int32_t mmtrt_argmax(float const* logits, int32_t rows, int32_t vocab, int32_t* tokens, void* stream)
{
    argmaxRows<<<rows, kTHREADS, 0, static_cast<cudaStream_t>(stream)>>>(logits, vocab, tokens);
    return cudaGetLastError() == cudaSuccess ? MMTRT_OK : MMTRT_CUDA;
}
