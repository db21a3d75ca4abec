// Blocks that run together and reach into each other's shared memory. Where there are no clusters these do nothing; the host
// starts none there.
#pragma once
#include "device.cuh"

namespace mmtrt
{
// Every thread of every block of the cluster calls both in turn.
__device__ __forceinline__ void clusterArrive()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void clusterWait()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}
// Into block `rank`'s shared memory, at the place where this block has `own`.
__device__ __forceinline__ void storeInCluster(float4* own, uint32_t rank, float4 value)
{
#if __CUDA_ARCH__ >= 900
    uint32_t address;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(sharedAddress(own)), "r"(rank));
    asm volatile("st.shared::cluster.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(address), "f"(value.x), "f"(value.y), "f"(value.z), "f"(value.w)
                 : "memory");
#else
    *own = value;
#endif
}
} // namespace mmtrt
