// A warp's part of a tile: codes to operand A, products, sums to y.
#pragma once
#include "dequantize.cuh"
#include "tile_load.cuh"
#include "wgmma.cuh"

namespace mmtrt::weightOnlyMatmul
{
// A warp's 32 columns × kROWS rows: its share of A in two fragments, of the step that is multiplied and of the one after.
template <typename T, int32_t kBITS, bool kGROUPED, int32_t kROWS>
struct Product
{
    using S = Stage<kBITS, kROWS>;
    float sum[2][kROWS / 8][4];
    uint32_t a[2][2][4];
    uint32_t raw[4];
    Scaling columns[4];

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (auto& fragment : sum)
#pragma unroll
            for (auto& chunk : fragment)
#pragma unroll
                for (float& value : chunk)
                    value = 0.F;
    }

    // Fills the buffer of `kSTEP` % 2. INT4's ldmatrix brings two steps.
    template <int32_t kSTEP>
    __device__ __forceinline__ void prepare(TileArguments const& args, char const* stage)
    {
        int32_t const lane = threadIdx.x % 32;
        int32_t const warp = threadIdx.x / 32;
        uint32_t const address = sharedAddress(stage);
        if constexpr (kBITS == 8)
            loadMatrixTransposed(raw, address + S::w(kSTEP * 16 + lane % 16, warp * 2 + lane / 16));
        else if constexpr (kSTEP % 2 == 0)
            loadMatrixTransposed(raw, address + S::w(kSTEP * 16 + lane, warp));
        if constexpr (kGROUPED)
        {
            // Of four steps, 4 >> scaleShift have a row of scales in common.
            if ((kSTEP & ((4 >> args.scaleShift) - 1)) == 0)
                scaling(args, stage + (kSTEP >> (2 - args.scaleShift)) * S::kSCALE_ROW);
        }
        constexpr int32_t kBUFFER = kSTEP % 2;
        if constexpr (kBITS == 8)
        {
            operandA<T, 8, kGROUPED, 0>(a[kBUFFER][0], raw[0], raw[1], columns);
            operandA<T, 8, kGROUPED, 1>(a[kBUFFER][1], raw[2], raw[3], columns);
        }
        else
        {
            operandA<T, 4, kGROUPED, 0>(a[kBUFFER][0], raw[2 * kBUFFER], raw[2 * kBUFFER + 1], columns);
            operandA<T, 4, kGROUPED, 1>(a[kBUFFER][1], raw[2 * kBUFFER], raw[2 * kBUFFER + 1], columns);
        }
    }

    // First column within the tile of those that fragment f's rows g and g+8 stand for; they are neighbours.
    static __device__ __forceinline__ int32_t column(int32_t f)
    {
        int32_t const g = threadIdx.x % 32 / 4;
        return threadIdx.x / 32 * 32 + (kBITS == 4 ? 4 * g + 2 * f : 16 * f + 2 * g);
    }

    __device__ __forceinline__ void scaling(TileArguments const& args, char const* row)
    {
#pragma unroll
        for (int32_t f = 0; f < 2; ++f)
        {
            uint32_t const scale = *reinterpret_cast<uint32_t const*>(row + S::kSCALES + column(f) * 2);
            uint32_t const zero = args.zero == nullptr ? 0U : *reinterpret_cast<uint32_t const*>(row + S::kZEROS + column(f) * 2);
            columns[2 * f] = {twice(scale), twice(zero)};
            columns[2 * f + 1] = {upperTwice(scale), upperTwice(zero)};
        }
    }

    template <int32_t kSTEP>
    __device__ __forceinline__ void multiply(uint32_t stage)
    {
#if MMTRT_WGMMA
        wgmmaFence();
        uint64_t const b = wgmmaRows128(stage + kSTEP * 32);
        wgmma<T, kROWS>(sum[0], a[kSTEP % 2][0], b);
        wgmma<T, kROWS>(sum[1], a[kSTEP % 2][1], b);
        wgmmaCommit();
#else
        int32_t const lane = threadIdx.x % 32;
        uint32_t const source = stage + S::x(lane / 16 * 8 + lane % 8, kSTEP * 2 + lane / 8 % 2);
#pragma unroll
        for (int32_t j = 0; j < kROWS / 8; j += 2)
        {
            uint32_t b[4];
            loadMatrix(b, source + j * 8 * 128);
#pragma unroll
            for (int32_t f = 0; f < 2; ++f)
            {
                mma<T>(sum[f][j], a[kSTEP % 2][f], b[0], b[1]);
                mma<T>(sum[f][j + 1], a[kSTEP % 2][f], b[2], b[3]);
            }
        }
#endif
    }

    // Until all products but the last kPENDING steps' are done: their A may then be overwritten.
    template <int32_t kPENDING>
    __device__ __forceinline__ void finished()
    {
#if MMTRT_WGMMA
        wgmmaWait<kPENDING>();
        if constexpr (kPENDING == 0)
        {
#pragma unroll
            for (auto& fragment : sum)
#pragma unroll
                for (auto& chunk : fragment)
#pragma unroll
                    for (float& value : chunk)
                        wgmmaTouch(value);
        }
#endif
    }

    __device__ __forceinline__ void leave(StreamK const& k, int32_t range) const
    {
        float4* const to = partialSums(k, range, kROWS / 4);
#pragma unroll
        for (int32_t i = 0; i < kROWS / 4; ++i)
        {
            auto const& s = sum[i % 2][i / 2];
            __stcg(to + i * kTILE_THREADS, make_float4(s[0], s[1], s[2], s[3]));
        }
    }
    __device__ __forceinline__ void take(StreamK const& k, int32_t range)
    {
        float4 const* const from = partialSums(k, range, kROWS / 4);
#pragma unroll
        for (int32_t i = 0; i < kROWS / 4; ++i)
        {
            auto& s = sum[i % 2][i / 2];
            float4 const value = __ldcg(from + i * kTILE_THREADS);
            s[0] += value.x;
            s[1] += value.y;
            s[2] += value.z;
            s[3] += value.w;
        }
    }

    // Scale, bias, activation and rounding of the tile whose first row and column these are.
    __device__ __forceinline__ void store(TileArguments const& args, int32_t row0, int32_t column0) const
    {
        if (column0 + threadIdx.x / 32 * 32 >= args.n)
            return;
        auto* const y = static_cast<T*>(args.y);
#pragma unroll
        for (int32_t f = 0; f < 2; ++f)
        {
            int32_t const n = column0 + column(f);
            float2 scale = make_float2(1.F, 1.F);
            float2 bias = make_float2(0.F, 0.F);
            if constexpr (!kGROUPED)
                scale = unpack<T>(__ldg(reinterpret_cast<uint32_t const*>(static_cast<T const*>(args.scale) + n)));
            if (args.bias != nullptr)
                bias = unpack<T>(__ldg(reinterpret_cast<uint32_t const*>(static_cast<T const*>(args.bias) + n)));
#pragma unroll
            for (int32_t j = 0; j < kROWS / 8; ++j)
            {
#pragma unroll
                for (int32_t i = 0; i < 2; ++i)
                {
                    int32_t const row = row0 + j * 8 + threadIdx.x % 4 * 2 + i;
                    float low = sum[f][j][i] * scale.x + bias.x;
                    float high = sum[f][j][i + 2] * scale.y + bias.y;
                    if (args.curve.any)
                    {
                        low = activate(low, args.curve);
                        high = activate(high, args.curve);
                    }
                    if (row < args.rows)
                        *reinterpret_cast<uint32_t*>(y + static_cast<int64_t>(row) * args.n + n) = pack<T>(low, high);
                }
            }
        }
    }
};
} // namespace mmtrt::weightOnlyMatmul
