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
// A warp's: bounds the shared memory of x (8 rows × 32 bytes a step). The second where a block has 99 KiB.
inline constexpr int32_t kMOST_STEPS = 32;
inline constexpr int32_t kMOST_STEPS_IN_99K = 24;

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
    // Bytes of a warp's rows of x, and from one row to the next: 16 past a multiple of 128, so that 8 rows × 4 lanes hit
    // different banks.
    int32_t xBytes;
    int32_t xStride;
    Curve curve;
};

// For ranges of this many elements or fewer.
constexpr int32_t rowStride(int32_t range) noexcept
{
    return (range * 2 + 127) / 128 * 128 + 16;
}
} // namespace mmtrt::weightOnlyMatmul
