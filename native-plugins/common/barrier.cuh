// Barriers in shared memory on which some warps wait for what others announce.
#pragma once
#include "device.cuh"

namespace mmtrt
{
__device__ __forceinline__ void barrierInit(uint32_t barrier, uint32_t arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void barrierArrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Whether the phase of this parity is over.
__device__ __forceinline__ bool barrierPassed(uint32_t barrier, uint32_t parity)
{
    uint32_t passed;
    asm volatile("{\n.reg .pred p;\n"
                 "mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(passed)
                 : "r"(barrier), "r"(parity)
                 : "memory");
    return passed != 0;
}

__device__ __forceinline__ void barrierWait(uint32_t barrier, uint32_t parity)
{
    while (!barrierPassed(barrier, parity))
    {
    }
}

// Registers of each thread of four warps, which the block's others give up or take.
template <uint32_t kREGISTERS>
__device__ __forceinline__ void takeRegisters()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kREGISTERS));
}
template <uint32_t kREGISTERS>
__device__ __forceinline__ void giveRegisters()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kREGISTERS));
}
} // namespace mmtrt
