// Tokens of an image that see each other both ways, and prompts in pieces that do not cut them: src/runtime/spans.ts on this side.
#pragma once
#include "problem.h"
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace mmtrt::runner
{
// What `visual_spans` is for a prompt: how many tokens of its span are left at each token, itself counted; 0 outside of spans. All tokens of
// a prompt are one where the decoder says so, else those of an image, which have ids from `vocab` on without a word between.
inline std::vector<int32_t> spansLeft(std::vector<int32_t> const& ids, int32_t vocab, bool wholePrompt)
{
    std::vector<int32_t> left(ids.size());
    int32_t count = 0;
    for (size_t i = ids.size(); i-- > 0;)
        left[i] = count = wholePrompt || ids[i] >= vocab ? count + 1 : 0;
    return left;
}

// Whether token `index` and the one before it are of one span.
inline bool cutsSpan(std::vector<int32_t> const& left, int32_t index)
{
    return index > 0 && index < static_cast<int32_t>(left.size()) && left[static_cast<size_t>(index) - 1] > 1;
}

// Columns of the calls that take a prompt of so many, `most` at a time and fewer where a call may not begin. None is left over by itself:
// one row of numbers is multiplied by another kernel than several. Throws Failure RUN010 where a span is longer than a call.
template <typename Cuts>
std::vector<int32_t> pieceLengths(int32_t columns, int32_t most, Cuts const& cuts)
{
    std::vector<int32_t> lengths;
    for (int32_t at = 0; at < columns;)
    {
        int32_t seq = std::min(most, columns - at);
        if (columns - at - seq == 1 && seq > 2)
            --seq;
        // A span may need the column that a single one behind it was to share.
        if (cuts(at + seq))
            seq = std::min(most, columns - at);
        while (seq > 0 && cuts(at + seq))
            --seq;
        if (seq == 0)
            throw Failure({"RUN010",
                "tokens from " + std::to_string(at + 1) + " of the prompt on see each other, more than the " + std::to_string(most)
                    + " of a call; expected all of them in one",
                "the prompts", "the engine takes a prompt in pieces, and tokens of an image that came in two of them would not see each other",
                "build with a larger --max_num_tokens, or without --use_paged_context_fmha; or ask for less at once"});
        lengths.push_back(seq);
        at += seq;
    }
    return lengths;
}
} // namespace mmtrt::runner
