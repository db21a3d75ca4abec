// What a rank has of its group, and NCCL's few functions, found when a group is connected.
#pragma once
#include "group.h"
#include <cuda_runtime_api.h>

namespace mmtrt::allReduce
{
// Two halves take turns, so that a rank may write the next message while others still read the last.
inline constexpr int64_t kHALF_BYTES = 512 * 1024;
// All of them in every call: a block's messages then go by the same half on every rank.
inline constexpr int32_t kBLOCKS = 32;
// A flag for each block and rank, 128 bytes apart, then each block's count of messages.
inline constexpr int64_t kFLAG_BYTES = 128;
inline constexpr int64_t kCONTROL_BYTES = (MMTRT_MOST_RANKS + 1) * kBLOCKS * kFLAG_BYTES;

struct Peers
{
    char* buffers[MMTRT_MOST_RANKS];
    int32_t rank;
    int32_t size;
};

// Null where the group is not connected on the current device.
Peers const* peersOf(int32_t group) noexcept;
// Sums `count` elements by NCCL; MmtrtStatus.
int32_t sumByNccl(
    char const* plugin, int32_t group, void const* x, void* y, int64_t count, int32_t dtype, cudaStream_t stream) noexcept;
} // namespace mmtrt::allReduce
