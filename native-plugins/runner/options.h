// How answers are made; the meaning of each number is transformers' GenerationConfig's (src/runtime/generate/options.ts).
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mmtrt::runner
{
struct GenerateOptions
{
    int32_t maxNewTokens{30};
    int32_t minNewTokens{0};
    int32_t numBeams{1};
    // 1 is greedy; 0 does not limit.
    int32_t topK{1};
    double topP{0};
    double temperature{1};
    double repetitionPenalty{1};
    int32_t noRepeatNgramSize{0};
    double lengthPenalty{1};
    bool earlyStopping{false};
    uint64_t seed{0};
    std::vector<int32_t> eosTokenIds;
    std::optional<int32_t> forcedBosTokenId;
    std::optional<int32_t> forcedEosTokenId;

    bool ends(int32_t token) const noexcept
    {
        for (int32_t const id : eosTokenIds)
            if (id == token)
                return true;
        return false;
    }
};

struct Generated
{
    // New tokens, an end token included.
    std::vector<int32_t> tokens;
    // Otherwise max_new_tokens were made.
    bool stopped{false};
    // Of beam search alone: the sum of log probabilities with the length penalty.
    std::optional<double> score;
};
} // namespace mmtrt::runner
