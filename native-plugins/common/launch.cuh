// A kernel that begins beside the end of the one before it in the stream, and waits for that where it says so. Before SM 90 it
// begins afterwards, and the two instructions do nothing.
#pragma once
#include "error.h"
#include <cstdint>
#include <cuda_runtime.h>

namespace mmtrt
{
template <typename Argument>
cudaError_t launchBeside(
    void (*kernel)(Argument), dim3 grid, int32_t threads, int32_t sharedBytes, cudaStream_t stream, Argument const& argument) noexcept
{
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = dim3(static_cast<uint32_t>(threads));
    config.dynamicSmemBytes = static_cast<size_t>(sharedBytes);
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = computeCapability() >= 90 ? 1 : 0;
    return cudaLaunchKernelEx(&config, kernel, argument);
}

// The kernel before has ended, and what it wrote is visible.
__device__ __forceinline__ void waitForKernelBefore()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next kernel may begin once every block has said so, or has ended.
__device__ __forceinline__ void letNextKernelBegin()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
} // namespace mmtrt
