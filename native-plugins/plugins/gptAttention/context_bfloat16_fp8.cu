// Code for SM 80 serves 86 and 89.
#include "context.h"
#include "context_kernel.cuh"

namespace mmtrt::gptAttention
{
int32_t contextBfloat16Fp8(Layer const& layer, cudaStream_t stream) noexcept { return contextFor<bfloat16, Fp8>(layer, stream); }
} // namespace mmtrt::gptAttention
