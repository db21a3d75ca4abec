// E4M3 codes. Before SM 89 there is no instruction for them: a function then, because CUDA's own arithmetic for each of a row's
// elements in place takes most of a compilation.
#pragma once
#include "quantize.cuh"
#include <cuda_fp8.h>

namespace mmtrt
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 890
inline __device__ __noinline__ uint32_t toFloat8(float x)
#else
__device__ __forceinline__ uint32_t toFloat8(float x)
#endif
{
    return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
}

struct Float8Code
{
    static constexpr float kMOST = 448.F;
    static __device__ __forceinline__ uint32_t of(float x) { return toFloat8(x); }
};
} // namespace mmtrt
