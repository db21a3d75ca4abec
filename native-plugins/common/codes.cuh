// Cached keys and values as 8-bit codes, made into 16-bit floats in registers: two at a time, out of the four bytes of a register.
#pragma once
#include "device.cuh"
#include <type_traits>

namespace mmtrt
{
// Which two bytes of a register: selectors of prmt that put them into the low bytes of two halves, or into the high ones.
enum class Bytes : uint32_t
{
    kFIRST,
    kLAST,
    kEVEN,
    kODD,
};

template <Bytes kBYTES>
__device__ __forceinline__ uint32_t lowBytes(uint32_t x)
{
    constexpr uint32_t kSELECT = kBYTES == Bytes::kFIRST ? 0x4140U : kBYTES == Bytes::kLAST ? 0x4342U : kBYTES == Bytes::kEVEN ? 0x4240U : 0x4341U;
    return __byte_perm(x, 0U, kSELECT);
}

template <Bytes kBYTES>
__device__ __forceinline__ uint32_t highBytes(uint32_t x)
{
    constexpr uint32_t kSELECT = kBYTES == Bytes::kFIRST ? 0x1404U : kBYTES == Bytes::kLAST ? 0x3424U : kBYTES == Bytes::kEVEN ? 0x2404U : 0x3414U;
    return __byte_perm(x, 0U, kSELECT);
}

template <typename T>
__device__ __forceinline__ uint32_t subtractPairs(uint32_t a, uint32_t b)
{
    using Pair = typename std::conditional<IsHalf<T>::value, __half2, __nv_bfloat162>::type;
    Pair const difference = __hsub2(*reinterpret_cast<Pair const*>(&a), *reinterpret_cast<Pair const*>(&b));
    return *reinterpret_cast<uint32_t const*>(&difference);
}

// Exact. fp16: 1024 + (code + 128) has the code's bits as its last, and 1152 comes off. bf16 holds no such sum of 8 bits, so the
// sign's bit becomes 128 or 256, which comes off 128 + the other seven.
template <typename T, Bytes kBYTES>
__device__ __forceinline__ uint32_t fromInt8(uint32_t x)
{
    uint32_t const w = lowBytes<kBYTES>(x);
    if constexpr (IsHalf<T>::value)
        return subtractPairs<T>((w ^ 0x00800080U) | 0x64006400U, 0x64806480U);
    else
        return subtractPairs<T>((w & 0x007f007fU) | 0x43004300U, (w & 0x00800080U) | 0x43004300U);
}

// E4M3's exponent and mantissa moved to their places, subnormals included: the value × 2^(its bias − the wider type's bias).
// NaN becomes 480. fp16 leaves the 2^8 to kCODE_FACTOR; bf16's 2^120 comes here, where no sum can underflow.
template <typename T, Bytes kBYTES>
__device__ __forceinline__ uint32_t fromFp8(uint32_t x)
{
    uint32_t const w = highBytes<kBYTES>(x);
    if constexpr (IsHalf<T>::value)
        return (w & 0x80008000U) | ((w & 0x7f007f00U) >> 1);
    else
    {
        uint32_t const moved = (w & 0x80008000U) | ((w & 0x7f007f00U) >> 4);
        uint32_t const factor = 0x7b807b80U;
        __nv_bfloat162 const value
            = __hmul2(*reinterpret_cast<__nv_bfloat162 const*>(&moved), *reinterpret_cast<__nv_bfloat162 const*>(&factor));
        return *reinterpret_cast<uint32_t const*>(&value);
    }
}

// Element of a cache of E4M3 codes; one of INT8 codes is int8_t.
struct Fp8
{
    uint8_t code;
};

// What a sum of products with fromCodes' values is still to be multiplied by.
template <typename T, typename C>
inline constexpr float kCODE_FACTOR = 1.F;
template <typename T>
inline constexpr float kCODE_FACTOR<T, Fp8> = IsHalf<T>::value ? 256.F : 1.F;

template <typename T, typename C, Bytes kBYTES>
__device__ __forceinline__ uint32_t fromCodes(uint32_t x)
{
    if constexpr (std::is_same<C, Fp8>::value)
        return fromFp8<T, kBYTES>(x);
    else
        return fromInt8<T, kBYTES>(x);
}
} // namespace mmtrt
