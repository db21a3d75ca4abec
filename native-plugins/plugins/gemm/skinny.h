// Up to 8 rows of x: what kernel.cu hands to skinny.cuh.
#pragma once
#include "activation.cuh"

namespace mmtrt::gemm
{
inline constexpr int32_t kWARPS = 8;
// Blocks that a multiprocessor holds at once.
inline constexpr int32_t kRESIDENT = 2;
inline constexpr int32_t kMOST_ROWS = 8;
// Columns of y that a block makes at once: rows of the weight.
inline constexpr int32_t kCOLUMNS = 16;
// Elements of k of a warp's step, and of all warps'.
inline constexpr int32_t kSTEP = 64;
inline constexpr int32_t kBLOCK_STEP = kWARPS * kSTEP;
// Steps of a warp that are on their way at once, in its registers: 96 KiB on a multiprocessor.
inline constexpr int32_t kDEPTH = 3;

struct SkinnyArguments
{
    void const* x;
    void const* weight;
    void const* bias;
    void* y;
    int32_t rows;
    int32_t k;
    int32_t n;
    int32_t tiles;
    // Rounds of kDEPTH steps that bring a warp through k.
    int32_t rounds;
    Curve curve;
};
} // namespace mmtrt::gemm
