// What the message `generate` asks for.
#pragma once
#include "frame.h"
#include "options.h"
#include <algorithm>
#include <vector>

namespace mmtrt::runner
{
struct GenerateRequest
{
    // Ids ≥ vocab_size are rows of the prompt table; for an encoder-decoder without text each is empty.
    std::vector<std::vector<int32_t>> prompts;
    // What counts as seen before an answer: the prompt with its placeholders, or the start token.
    std::vector<std::vector<int32_t>> seen;
    // Each row's adapter; −1 is none.
    std::vector<int32_t> tasks;
    GenerateOptions options;
    // Pictures, or their tiles, of all ranks together.
    int64_t images{0};
    // Of this rank's share of them: [share, channels, height, width] in float32, a piece of the message.
    Shape pixelShape;
    float const* pixels{nullptr};
};

// Neighbours stay together; shares differ by one at most, the larger ones first (src/runtime/visual/encode.ts `sharesOf`).
struct ImageShare
{
    ImageShare(int64_t images, int32_t rank, int32_t ranks) noexcept
        : first(rank * (images / ranks) + std::min<int64_t>(rank, images % ranks))
        , count(images / ranks + (rank < images % ranks ? 1 : 0))
    {
    }
    int64_t first;
    int64_t count;
};

// Throws Failure RUN050.
GenerateRequest readRequest(Frame const& frame);
int64_t requestId(Frame const& frame);
} // namespace mmtrt::runner
