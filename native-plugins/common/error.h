// How host code of a plugin says what is wrong without throwing.
#pragma once
#include "abi.h"
#include <cuda_runtime_api.h>

namespace mmtrt
{
// Formats into this thread's mmtrt_last_error() and returns `status`.
int32_t failed(MmtrtStatus status, char const* format, ...) noexcept;

inline int32_t refused(char const* plugin, char const* reason) noexcept
{
    return failed(MMTRT_REFUSED, "%s: %s", plugin, reason);
}

// For the error of a launch too: cudaGetLastError() right after it.
inline int32_t checked(char const* plugin, cudaError_t error) noexcept
{
    return error == cudaSuccess ? MMTRT_OK : failed(MMTRT_CUDA, "%s: %s", plugin, cudaGetErrorString(error));
}

// Multiprocessors of the current device; asked once for each device.
int32_t multiprocessors() noexcept;
// Bytes of its L2.
int64_t cacheBytes() noexcept;
// Most bytes of shared memory of a block, and of all blocks of a multiprocessor.
int32_t blockSharedBytes() noexcept;
int32_t processorSharedBytes() noexcept;
// 90 of compute capability 9.0.
int32_t computeCapability() noexcept;
} // namespace mmtrt
