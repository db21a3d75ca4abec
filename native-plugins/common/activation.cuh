#pragma once
#include <cstdint>

namespace mmtrt
{
// y = x · sigmoid(x · (linear + cubic · x²)) stands for all of 1 GELU (tanh form), 2 SiLU, 3 quick GELU and, steep enough to be a step,
// 4 ReLU; 0 is none. One form without branches, because epilogues repeat it for every element they hold.
struct Curve
{
    bool any;
    float linear;
    float cubic;
};

inline Curve curveOf(int32_t activation) noexcept
{
    // sqrt(2 / π), twice: tanh(u) = 2 · sigmoid(2u) − 1.
    constexpr float kGELU = 1.5957691216057308F;
    switch (activation)
    {
    case 0: return {false, 0.F, 0.F};
    case 1: return {true, kGELU, kGELU * 0.044715F};
    case 3: return {true, 1.702F, 0.F};
    case 4: return {true, 1e30F, 0.F};
    default: return {true, 1.F, 0.F};
    }
}

__device__ __forceinline__ float activate(float x, Curve const& curve)
{
    return __fdividef(x, 1.F + __expf(-x * (curve.linear + curve.cubic * x * x)));
}
} // namespace mmtrt
