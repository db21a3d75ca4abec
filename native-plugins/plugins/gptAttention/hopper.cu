// Code for SM 80 serves 86 and 89.
#include "error.h"
#include "gptAttention.gen.h"
#include "hopper.h"
#include "hopper_kernel.cuh"
#include <algorithm>

namespace mmtrt::gptAttention
{
namespace
{
using Kernel = void (*)(Layer);

Kernel kernelOf(int32_t headDim, bool half) noexcept
{
    if (headDim == 64)
        return half ? hopper::hopperKernel<mmtrt::half, 64> : hopper::hopperKernel<bfloat16, 64>;
    return half ? hopper::hopperKernel<mmtrt::half, 128> : hopper::hopperKernel<bfloat16, 128>;
}
} // namespace

bool hopperServes(Layer const& layer, bool half) noexcept
{
    if (layer.codes != Codes::kNONE || (layer.headDim != 64 && layer.headDim != 128) || layer.seq < 64)
        return false;
    cudaFuncAttributes facts{};
    return computeCapability() == 90 && cudaFuncGetAttributes(&facts, kernelOf(layer.headDim, half)) == cudaSuccess
        && facts.sharedSizeBytes < hopper::kABSENT_BYTES;
}

int32_t hopperContext(Layer const& layer, bool half, cudaStream_t stream) noexcept
{
    auto* const kernel = kernelOf(layer.headDim, half);
    int32_t const bytes = layer.headDim == 64 ? hopper::kSHARED_BYTES<64> : hopper::kSHARED_BYTES<128>;
    if (auto const status = checked(kNAME, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes)))
        return status;
    int64_t const jobs = (static_cast<int64_t>(layer.seq) + hopper::kQUERIES - 1) / hopper::kQUERIES * layer.batch * layer.heads;
    if (jobs > INT32_MAX)
        return refused(kNAME, "more queries and heads than can be counted");
    auto const blocks = std::min<int64_t>(jobs, multiprocessors());
    return checked(kNAME, launchBeside(kernel, dim3(static_cast<uint32_t>(blocks)), hopper::kTHREADS, bytes, stream, layer));
}
} // namespace mmtrt::gptAttention
