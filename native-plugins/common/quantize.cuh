// From floats to codes of 8 bits, as ONNX's QuantizeLinear has it: to nearest even, and the largest code where that is passed. E4M3 is
// in float8.cuh.
#pragma once
#include "device.cuh"

namespace mmtrt
{
struct Int8Code
{
    static constexpr float kMOST = 127.F;
    static __device__ __forceinline__ uint32_t of(float x)
    {
        int32_t code;
        // NaN becomes 0.
        asm("cvt.rni.sat.s8.f32 %0, %1;" : "=r"(code) : "f"(x));
        return static_cast<uint32_t>(code) & 0xffU;
    }
};

// 8 codes of 8 floats.
template <typename Code>
__device__ __forceinline__ uint2 codesOf(float const (&x)[8])
{
    uint32_t code[8];
#pragma unroll
    for (int32_t i = 0; i < 8; ++i)
        code[i] = Code::of(x[i]);
    return make_uint2(code[0] | code[1] << 8 | code[2] << 16 | code[3] << 24, code[4] | code[5] << 8 | code[6] << 16 | code[7] << 24);
}

template <typename T>
__device__ __forceinline__ void unpack8(float (&to)[8], uint4 from)
{
    auto const* const pairs = reinterpret_cast<uint32_t const*>(&from);
#pragma unroll
    for (int32_t j = 0; j < 4; ++j)
    {
        float2 const value = unpack<T>(pairs[j]);
        to[2 * j] = value.x;
        to[2 * j + 1] = value.y;
    }
}
template <typename T>
__device__ __forceinline__ uint4 pack8(float const (&from)[8])
{
    return make_uint4(pack<T>(from[0], from[1]), pack<T>(from[2], from[3]), pack<T>(from[4], from[5]), pack<T>(from[6], from[7]));
}

struct Add
{
    __device__ float operator()(float a, float b) const { return a + b; }
};
struct Larger
{
    __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
// Over a block of kTHREADS; every thread gets it. Calls in a row need no barrier between them when `kSLOT` differs.
template <int32_t kTHREADS, int32_t kSLOT, typename Operation>
__device__ float overBlock(float value, Operation operation)
{
    __shared__ float ofWarp[kTHREADS / 32];
#pragma unroll
    for (int32_t other = 16; other > 0; other /= 2)
        value = operation(value, __shfl_xor_sync(kFULL_WARP, value, other));
    if (threadIdx.x % 32 == 0)
        ofWarp[threadIdx.x / 32] = value;
    __syncthreads();
    float all = ofWarp[0];
#pragma unroll
    for (int32_t w = 1; w < kTHREADS / 32; ++w)
        all = operation(all, ofWarp[w]);
    return all;
}
} // namespace mmtrt
