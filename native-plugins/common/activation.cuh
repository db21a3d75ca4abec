#pragma once
#include <cstdint>

namespace mmtrt
{
// 0 none, 1 GELU (tanh form), 2 SiLU, 3 quick GELU, 4 ReLU. The three with a curve are x · sigmoid(z): z = x for SiLU, 1.702 x for quick
// GELU, and twice the argument of tanh for GELU.
__device__ __forceinline__ float activate(float x, int32_t activation)
{
    if (activation == 0)
        return x;
    if (activation == 4)
        return fmaxf(x, 0.F);
    float const z = activation == 1 ? 1.5957691216057308F * (x + 0.044715F * x * x * x) : activation == 3 ? 1.702F * x : x;
    return __fdividef(x, 1.F + __expf(-z));
}
} // namespace mmtrt
