// Code for SM 86 serves 89.
#include "generate_kernel.cuh"

namespace mmtrt::gptAttention
{
int32_t generateHalf(int64_t headDim, Codes codes, split::Arguments const& args, dim3 grid, cudaStream_t stream) noexcept
{
    return generateFor<half>(headDim, codes, args, grid, stream);
}
} // namespace mmtrt::gptAttention
