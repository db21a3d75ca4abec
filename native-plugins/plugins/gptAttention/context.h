// One translation unit each, so that they compile side by side.
#pragma once
#include "layer.cuh"

namespace mmtrt::gptAttention
{
int32_t contextHalf(Layer const& layer, cudaStream_t stream) noexcept;
int32_t contextHalfInt8(Layer const& layer, cudaStream_t stream) noexcept;
int32_t contextHalfFp8(Layer const& layer, cudaStream_t stream) noexcept;
int32_t contextBfloat16(Layer const& layer, cudaStream_t stream) noexcept;
int32_t contextBfloat16Int8(Layer const& layer, cudaStream_t stream) noexcept;
int32_t contextBfloat16Fp8(Layer const& layer, cudaStream_t stream) noexcept;
} // namespace mmtrt::gptAttention
