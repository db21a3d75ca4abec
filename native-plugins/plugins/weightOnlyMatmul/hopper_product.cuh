// A computing warp's part of a tile on Hopper: 16 columns of the weight × 256 rows of x.
#pragma once
#include "dequantize.cuh"
#include "hopper.h"
#include "wgmma.cuh"

namespace mmtrt::weightOnlyMatmul::hopper
{
// Where in a stage the parts lie.
template <int32_t kBITS>
struct Stage
{
    static constexpr int32_t kW_ROW = kCOLUMNS * kBITS / 8;
    static constexpr int32_t kWEIGHT = kROWS * kK * 2;
    static constexpr int32_t kSCALES = kWEIGHT + kK * kW_ROW;
    static constexpr int32_t kZEROS = kSCALES + kSCALE_ROWS * kSCALE_ROW;

    // 16 bytes of a row of the weight, as the copy engine exchanges them.
    static __device__ __forceinline__ int32_t weight(int32_t row, int32_t piece)
    {
        return kWEIGHT + row * kW_ROW + (piece ^ (kBITS == 4 ? row / 2 % 4 : row % 8)) * 16;
    }
};

struct ComputingThreads
{
    __device__ __forceinline__ void operator()() const { asm volatile("bar.sync 1, %0;" ::"n"(kCOMPUTING) : "memory"); }
};

#if MMTRT_WGMMA
template <typename T, int32_t kBITS, bool kGROUPED>
struct Product
{
    using S = Stage<kBITS>;
    // Of a thread, as float4.
    static constexpr int32_t kVECTORS = kROWS / 8;
    float sum[kVECTORS][4];
    // The weight's share of two k blocks, four steps each: one that is multiplied, one that is made.
    uint32_t a[2][4][4];

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int32_t i = 0; i < kVECTORS * 4; ++i)
            sum[i / 4][i % 4] = 0.F;
    }

    static __device__ __forceinline__ int32_t warp() { return threadIdx.x / 32; }
    // Of INT4's 32 columns in 16 bytes a warp has half: of each four the first two, or the others.
    static __device__ __forceinline__ int32_t piece() { return kBITS == 4 ? warp() / 2 : warp(); }
    // First within the tile of the two neighbours that rows g and g + 8 of operand A stand for.
    static __device__ __forceinline__ int32_t column()
    {
        int32_t const g = threadIdx.x % 32 / 4;
        return kBITS == 4 ? warp() / 2 * 32 + 4 * g + warp() % 2 * 2 : warp() * 16 + 2 * g;
    }

    static __device__ __forceinline__ void scaling(TileArguments const& args, Scaling (&columns)[2], char const* row)
    {
        uint32_t const scale = *reinterpret_cast<uint32_t const*>(row + S::kSCALES + column() * 2);
        uint32_t const zero = args.zero == nullptr ? 0U : *reinterpret_cast<uint32_t const*>(row + S::kZEROS + column() * 2);
        columns[0] = {twice(scale), twice(zero)};
        columns[1] = {upperTwice(scale), upperTwice(zero)};
    }

    // A k block's codes to operand A.
    template <int32_t kBUFFER>
    __device__ __forceinline__ void prepare(TileArguments const& args, char const* stage)
    {
        Scaling columns[2];
        uint32_t raw[4];
#pragma unroll
        for (int32_t step = 0; step < 4; ++step)
        {
            if (step % 2 == 0)
            {
                loadMatrixTransposed(raw, sharedAddress(stage) + S::weight(step * 16 + threadIdx.x % 32, piece()));
                if constexpr (kBITS == 4)
#pragma unroll
                    for (uint32_t& bits : raw)
                        bits >>= warp() % 2 * 8;
            }
            if constexpr (kGROUPED)
            {
                // Of four steps, 4 >> scaleShift have a row of scales in common.
                if ((step & ((4 >> args.scaleShift) - 1)) == 0)
                    scaling(args, columns, stage + (step >> (2 - args.scaleShift)) * kSCALE_ROW);
            }
            uint32_t const upper = raw[step % 2 * 2];
            uint32_t const lower = raw[step % 2 * 2 + 1];
            uint32_t(&to)[4] = a[kBUFFER][step];
            to[0] = weights<T, kBITS, kGROUPED, 0>(upper, columns[0]);
            to[1] = weights<T, kBITS, kGROUPED, 1>(upper, columns[1]);
            to[2] = weights<T, kBITS, kGROUPED, 0>(lower, columns[0]);
            to[3] = weights<T, kBITS, kGROUPED, 1>(lower, columns[1]);
        }
    }

    template <int32_t kBUFFER>
    __device__ __forceinline__ void multiply(uint32_t stage)
    {
        wgmmaFence();
#pragma unroll
        for (int32_t step = 0; step < 4; ++step)
            wgmma<T, kROWS>(sum, a[kBUFFER][step], wgmmaRows128(stage + step * 32));
        wgmmaCommit();
    }

    __device__ __forceinline__ void finished()
    {
        wgmmaWait<0>();
#pragma unroll
        for (int32_t i = 0; i < kVECTORS * 4; ++i)
            wgmmaTouch(sum[i / 4][i % 4]);
    }

    __device__ __forceinline__ void leave(StreamK const& k, int32_t range) const
    {
        float4* const to = partialSums(k, range, kVECTORS, kCOMPUTING);
#pragma unroll
        for (int32_t i = 0; i < kVECTORS; ++i)
            __stcg(to + i * kCOMPUTING, make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]));
    }
    __device__ __forceinline__ void take(StreamK const& k, int32_t range)
    {
        float4 const* const from = partialSums(k, range, kVECTORS, kCOMPUTING);
#pragma unroll
        for (int32_t i = 0; i < kVECTORS; ++i)
        {
            float4 const value = __ldcg(from + i * kCOMPUTING);
            sum[i][0] += value.x;
            sum[i][1] += value.y;
            sum[i][2] += value.z;
            sum[i][3] += value.w;
        }
    }

    // Scale, bias, activation and rounding of the tile whose first row and column these are.
    __device__ __forceinline__ void store(TileArguments const& args, int32_t row0, int32_t column0) const
    {
        int32_t const n = column0 + column();
        if (n >= args.n)
            return;
        float2 scale = make_float2(1.F, 1.F);
        float2 bias = make_float2(0.F, 0.F);
        if constexpr (!kGROUPED)
            scale = unpack<T>(__ldg(reinterpret_cast<uint32_t const*>(static_cast<T const*>(args.scale) + n)));
        if (args.bias != nullptr)
            bias = unpack<T>(__ldg(reinterpret_cast<uint32_t const*>(static_cast<T const*>(args.bias) + n)));
        int32_t row = row0 + threadIdx.x % 4 * 2;
        T* y = static_cast<T*>(args.y) + static_cast<int64_t>(row) * args.n + n;
#pragma unroll
        for (int32_t i = 0; i < kVECTORS * 2; ++i)
        {
            auto const& s = sum[i / 2];
            float low = s[i % 2] * scale.x + bias.x;
            float high = s[i % 2 + 2] * scale.y + bias.y;
            if (args.curve.any)
            {
                low = activate(low, args.curve);
                high = activate(high, args.curve);
            }
            if (row < args.rows)
                *reinterpret_cast<uint32_t*>(y) = pack<T>(low, high);
            // The next row, then seven further: four lanes have two each.
            row += i % 2 == 0 ? 1 : 7;
            y += static_cast<int64_t>(args.n) * (i % 2 == 0 ? 1 : 7);
        }
    }
};
#endif
} // namespace mmtrt::weightOnlyMatmul::hopper
