// A warp's 128 columns of the weight: on their way, as operand A, and their sums scaled.
#pragma once
#include "dequantize.cuh"
#include "skinny.h"

namespace mmtrt::weightOnlyMatmul
{
template <int32_t kBITS>
struct Layout
{
    static constexpr int32_t kSTEP_BYTES = kSTEP * kCOLUMNS * kBITS / 8;
    static constexpr int32_t kFIFO_BYTES = kSTAGES<kBITS> * kSTEP_BYTES;
    // Pieces of 16 bytes in a row of the tile: 32 columns of INT4, 16 of INT8.
    static constexpr int32_t kPIECES = kCOLUMNS * kBITS / 128;
    static constexpr int32_t kPIECE_COLUMNS = 128 / kBITS;
    // Copies of a lane in a step, and the rows between them.
    static constexpr int32_t kCOPIES = kSTEP * kPIECES / 32;
    static constexpr int32_t kCOPY_ROWS = 32 / kPIECES;

    // Where piece `c` of `row` lies. Exchanging pieces by row puts the 8 rows of an ldmatrix into different banks.
    static __device__ __forceinline__ int32_t offset(int32_t row, int32_t c)
    {
        int32_t const linear = row * kPIECES + c;
        return (linear ^ (kBITS == 4 ? row / 2 % 4 : row % 8)) * 16;
    }

    // First of the two neighbouring columns that rows g and g+8 of fragment f stand for.
    static __device__ __forceinline__ int32_t column(int32_t f, int32_t g)
    {
        return kBITS == 4 ? f / 2 * 32 + 4 * g + f % 2 * 2 : f * 16 + 2 * g;
    }
};

// Walks down the weight, one step of 16 rows a call.
template <int32_t kBITS>
struct Stream
{
    using L = Layout<kBITS>;
    uint8_t const* source;
    uint32_t target;
    int64_t rowBytes;
    uint64_t policy;
    int32_t left;
    bool inside;

    __device__ __forceinline__ Stream(Arguments const& args, uint32_t fifo, int32_t column0, int32_t begin, int32_t end)
        : rowBytes(static_cast<int64_t>(args.n) * kBITS / 8)
        , policy(streamingPolicy())
        , left(end - begin)
    {
        int32_t const row = threadIdx.x % 32 / L::kPIECES;
        int32_t const c = threadIdx.x % L::kPIECES;
        int32_t const column = column0 + c * L::kPIECE_COLUMNS;
        inside = column < args.n;
        source = args.weight + (begin * kSTEP + row) * rowBytes + column * kBITS / 8;
        target = fifo + L::offset(row, c);
    }

    __device__ __forceinline__ void next(int32_t stageOffset)
    {
        if (left > 0)
        {
#pragma unroll
            for (int32_t i = 0; i < L::kCOPIES; ++i)
            {
                // Rows four further have the other half of INT8's 8 exchanges.
                uint32_t const exchanged = kBITS == 8 && i % 2 == 1 ? target ^ 64U : target;
                copyAsync16(exchanged + stageOffset + i * L::kCOPY_ROWS * L::kPIECES * 16, source + rowBytes * (i * L::kCOPY_ROWS),
                    inside, policy);
            }
            source += rowBytes * kSTEP;
            --left;
        }
        copyCommit();
    }
};

// Operand A of columns 2f and 2f+1 of `upper` (k 0–7) and `lower` (k 8–15), with what Excess says above the codes.
template <typename T, int32_t kBITS>
__device__ __forceinline__ void fragment(uint32_t (&a)[4], uint32_t upper, uint32_t lower)
{
    if constexpr (kBITS == 8 && IsHalf<T>::value)
    {
        a[0] = expand<0x00ff00ffU, 0x64806480U>(upper);
        a[1] = expand<0x00ff00ffU, 0x64806480U>(upper >> 8);
        a[2] = expand<0x00ff00ffU, 0x64806480U>(lower);
        a[3] = expand<0x00ff00ffU, 0x64806480U>(lower >> 8);
    }
    else if constexpr (kBITS == 8)
    {
        a[0] = bitsOf<T>(codes<T, 8, 0>(upper));
        a[1] = bitsOf<T>(codes<T, 8, 1>(upper));
        a[2] = bitsOf<T>(codes<T, 8, 0>(lower));
        a[3] = bitsOf<T>(codes<T, 8, 1>(lower));
    }
    else if constexpr (IsHalf<T>::value)
    {
        a[0] = expand<0x000f000fU, 0x64086408U>(upper);
        a[1] = expand<0x00f000f0U, 0x64806480U>(upper);
        a[2] = expand<0x000f000fU, 0x64086408U>(lower);
        a[3] = expand<0x00f000f0U, 0x64806480U>(lower);
    }
    else
    {
        a[0] = expand<0x000f000fU, 0x43084308U>(upper);
        a[1] = expand<0x000f000fU, 0x43084308U>(upper >> 4);
        a[2] = expand<0x000f000fU, 0x43084308U>(lower);
        a[3] = expand<0x000f000fU, 0x43084308U>(lower >> 4);
    }
}

// What fragment() adds to the codes of its even and odd columns, and what the odd ones are multiplied by.
template <typename T, int32_t kBITS>
struct Excess
{
    static constexpr float kEVEN = IsHalf<T>::value ? (kBITS == 4 ? 1024.F + 8.F : 1024.F + 128.F) : (kBITS == 4 ? 128.F + 8.F : 0.F);
    static constexpr float kODD = IsHalf<T>::value ? 1024.F + 128.F : kEVEN;
    static constexpr float kODD_FACTOR = IsHalf<T>::value && kBITS == 4 ? 1.F / 16.F : 1.F;
};

// One step of 16 k of all columns. `ones` gathers sum(x).
template <typename T, int32_t kBITS>
__device__ __forceinline__ void multiply(float (&sum)[kFRAGMENTS][4], float (&ones)[4], uint32_t stage, uint32_t b0, uint32_t b1)
{
    using L = Layout<kBITS>;
    int32_t const lane = threadIdx.x % 32;
    constexpr uint32_t kONE = IsHalf<T>::value ? 0x3c003c00U : 0x3f803f80U;
    uint32_t const one[4] = {kONE, kONE, kONE, kONE};
    mma<T>(ones, one, b0, b1);
#pragma unroll
    for (int32_t pair = 0; pair < L::kPIECES / 2; ++pair)
    {
        // Rows 0–7 and 8–15 of two pieces.
        uint32_t w[4];
        loadMatrixTransposed(w, stage + L::offset(lane % 16, pair * 2 + lane / 16));
#pragma unroll
        for (int32_t i = 0; i < 2; ++i)
        {
            uint32_t a[4];
            fragment<T, kBITS>(a, w[2 * i], w[2 * i + 1]);
            if constexpr (kBITS == 4)
            {
                mma<T>(sum[pair * 4 + i * 2], a, b0, b1);
                fragment<T, kBITS>(a, w[2 * i] >> 8, w[2 * i + 1] >> 8);
                mma<T>(sum[pair * 4 + i * 2 + 1], a, b0, b1);
            }
            else
                mma<T>(sum[pair * 2 + i], a, b0, b1);
        }
    }
}

// The scales of this lane's columns in one group, two neighbouring ones a register.
template <int32_t kBITS>
__device__ __forceinline__ void loadScales(uint32_t (&scale)[kFRAGMENTS], uint16_t const* row, int32_t columns)
{
    using L = Layout<kBITS>;
    int32_t const g = threadIdx.x % 32 / 4;
    constexpr int32_t kEACH = kBITS == 4 ? 2 : 1;
#pragma unroll
    for (int32_t f = 0; f < kFRAGMENTS; f += kEACH)
    {
        int32_t const column = L::column(f, g);
        bool const inside = column < columns;
        if constexpr (kEACH == 2)
        {
            uint2 const pair = inside ? __ldg(reinterpret_cast<uint2 const*>(row + column)) : uint2{};
            scale[f] = pair.x;
            scale[f + 1] = pair.y;
        }
        else
            scale[f] = inside ? __ldg(reinterpret_cast<uint32_t const*>(row + column)) : 0U;
    }
}

// total += (sum − what the exponents added) × scale; the sums start again.
template <typename T, int32_t kBITS, int32_t kMOST>
__device__ __forceinline__ void closeGroup(
    float (&total)[kFRAGMENTS][4], float (&sum)[kFRAGMENTS][4], float const (&ones)[4], uint32_t const (&scale)[kFRAGMENTS])
{
    using E = Excess<T, kBITS>;
#pragma unroll
    for (int32_t f = 0; f < kFRAGMENTS; ++f)
    {
        float2 const s = unpack<T>(scale[f]);
#pragma unroll
        for (int32_t i = 0; i < (kMOST == 1 ? 1 : 2); ++i)
        {
            total[f][i] += (sum[f][i] - E::kEVEN * ones[i]) * s.x;
            total[f][i + 2] += (sum[f][i + 2] - E::kODD * ones[i]) * (s.y * E::kODD_FACTOR);
        }
#pragma unroll
        for (float& value : sum[f])
            value = 0.F;
    }
}

// total += sum(x) × zero.
template <typename T, int32_t kBITS>
__device__ __forceinline__ void addZeros(float (&total)[kFRAGMENTS][4], float const (&ones)[4], uint16_t const* row, int32_t columns)
{
    uint32_t zero[kFRAGMENTS];
    loadScales<kBITS>(zero, row, columns);
#pragma unroll
    for (int32_t f = 0; f < kFRAGMENTS; ++f)
    {
        float2 const z = unpack<T>(zero[f]);
#pragma unroll
        for (int32_t i = 0; i < 2; ++i)
        {
            total[f][i] += ones[i] * z.x;
            total[f][i + 2] += ones[i] * z.y;
        }
    }
}
} // namespace mmtrt::weightOnlyMatmul
