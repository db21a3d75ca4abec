// Hopper's products of four warps: D[64 × kN] += A[64 × 16] · B[16 × kN] with A in registers, B in shared memory, fp32 D. Each
// warp's A and D are laid out as in mma.m16n8k16, kN / 8 times side by side, so kernels treat both instructions alike.
// Compiled for sm_90a alone: MMTRT_WGMMA says whether this pass is.
#pragma once
#include "device.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define MMTRT_WGMMA 1
#else
#define MMTRT_WGMMA 0
#endif

namespace mmtrt
{
#if MMTRT_WGMMA
// Before the first product that reads registers which other instructions wrote.
__device__ __forceinline__ void wgmmaFence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmmaCommit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int32_t kPENDING>
__device__ __forceinline__ void wgmmaWait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPENDING) : "memory");
}
// What this thread wrote to shared memory is visible to the tensor cores' reads after the next barrier.
__device__ __forceinline__ void fenceSharedForWgmma() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// B's rows are 128 bytes of k each, 16-byte pieces exchanged by row % 8 (the 128-byte swizzle), 8 rows to 1024 bytes; `shared`
// is a multiple of 1024 plus 32 for each step of 16 k.
__device__ __forceinline__ uint64_t wgmmaRows128(uint32_t shared)
{
    return static_cast<uint64_t>((shared & 0x3ffffU) >> 4) | 1ULL << 16 | 64ULL << 32 | 1ULL << 62;
}

// Keeps the compiler from moving what it does with an accumulator across a product in flight.
__device__ __forceinline__ void wgmmaTouch(float& value) { asm volatile("" : "+f"(value)::"memory"); }

// The four sums of columns 8i + 2t and 8i + 2t + 1 in rows g and g + 8.
#define MMTRT_SUMS1(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define MMTRT_SUMS4(i) MMTRT_SUMS1(i), MMTRT_SUMS1(i + 1), MMTRT_SUMS1(i + 2), MMTRT_SUMS1(i + 3)
#define MMTRT_SUMS8(i) MMTRT_SUMS4(i), MMTRT_SUMS4(i + 4)
#define MMTRT_NAMES16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define MMTRT_NAMES32 MMTRT_NAMES16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define MMTRT_NAMES64                                                                                                        \
    MMTRT_NAMES32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                     \
                  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define MMTRT_NAMES128                                                                                                       \
    MMTRT_NAMES64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "                       \
                  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "                         \
                  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "             \
                  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
// `rest` names A's four registers, B's descriptor, kADD and kROWS_OF_K.
#define MMTRT_PRODUCT(width, type, names, rest, ...)                                                                         \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" width "k16.f32." type "." type " {" names "}, " rest ";"                \
                 : __VA_ARGS__                                                                                               \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(kADD ? 1 : 0), "n"(kROWS_OF_K ? 1 : 0))
#define MMTRT_PRODUCT_OF(width, names, rest, ...)                                                                            \
    if constexpr (IsHalf<T>::value)                                                                                          \
        MMTRT_PRODUCT(width, "f16", names, rest, __VA_ARGS__);                                                               \
    else                                                                                                                     \
        MMTRT_PRODUCT(width, "bf16", names, rest, __VA_ARGS__)

// d = (kADD ? d : 0) + A · B; kROWS_OF_K: B lies in rows of k and not of n.
template <typename T, int32_t kN, bool kROWS_OF_K = false, bool kADD = true>
__device__ __forceinline__ void wgmma(float (&d)[kN / 8][4], uint32_t const (&a)[4], uint64_t b)
{
    static_assert(kN == 32 || kN == 64 || kN == 128 || kN == 256, "the widths that are written out");
    if constexpr (kN == 32)
    {
        MMTRT_PRODUCT_OF("32", MMTRT_NAMES16, "{%16, %17, %18, %19}, %20, %21, 1, 1, %22", MMTRT_SUMS4(0));
    }
    else if constexpr (kN == 64)
    {
        MMTRT_PRODUCT_OF("64", MMTRT_NAMES32, "{%32, %33, %34, %35}, %36, %37, 1, 1, %38", MMTRT_SUMS8(0));
    }
    else if constexpr (kN == 128)
    {
        MMTRT_PRODUCT_OF("128", MMTRT_NAMES64, "{%64, %65, %66, %67}, %68, %69, 1, 1, %70", MMTRT_SUMS8(0), MMTRT_SUMS8(8));
    }
    else
    {
        MMTRT_PRODUCT_OF("256", MMTRT_NAMES128, "{%128, %129, %130, %131}, %132, %133, 1, 1, %134", MMTRT_SUMS8(0), MMTRT_SUMS8(8),
                         MMTRT_SUMS8(16), MMTRT_SUMS8(24));
    }
}
#undef MMTRT_PRODUCT_OF
#undef MMTRT_PRODUCT
#undef MMTRT_NAMES128
#undef MMTRT_NAMES64
#undef MMTRT_NAMES32
#undef MMTRT_NAMES16
#undef MMTRT_SUMS8
#undef MMTRT_SUMS4
#undef MMTRT_SUMS1
#endif
} // namespace mmtrt
