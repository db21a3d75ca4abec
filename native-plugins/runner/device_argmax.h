// The likeliest token of each row, found on the GPU by the plugin library, so that a step brings a few numbers to the host and not
// all logits.
#pragma once
#include "decoding.h"
#include "library.h"
#include <optional>
#include <string>
#include <vector>

namespace mmtrt::runner
{
class DeviceArgmax
{
public:
    // Of no use on the host, or with a library without it. Throws Failure RUN052 for a library that cannot be loaded.
    DeviceArgmax(Device& device, std::string const& plugins);

    // False where the host has to look: without the kernel, or where a row holds no number that could be the largest.
    bool tokens(Decoding const& decoding, std::vector<int32_t>& tokens);

private:
    using Argmax = int32_t (*)(float const*, int32_t, int32_t, int32_t*, void*);

    Device& mDevice;
    std::optional<Library> mLibrary;
    Argmax mArgmax{nullptr};
    Buffer mTokens;
};
} // namespace mmtrt::runner
