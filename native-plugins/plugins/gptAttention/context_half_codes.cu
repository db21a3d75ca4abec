#include "context.h"
#include "context_kernel.cuh"

namespace mmtrt::gptAttention
{
int32_t contextHalfCodes(Layer const& layer, cudaStream_t stream) noexcept { return contextFor<half, uint8_t>(layer, stream); }
} // namespace mmtrt::gptAttention
