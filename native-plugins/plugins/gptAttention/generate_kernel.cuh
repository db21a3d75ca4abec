// The kernel of DecodeAttention for any form of the cache.
#pragma once
#include "generate.h"
#include "gptAttention.gen.h"
#include "split_kernel.cuh"

namespace mmtrt::gptAttention
{
template <typename T, typename C>
int32_t generateWith(int64_t headDim, split::Arguments const& args, dim3 grid, cudaStream_t stream) noexcept
{
    using split::Form;
    switch (headDim)
    {
    case 64: return split::launch<T, C, 64, Form::kANY>(kNAME, args, grid, stream);
    case 80: return split::launch<T, C, 80, Form::kANY>(kNAME, args, grid, stream);
    case 96: return split::launch<T, C, 96, Form::kANY>(kNAME, args, grid, stream);
    case 128: return split::launch<T, C, 128, Form::kANY>(kNAME, args, grid, stream);
    default: return split::launch<T, C, 256, Form::kANY>(kNAME, args, grid, stream);
    }
}

template <typename T>
int32_t generateFor(int64_t headDim, Codes codes, split::Arguments const& args, dim3 grid, cudaStream_t stream) noexcept
{
    switch (codes)
    {
    case Codes::kINT8: return generateWith<T, int8_t>(headDim, args, grid, stream);
    case Codes::kFP8: return generateWith<T, Fp8>(headDim, args, grid, stream);
    default: return generateWith<T, T>(headDim, args, grid, stream);
    }
}
} // namespace mmtrt::gptAttention
