// From packed bytes to operand A of a tensor-core product, in x's type.
//
// A register of ldmatrix.trans has the same 16 bits of rows 2t and 2t+1: 4 columns of INT4, 2 of INT8. One logical operation
// masks a column's bits and puts an exponent above them, which makes them a float; subtracting what the exponent stands for
// leaves the code, exactly. fp16 has room for 8 bits below the exponent of 1024, bf16 for 7 below that of 128: its INT8 takes
// the sign bit apart.
#pragma once
#include "activation.cuh"
#include "device.cuh"

namespace mmtrt::weightOnlyMatmul
{
// (bits & mask) ^ exponent in one instruction.
template <uint32_t kMASK, uint32_t kEXPONENT>
__device__ __forceinline__ uint32_t expand(uint32_t bits)
{
    uint32_t value;
    asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(value) : "r"(bits), "n"(kMASK), "n"(kEXPONENT));
    return value;
}

template <typename T>
struct Pair;
template <>
struct Pair<half>
{
    using Type = __half2;
};
template <>
struct Pair<bfloat16>
{
    using Type = __nv_bfloat162;
};

template <typename T>
__device__ __forceinline__ typename Pair<T>::Type asPair(uint32_t bits)
{
    return *reinterpret_cast<typename Pair<T>::Type const*>(&bits);
}
template <typename T>
__device__ __forceinline__ uint32_t bitsOf(typename Pair<T>::Type pair)
{
    return *reinterpret_cast<uint32_t const*>(&pair);
}
// The same 16 bits twice.
__device__ __forceinline__ uint32_t twice(uint32_t low) { return __byte_perm(low, 0U, 0x1010); }
__device__ __forceinline__ uint32_t upperTwice(uint32_t pair) { return __byte_perm(pair, 0U, 0x3232); }

// Codes of one column, rows 2t and 2t+1. kCOLUMN counts within the register: 0–3 of INT4, 0–1 of INT8.
template <typename T, int32_t kBITS, int32_t kCOLUMN>
__device__ __forceinline__ typename Pair<T>::Type codes(uint32_t bits)
{
    if constexpr (kBITS == 8)
    {
        uint32_t const b = kCOLUMN == 0 ? bits : bits >> 8;
        // Two's complement ^ the sign bit is code + 128.
        if constexpr (IsHalf<T>::value)
            return __hsub2(asPair<T>(expand<0x00ff00ffU, 0x64806480U>(b)), asPair<T>(0x64806480U));
        else // 128 + the lower bits − 128, or − 256 where the sign bit is set.
            return __hsub2(asPair<T>(expand<0x007f007fU, 0x43004300U>(b)), asPair<T>(expand<0x00800080U, 0x43004300U>(b)));
    }
    else if constexpr (IsHalf<T>::value)
    {
        uint32_t const b = kCOLUMN < 2 ? bits : bits >> 8;
        if constexpr (kCOLUMN % 2 == 0)
            return __hsub2(asPair<T>(expand<0x000f000fU, 0x64086408U>(b)), asPair<T>(0x64086408U));
        else // (1152 + 16 · code) / 16 − 72
            return __hfma2(asPair<T>(expand<0x00f000f0U, 0x64806480U>(b)), asPair<T>(0x2c002c00U), asPair<T>(0xd480d480U));
    }
    else
        return __hsub2(asPair<T>(expand<0x000f000fU, 0x43084308U>(bits >> (4 * kCOLUMN))), asPair<T>(0x43084308U));
}

// What a column of A is multiplied by and what is added, each twice in a register. Without groups both are left to the end.
struct Scaling
{
    uint32_t scale;
    uint32_t zero;
};

template <typename T, int32_t kBITS, bool kGROUPED, int32_t kCOLUMN>
__device__ __forceinline__ uint32_t weights(uint32_t bits, Scaling const& column)
{
    auto const code = codes<T, kBITS, kCOLUMN>(bits);
    if constexpr (kGROUPED)
        return bitsOf<T>(__hfma2(code, asPair<T>(column.scale), asPair<T>(column.zero)));
    else
        return bitsOf<T>(code);
}

// A of fragment f: rows g and g+8 are columns 2f and 2f+1 of the four that a warp's lane group g stands for, which `upper`
// (k 0–7) and `lower` (k 8–15) have: INT4 has all four in one register, INT8 has two.
template <typename T, int32_t kBITS, bool kGROUPED, int32_t kFRAGMENT>
__device__ __forceinline__ void operandA(uint32_t (&a)[4], uint32_t upper, uint32_t lower, Scaling const (&columns)[4])
{
    constexpr int32_t kFIRST = kBITS == 4 ? 2 * kFRAGMENT : 0;
    a[0] = weights<T, kBITS, kGROUPED, kFIRST>(upper, columns[2 * kFRAGMENT]);
    a[1] = weights<T, kBITS, kGROUPED, kFIRST + 1>(upper, columns[2 * kFRAGMENT + 1]);
    a[2] = weights<T, kBITS, kGROUPED, kFIRST>(lower, columns[2 * kFRAGMENT]);
    a[3] = weights<T, kBITS, kGROUPED, kFIRST + 1>(lower, columns[2 * kFRAGMENT + 1]);
}
} // namespace mmtrt::weightOnlyMatmul
