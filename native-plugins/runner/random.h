// Uniform numbers in [0, 1): SplitMix64, each batch item with a stream of its own (src/runtime/generate/sample.ts).
#pragma once
#include <cstdint>

namespace mmtrt::runner
{
class Random
{
public:
    Random(uint64_t seed, uint64_t stream) noexcept
        : mState(mix(seed) ^ mix(stream * kGOLDEN + 1))
    {
    }

    double next() noexcept
    {
        mState += kGOLDEN;
        return static_cast<double>(mix(mState) >> 11) * 0x1p-53;
    }

private:
    static constexpr uint64_t kGOLDEN = 0x9e3779b97f4a7c15ULL;

    static uint64_t mix(uint64_t z) noexcept
    {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }

    uint64_t mState;
};
} // namespace mmtrt::runner
