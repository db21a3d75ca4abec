// One translation unit each, so that they compile side by side.
#pragma once
#include "layer.cuh"
#include "split.cuh"

namespace mmtrt::gptAttention
{
int32_t generateHalf(int64_t headDim, Codes codes, split::Arguments const& args, dim3 grid, cudaStream_t stream) noexcept;
int32_t generateBfloat16(int64_t headDim, Codes codes, split::Arguments const& args, dim3 grid, cudaStream_t stream) noexcept;
} // namespace mmtrt::gptAttention
