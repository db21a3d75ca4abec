// Greedy search, sampling and beam search over a decoding: src/runtime/generate/{greedy,beam}.ts on this side of the protocol.
#pragma once
#include "decoding.h"
#include "options.h"
#include "scores.h"
#include <functional>
#include <utility>
#include <vector>

namespace mmtrt::runner
{
struct SearchHooks
{
    // Item and token, for each that was chosen in a step; not called by beam search, which may take tokens back.
    std::function<void(std::vector<std::pair<int32_t, int32_t>> const&)> onTokens;
    // After each decode step.
    std::function<void(double milliseconds)> onStep;
    // Each row's likeliest token, as the device finds it; false, or empty, where the host has to look at the logits.
    std::function<bool(Decoding const&, std::vector<int32_t>& tokens)> likeliest;
    // Before each step; may throw to stop. Items whose text is complete, besides end tokens, are set in `ended`.
    std::function<void(std::vector<bool>& ended)> poll;
    // Whether answers of an item are complete, besides end tokens; empty where nobody wants to be asked. Of beam search alone.
    std::function<std::vector<bool>(int32_t item, std::vector<std::vector<int32_t>> const& answers)> endsAnswer;
};

// The logits of all rows as the host sees them; read once a step.
class HostLogits
{
public:
    explicit HostLogits(Device& device) noexcept
        : mDevice(device)
    {
    }

    void read(Decoding const& decoding);
    Row row(int32_t row) const noexcept;

private:
    Device& mDevice;
    std::vector<float> mCopy;
    float const* mValues{nullptr};
    int32_t mVocab{0};
};

// `seen` are the tokens that count as seen before each item's answer.
std::vector<Generated> searchTokens(Device& device, Decoding& decoding, std::vector<std::vector<int32_t>> const& seen, GenerateOptions const& options,
    SearchHooks const& hooks);
std::vector<Generated> searchBeams(Device& device, Decoding& decoding, std::vector<std::vector<int32_t>> const& seen, GenerateOptions const& options,
    SearchHooks const& hooks);
} // namespace mmtrt::runner
