// Copies by Hopper's copy engine, which announce themselves at a barrier. Compiled for sm_90 and later alone.
#pragma once
#include "barrier.cuh"

namespace mmtrt
{
// This thread arrives, and the phase is over once so many bytes have come as well.
__device__ __forceinline__ void barrierExpect(uint32_t barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

// Barriers that were initialized are so for the copy engine too, after the block's next meeting.
__device__ __forceinline__ void fenceBarriers()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// The box of `map` (a CUtensorMap among the kernel's parameters) whose first element is in this column and row.
__device__ __forceinline__ void copyBox(uint32_t shared, void const* map, int32_t column, int32_t row, uint32_t barrier)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(shared),
                 "l"(map), "r"(column), "r"(row), "r"(barrier)
                 : "memory");
}
} // namespace mmtrt
