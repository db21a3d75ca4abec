// Code for SM 80 serves 86 and 89.
#include "context.h"
#include "context_kernel.cuh"

namespace mmtrt::gptAttention
{
int32_t contextHalf(Layer const& layer, cudaStream_t stream) noexcept { return contextFor<half, half>(layer, stream); }
} // namespace mmtrt::gptAttention
