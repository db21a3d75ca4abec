// Sums of all warps of all blocks that share columns, to y.
#pragma once
#include "device.cuh"
#include "skinny.h"

namespace mmtrt::weightOnlyMatmul
{
__device__ __forceinline__ float4 add(float4 a, float4 b) { return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }

// Bias, activation and rounding of 4 neighbouring columns.
template <typename T>
__device__ __forceinline__ void finish(Arguments const& args, float4 value, int64_t row, int32_t n)
{
    if (args.bias != nullptr)
    {
        uint2 const bias = __ldg(reinterpret_cast<uint2 const*>(static_cast<T const*>(args.bias) + n));
        float2 const low = unpack<T>(bias.x);
        float2 const high = unpack<T>(bias.y);
        value = add(value, make_float4(low.x, low.y, high.x, high.y));
    }
    if (args.curve.any)
        value = make_float4(
            activate(value.x, args.curve), activate(value.y, args.curve), activate(value.z, args.curve), activate(value.w, args.curve));
    *reinterpret_cast<uint2*>(static_cast<T*>(args.y) + row * args.n + n) =
        make_uint2(pack<T>(value.x, value.y), pack<T>(value.z, value.w));
}

// Everything that a block's warps have of its columns, as [warp][row][vector].
struct Held
{
    float4 const* warps;
    int32_t rows;

    __device__ __forceinline__ float4 sum(int32_t i) const
    {
        float4 value = warps[i];
#pragma unroll
        for (int32_t w = 1; w < kWARPS; ++w)
            value = add(value, warps[w * rows * kVECTORS + i]);
        return value;
    }
};

template <typename T>
__device__ __forceinline__ void reduceBlocks(Arguments const& args, Held const& held, int32_t column)
{
    auto* const all = reinterpret_cast<float4*>(args.partials) + static_cast<int64_t>(blockIdx.x) * args.splits * (kROWS * kVECTORS);
    if (args.splits > 1)
    {
#pragma unroll 1
        for (int32_t i = threadIdx.x; i < held.rows * kVECTORS; i += kWARPS * 32)
            __stcg(all + blockIdx.y * (kROWS * kVECTORS) + i, held.sum(i));
        if (!arrivesLast(args.counters + blockIdx.x, args.splits))
            return;
    }
#pragma unroll 1
    for (int32_t i = threadIdx.x; i < held.rows * kVECTORS; i += kWARPS * 32)
    {
        int32_t const n = column + i % kVECTORS * 4;
        if (n >= args.n)
            continue;
        float4 value{};
        // In the order of k whichever block comes last: the same bits on every run.
        if (args.splits > 1)
        {
#pragma unroll 4
            for (int32_t s = 0; s < args.splits; ++s)
                value = add(value, __ldcg(all + s * (kROWS * kVECTORS) + i));
        }
        else
            value = held.sum(i);
        finish<T>(args, value, i / kVECTORS, n);
    }
}
} // namespace mmtrt::weightOnlyMatmul
