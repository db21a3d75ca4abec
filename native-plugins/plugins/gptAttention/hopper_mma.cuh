// Values as operand B of wgmma, in shared memory under the 128-byte swizzle; keys are wgmmaRows128.
#pragma once
#include "wgmma.cuh"

namespace mmtrt::gptAttention
{
// B[16 × n] as rows of k: 64 of n each, the next 64 of n `panel` bytes on. `shared` is that of the first of 16 rows.
__device__ __forceinline__ uint64_t valuesOperand(uint32_t shared, uint32_t panel)
{
    return static_cast<uint64_t>((shared & 0x3ffffU) >> 4) | static_cast<uint64_t>(panel >> 4) << 16 | 64ULL << 32 | 1ULL << 62;
}
} // namespace mmtrt::gptAttention
