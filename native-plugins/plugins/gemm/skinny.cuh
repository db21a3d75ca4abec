// Up to 8 rows of x against a weight [N, K]: bound by reading the weight once, so its bytes go from memory into registers and
// from there into the tensor cores, with nothing between.
//
// A sum over k has no order: 16 bytes of a row of the weight, which are neighbours along k, serve as what mma.m16n8k16 calls
// elements 2t, 2t+1, 2t+8 and 2t+9 of two products, and so do the same 16 bytes of x. The weight is operand A (16 columns of y),
// x is B (8 rows). The warps of a block share out k and meet once for each 16 columns; blocks stay for several of these, and the next
// one's bytes are on their way while the last one's sums are added. x comes through L1.
#pragma once
#include "device.cuh"
#include "launch.cuh"
#include "skinny.h"

namespace mmtrt::gemm
{
// Read once, so not kept in L1, and the first to leave L2. The other half of a line of 128 bytes is asked for next.
__device__ __forceinline__ uint4 loadOnce(void const* at, uint64_t policy)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::cache_hint.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(at), "l"(policy));
    return v;
}

// 64 elements of k of 16 columns: this lane's 8 of k 0–31 and 8 of k 32–63, of columns g and g + 8.
struct Step
{
    uint4 half[2][2];
};

// Walks through this warp's share of the weight, tile after tile.
struct Weights
{
    SkinnyArguments const& args;
    uint64_t policy;
    char const* first;
    char const* second;
    int32_t tile;
    int32_t left;
    int32_t steps;

    __device__ __forceinline__ explicit Weights(SkinnyArguments const& arguments)
        : args(arguments)
        , policy(streamingPolicy())
        , tile(blockIdx.x)
    {
        place();
    }

    __device__ __forceinline__ void place()
    {
        int32_t const lane = threadIdx.x % 32;
        int32_t const k = threadIdx.x / 32 * kSTEP + lane % 4 * 8;
        int32_t const column = tile * kCOLUMNS + lane / 4;
        auto const* const weight = static_cast<char const*>(args.weight);
        // Past the last column any will do: its sums are not stored.
        first = weight + (static_cast<int64_t>(min(column, args.n - 1)) * args.k + k) * 2;
        second = weight + (static_cast<int64_t>(min(column + 8, args.n - 1)) * args.k + k) * 2;
        left = tile < args.tiles ? args.k - k : 0;
        steps = args.rounds * kDEPTH;
    }

    __device__ __forceinline__ void next(Step& step)
    {
#pragma unroll
        for (int32_t h = 0; h < 2; ++h)
        {
            bool const inside = h * (kSTEP / 2) < left;
            step.half[h][0] = inside ? loadOnce(first + h * kSTEP, policy) : uint4{};
            step.half[h][1] = inside ? loadOnce(second + h * kSTEP, policy) : uint4{};
        }
        first += kBLOCK_STEP * 2;
        second += kBLOCK_STEP * 2;
        left -= kBLOCK_STEP;
        if (--steps == 0)
        {
            tile += gridDim.x;
            place();
        }
    }
};

// sum[16 columns × 8 rows] += step · x. `x`: this lane's row; `k`: its first of the step.
template <typename T>
__device__ __forceinline__ void multiply(float (&sum)[4], SkinnyArguments const& args, Step const& step, char const* x, int32_t k)
{
    bool const exists = static_cast<int32_t>(threadIdx.x % 32 / 4) < args.rows;
#pragma unroll
    for (int32_t h = 0; h < 2; ++h)
    {
        int32_t const at = k + h * (kSTEP / 2);
        uint4 b{};
        if (exists && at < args.k)
            b = __ldg(reinterpret_cast<uint4 const*>(x + at * 2));
        uint4 const& low = step.half[h][0];
        uint4 const& high = step.half[h][1];
        uint32_t const a0[4] = {low.x, high.x, low.y, high.y};
        uint32_t const a1[4] = {low.z, high.z, low.w, high.w};
        mma<T>(sum, a0, b.x, b.y);
        mma<T>(sum, a1, b.z, b.w);
    }
}

// From one row of a warp's sums to the next: lanes of different rows hit different banks.
inline constexpr int32_t kSUM_STRIDE = kCOLUMNS + 4;

// This thread's share of a tile: the warps' sums of one row and column after another.
template <typename T>
__device__ __forceinline__ void finish(SkinnyArguments const& args, float const* shared, int32_t warpStride, int32_t tile)
{
    for (int32_t i = threadIdx.x; i < args.rows * kCOLUMNS; i += kWARPS * 32)
    {
        int32_t const row = i / kCOLUMNS;
        int32_t const n = tile * kCOLUMNS + i % kCOLUMNS;
        if (n >= args.n)
            continue;
        float const* const from = shared + row * kSUM_STRIDE + i % kCOLUMNS;
        float value = 0.F;
#pragma unroll
        for (int32_t w = 0; w < kWARPS; ++w)
            value += from[w * warpStride];
        if (args.bias != nullptr)
            value += toFloat(static_cast<T const*>(args.bias)[n]);
        if (args.curve.any)
            value = activate(value, args.curve);
        static_cast<T*>(args.y)[static_cast<int64_t>(row) * args.n + n] = fromFloat<T>(value);
    }
}

template <typename T>
__global__ void __launch_bounds__(kWARPS * 32, kRESIDENT) skinnyKernel(SkinnyArguments const args)
{
    constexpr int32_t kWARP_SUMS = kMOST_ROWS * kSUM_STRIDE;
    __shared__ float shared[2][kWARPS * kWARP_SUMS];
    int32_t const g = threadIdx.x % 32 / 4;
    int32_t const t = threadIdx.x % 4;
    int32_t const warp = threadIdx.x / 32;

    Weights weights(args);
    Step steps[kDEPTH];
#pragma unroll
    for (Step& step : steps)
        weights.next(step);
    // Weights do not change; x is what the kernel before writes.
    waitForKernelBefore();
    letNextKernelBegin();

    char const* const x = static_cast<char const*>(args.x) + static_cast<int64_t>(g) * args.k * 2;
    int32_t turn = 0;
    for (int32_t tile = blockIdx.x; tile < args.tiles; tile += gridDim.x, turn ^= 1)
    {
        float sum[4] = {};
        int32_t k = warp * kSTEP + t * 8;
        for (int32_t round = 0; round < args.rounds; ++round)
        {
#pragma unroll
            for (Step& step : steps)
            {
                multiply<T>(sum, args, step, x, k);
                weights.next(step);
                k += kBLOCK_STEP;
            }
        }
        float* const mine = shared[turn] + warp * kWARP_SUMS + 2 * t * kSUM_STRIDE + g;
#pragma unroll
        for (int32_t i = 0; i < 4; ++i)
            mine[i % 2 * kSUM_STRIDE + i / 2 * 8] = sum[i];
        // Two buffers: who writes this one again has waited here once more.
        __syncthreads();
        finish<T>(args, shared[turn], kWARP_SUMS, tile);
    }
}
} // namespace mmtrt::gemm
