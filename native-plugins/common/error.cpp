#include "error.h"
#include <array>
#include <atomic>
#include <cstdarg>
#include <cstdio>

namespace mmtrt
{
namespace
{
thread_local std::array<char, 512> tMessage{};
constexpr int32_t kMAX_DEVICES = 64;
using Answers = std::array<std::atomic<int32_t>, kMAX_DEVICES>;
Answers gMultiprocessors{};
Answers gCacheBytes{};
Answers gBlockShared{};
Answers gProcessorShared{};
Answers gMajor{};
Answers gMinor{};

// Without a device the launch that follows says so; until then any number serves to plan with. Kept as value + 1: 0 is not asked.
int32_t ask(Answers& answers, cudaDeviceAttr attribute) noexcept
{
    int32_t device = 0;
    if (cudaGetDevice(&device) != cudaSuccess || device >= kMAX_DEVICES)
        return 1;
    int32_t value = answers[device].load(std::memory_order_relaxed);
    if (value > 0)
        return value - 1;
    if (cudaDeviceGetAttribute(&value, attribute, device) != cudaSuccess || value < 0)
        return 1;
    answers[device].store(value + 1, std::memory_order_relaxed);
    return value;
}
} // namespace

int32_t failed(MmtrtStatus status, char const* format, ...) noexcept
{
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(tMessage.data(), tMessage.size(), format, arguments);
    va_end(arguments);
    return status;
}

int32_t multiprocessors() noexcept
{
    return ask(gMultiprocessors, cudaDevAttrMultiProcessorCount);
}

int64_t cacheBytes() noexcept
{
    return ask(gCacheBytes, cudaDevAttrL2CacheSize);
}

int32_t blockSharedBytes() noexcept
{
    return ask(gBlockShared, cudaDevAttrMaxSharedMemoryPerBlockOptin);
}

int32_t processorSharedBytes() noexcept
{
    return ask(gProcessorShared, cudaDevAttrMaxSharedMemoryPerMultiprocessor);
}

int32_t computeCapability() noexcept
{
    return ask(gMajor, cudaDevAttrComputeCapabilityMajor) * 10 + ask(gMinor, cudaDevAttrComputeCapabilityMinor);
}
} // namespace mmtrt

extern "C" char const* mmtrt_last_error(void)
{
    return mmtrt::tMessage.data();
}
