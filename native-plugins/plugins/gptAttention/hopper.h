#pragma once
#include "layer.cuh"

namespace mmtrt::gptAttention
{
// Whether the current device and this call are what hopperContext is for.
bool hopperServes(Layer const& layer, bool half) noexcept;
int32_t hopperContext(Layer const& layer, bool half, cudaStream_t stream) noexcept;
} // namespace mmtrt::gptAttention
