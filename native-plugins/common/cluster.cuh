// Blocks that run together and write into each other's shared memory. Where there are no clusters these do nothing; the host
// starts none there.
#pragma once
#include "device.cuh"

namespace mmtrt
{
// Counts the bytes that the blocks of a cluster send to this one; for one round. open() by one thread, then started() by all threads
// of all blocks, ready() by all before the first send(), and wait() by those who read what came.
struct Inbox
{
    uint64_t barrier;

    __device__ __forceinline__ void open(uint32_t bytes)
    {
#if __CUDA_ARCH__ >= 900
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(sharedAddress(&barrier)) : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(sharedAddress(&barrier)), "r"(bytes) : "memory");
#endif
    }

    static __device__ __forceinline__ void started()
    {
#if __CUDA_ARCH__ >= 900
        asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#endif
    }
    static __device__ __forceinline__ void ready()
    {
#if __CUDA_ARCH__ >= 900
        asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
    }

    // Into block `rank`'s shared memory, at the place where this block has `own`.
    __device__ __forceinline__ void send(float4* own, uint32_t rank, float4 value)
    {
#if __CUDA_ARCH__ >= 900
        uint32_t to;
        uint32_t counter;
        asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(to) : "r"(sharedAddress(own)), "r"(rank));
        asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(counter) : "r"(sharedAddress(&barrier)), "r"(rank));
        asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
            "f"(value.x), "f"(value.y), "f"(value.z), "f"(value.w), "r"(counter)
            : "memory");
#endif
    }

    __device__ __forceinline__ void wait()
    {
#if __CUDA_ARCH__ >= 900
        uint32_t done = 0;
        while (done == 0)
            asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], 0; selp.u32 %0, 1, 0, p; }"
                         : "=r"(done)
                         : "r"(sharedAddress(&barrier))
                         : "memory");
#endif
    }
};
} // namespace mmtrt
