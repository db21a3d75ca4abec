// Device code that kernels share: asynchronous copies, tensor-core instructions, the two 16-bit float types alike.
#pragma once
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace mmtrt
{
using half = __half;
using bfloat16 = __nv_bfloat16;

template <typename T>
struct IsHalf
{
    static constexpr bool value = false;
};
template <>
struct IsHalf<half>
{
    static constexpr bool value = true;
};

inline constexpr uint32_t kFULL_WARP = 0xffffffffU;

__device__ __forceinline__ float toFloat(half x) { return __half2float(x); }
__device__ __forceinline__ float toFloat(bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float toFloat(float x) { return x; }

template <typename T>
__device__ __forceinline__ T fromFloat(float x);
template <>
__device__ __forceinline__ half fromFloat<half>(float x) { return __float2half_rn(x); }
template <>
__device__ __forceinline__ bfloat16 fromFloat<bfloat16>(float x) { return __float2bfloat16_rn(x); }
template <>
__device__ __forceinline__ float fromFloat<float>(float x) { return x; }

// Two values in one register, `low` in the low half.
template <typename T>
__device__ __forceinline__ uint32_t pack(float low, float high);
template <>
__device__ __forceinline__ uint32_t pack<half>(float low, float high)
{
    __half2 const h = __floats2half2_rn(low, high);
    return *reinterpret_cast<uint32_t const*>(&h);
}
template <>
__device__ __forceinline__ uint32_t pack<bfloat16>(float low, float high)
{
    __nv_bfloat162 const h = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t const*>(&h);
}

template <typename T>
__device__ __forceinline__ float2 unpack(uint32_t pair);
template <>
__device__ __forceinline__ float2 unpack<half>(uint32_t pair)
{
    return __half22float2(*reinterpret_cast<__half2 const*>(&pair));
}
template <>
__device__ __forceinline__ float2 unpack<bfloat16>(uint32_t pair)
{
    return __bfloat1622float2(*reinterpret_cast<__nv_bfloat162 const*>(&pair));
}

__device__ __forceinline__ uint32_t sharedAddress(void const* pointer)
{
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// For what is read once (weights, caches): the lines leave L2 first, so that they push out each other and not what the next
// kernel reads, nor dirty lines, whose way to memory would take bandwidth from us.
__device__ __forceinline__ uint64_t streamingPolicy()
{
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

// 16 bytes past L1. With !valid zeros are written and nothing is read.
__device__ __forceinline__ void copyAsync16(uint32_t shared, void const* global, bool valid, uint64_t policy)
{
    asm volatile("cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %2, %3;" ::"r"(shared), "l"(global),
                 "r"(valid ? 16 : 0), "l"(policy)
                 : "memory");
}
// The same with L2's usual order. A policy that says evict_normal is no substitute: it measured 20 % slower.
__device__ __forceinline__ void copyAsync16(uint32_t shared, void const* global, bool valid)
{
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(valid ? 16 : 0) : "memory");
}
__device__ __forceinline__ void copyCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int32_t kPENDING>
__device__ __forceinline__ void copyWait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(kPENDING) : "memory");
}

// c[16×8] += a[16×16] · b[16×8], fp32 accumulators; fragments as the PTX manual lays them out.
template <typename T>
__device__ __forceinline__ void mma(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1);
template <>
__device__ __forceinline__ void mma<half>(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void mma<bfloat16>(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8×8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void loadMatrix(uint32_t (&d)[4], uint32_t shared)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(shared)
                 : "memory");
}
__device__ __forceinline__ void loadMatrixTransposed(uint32_t (&d)[4], uint32_t shared)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(shared)
                 : "memory");
}
// Transposes an 8×8 matrix of 16-bit elements that a warp holds, two a lane.
__device__ __forceinline__ uint32_t transpose8x8(uint32_t x)
{
    uint32_t y;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
    return y;
}

// True in every thread of the one block that arrives last of `count` at `counter`, which is zero again afterwards.
// What the others wrote before is visible to it. One thread speaks for its block: a fence of every thread takes longer.
__device__ __forceinline__ bool arrivesLast(uint32_t* counter, uint32_t count)
{
    __shared__ bool last;
    __syncthreads();
    if (threadIdx.x == 0)
    {
        uint32_t before;
        asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;" : "=r"(before) : "l"(counter) : "memory");
        last = before == count - 1;
        if (last)
            *counter = 0;
    }
    __syncthreads();
    return last;
}
} // namespace mmtrt
