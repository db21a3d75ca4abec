// What a user can lower, and to what, so that a request fits in memory.
#pragma once
#include "cache.h"
#include <algorithm>
#include <string>

namespace mmtrt::runner
{
struct RequestRoom
{
    // Tokens of the longest prompt.
    int64_t prompt{0};
    int64_t batch{0};
    int64_t beams{1};
    int64_t newTokens{0};
};

// For keys and values that do not fit in `available` bytes: each parameter by itself.
inline std::string cacheAdvice(CacheSize const& size, int64_t available, RequestRoom const& asked)
{
    int64_t const tokens = size.fixedTokens > 0 ? size.fixedTokens : asked.prompt + asked.newTokens - 1;
    int64_t const rows = available / std::max<int64_t>(1, tokens * size.tokenBytes);
    int64_t const longest = available / std::max<int64_t>(1, asked.batch * asked.beams * size.tokenBytes);
    int64_t const newTokens = longest - asked.prompt + 1;
    std::string advice;
    auto const lower = [&](char const* name, int64_t to, int64_t from)
    {
        if (to >= 1 && to < from)
            advice += (advice.empty() ? "lower " : ", or ") + std::string(name) + " from " + std::to_string(from) + " to " + std::to_string(to);
    };
    if (size.fixedTokens == 0)
        lower("--max_new_tokens", newTokens, asked.newTokens);
    lower("--batch_size", rows / asked.beams, asked.batch);
    lower("--num_beams", rows / asked.batch, asked.beams);
    if (!advice.empty())
        return advice;
    return "one row of " + std::to_string(tokens) + " tokens does not fit: build with a smaller --max_seq_len, an 8-bit cache (--int8_kv_cache at "
           "convert), or more ranks (--tp_size)";
}
} // namespace mmtrt::runner
