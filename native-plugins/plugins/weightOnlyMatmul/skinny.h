// Up to 8 rows of x: sizes and arguments that the host plans with.
#pragma once
#include "activation.cuh"

namespace mmtrt::weightOnlyMatmul
{
inline constexpr int32_t kWARPS = 8;
// Blocks that a multiprocessor holds at once.
inline constexpr int32_t kRESIDENT = 2;
inline constexpr int32_t kCOLUMNS = 128;
inline constexpr int32_t kROWS = 8;
inline constexpr int32_t kSTEP = 16;
inline constexpr int32_t kFRAGMENTS = kCOLUMNS / 16;
inline constexpr int32_t kVECTORS = kCOLUMNS / 4;
// Steps of a warp that are on their way at once: latency × bandwidth asks for about 30 KiB on each multiprocessor.
template <int32_t kBITS>
inline constexpr int32_t kSTAGES = kBITS == 4 ? 4 : 3;
// Bytes from one row of a step's x to the next: 8 rows × 4 lanes hit different banks. A row more has the step's prequant factors.
inline constexpr int32_t kX_STRIDE = 48;
// For up to `most` rows, 1 or 8.
__host__ __device__ constexpr int32_t xStepBytes(int32_t most) noexcept { return (most + 1) * kX_STRIDE; }

struct Arguments
{
    void const* x;
    uint8_t const* weight;
    void const* scale;
    void const* bias;
    void const* zero;
    void const* prequant;
    void* y;
    float* partials;
    uint32_t* counters;
    int32_t rows;
    int32_t k;
    int32_t n;
    int32_t groupSteps;
    // 2^32 over groupSteps, rounded up; 0 stands for one step.
    uint32_t groupInverse;
    // Warps share the steps in units, a group's or one: each has `unitsEach`, the first `unitsLeft` one more. Reckoned on the
    // host, because a division costs as much as two steps.
    int32_t unit;
    int32_t unitsEach;
    int32_t unitsLeft;
    int32_t splits;
    Curve curve;
};
} // namespace mmtrt::weightOnlyMatmul
