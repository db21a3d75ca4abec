#include "scores.h"
#include "problem.h"
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_set>

namespace mmtrt::runner
{
namespace
{
constexpr float kNEVER = -std::numeric_limits<float>::infinity();

[[noreturn]] void notNumbers()
{
    throw Failure({"NUM001", "the logits hold NaN or infinite values; expected numbers", "logits",
        "activations left the range of the engine's element type, or weights are damaged",
        "convert with --dtype bfloat16 or float32, and check the source weights"});
}

// Tokens that followed an earlier copy of the last size − 1 tokens.
void forbidRepeats(std::vector<int32_t> const& seen, int32_t size, std::vector<float>& scores)
{
    int64_t const last = static_cast<int64_t>(seen.size()) - size + 1;
    if (size == 0 || last < 0)
        return;
    for (int64_t start = 0; start < last; ++start)
    {
        int64_t same = 0;
        while (same < size - 1 && seen[static_cast<size_t>(start + same)] == seen[static_cast<size_t>(last + same)])
            ++same;
        int32_t const next = seen[static_cast<size_t>(start + same)];
        if (same == size - 1 && next >= 0 && static_cast<size_t>(next) < scores.size())
            scores[static_cast<size_t>(next)] = kNEVER;
    }
}

// Tokens that may be drawn, likeliest first. Only those that reach the k-th are sorted.
std::vector<int32_t> keptTokens(Row scores, int32_t topK)
{
    std::vector<int32_t> order(static_cast<size_t>(scores.size));
    std::iota(order.begin(), order.end(), 0);
    auto const before = [&](int32_t a, int32_t b) { return scores.values[a] != scores.values[b] ? scores.values[a] > scores.values[b] : a < b; };
    if (topK > 0 && topK < scores.size)
    {
        std::nth_element(order.begin(), order.begin() + topK - 1, order.end(), before);
        float const kth = scores.values[order[static_cast<size_t>(topK - 1)]];
        order.erase(std::remove_if(order.begin(), order.end(), [&](int32_t id) { return scores.values[id] < kth; }), order.end());
    }
    order.erase(std::remove_if(order.begin(), order.end(), [&](int32_t id) { return scores.values[id] == kNEVER; }), order.end());
    std::sort(order.begin(), order.end(), before);
    return order;
}
} // namespace

int32_t argmax(Row row)
{
    int32_t best = 0;
    float max = kNEVER;
    for (int32_t i = 0; i < row.size; ++i)
    {
        float const value = row.values[i];
        if (value > max)
        {
            max = value;
            best = i;
        }
        else if (std::isnan(value))
            notNumbers();
    }
    if (!std::isfinite(max))
        notNumbers();
    return best;
}

std::vector<float> logSoftmax(Row row)
{
    double const max = row.values[argmax(row)];
    double sum = 0;
    for (int32_t i = 0; i < row.size; ++i)
        sum += std::exp(row.values[i] - max);
    double const shift = max + std::log(sum);
    std::vector<float> scores(static_cast<size_t>(row.size));
    for (int32_t i = 0; i < row.size; ++i)
        scores[static_cast<size_t>(i)] = static_cast<float>(row.values[i] - shift);
    return scores;
}

bool adjusts(int32_t newTokens, GenerateOptions const& options) noexcept
{
    bool const forced = (newTokens == options.maxNewTokens - 1 && options.forcedEosTokenId) || (newTokens == 0 && options.forcedBosTokenId);
    return forced || options.repetitionPenalty != 1 || options.noRepeatNgramSize != 0 || newTokens < options.minNewTokens;
}

Row adjustScores(Row scores, std::vector<int32_t> const& seen, int32_t newTokens, GenerateOptions const& options, std::vector<float>& scratch)
{
    if (!adjusts(newTokens, options))
        return scores;
    auto const forced = newTokens == options.maxNewTokens - 1 && options.forcedEosTokenId ? options.forcedEosTokenId
        : newTokens == 0                                                                   ? options.forcedBosTokenId
                                                                                           : std::nullopt;
    if (forced)
    {
        scratch.assign(static_cast<size_t>(scores.size), kNEVER);
        if (*forced >= 0 && *forced < scores.size)
            scratch[static_cast<size_t>(*forced)] = 0;
        return {scratch.data(), scores.size};
    }
    std::vector<float> adjusted(scores.values, scores.values + scores.size);
    if (double const penalty = options.repetitionPenalty; penalty != 1)
        for (int32_t const id : std::unordered_set<int32_t>(seen.begin(), seen.end()))
            if (id >= 0 && id < scores.size)
            {
                double const score = scores.values[id];
                adjusted[static_cast<size_t>(id)] = static_cast<float>(score < 0 ? score * penalty : score / penalty);
            }
    forbidRepeats(seen, options.noRepeatNgramSize, adjusted);
    if (newTokens < options.minNewTokens)
        for (int32_t const id : options.eosTokenIds)
            if (id >= 0 && id < scores.size)
                adjusted[static_cast<size_t>(id)] = kNEVER;
    scratch = std::move(adjusted);
    return {scratch.data(), scores.size};
}

int32_t chooseToken(Row scores, GenerateOptions const& options, Random& random)
{
    int32_t const likeliest = argmax(scores);
    if (options.topK == 1)
        return likeliest;
    double const max = scores.values[likeliest];
    auto const kept = keptTokens(scores, options.topK);
    std::vector<double> weights;
    weights.reserve(kept.size());
    for (int32_t const id : kept)
        weights.push_back(std::exp((scores.values[id] - max) / options.temperature));
    double const total = std::accumulate(weights.begin(), weights.end(), 0.0);
    double const limit = options.topP > 0 && options.topP < 1 ? options.topP * total : total;
    size_t count = 0;
    double sum = 0;
    while (count < weights.size() && (count == 0 || sum < limit))
        sum += weights[count++];
    double left = random.next();
    for (size_t i = 0; i < count; ++i)
    {
        left -= weights[i] / sum;
        if (left < 0)
            return kept[i];
    }
    // Shares sum to 1 but for rounding.
    return kept[count - 1];
}

std::vector<Candidate> topCandidates(std::vector<double> const& scores, size_t k)
{
    std::vector<Candidate> best;
    for (size_t id = 0; id < scores.size(); ++id)
    {
        if (best.size() == k && !(scores[id] > best[k - 1].score))
            continue;
        auto place = best.end();
        while (place != best.begin() && (place - 1)->score < scores[id])
            --place;
        best.insert(place, {static_cast<int64_t>(id), scores[id]});
        if (best.size() > k)
            best.pop_back();
    }
    return best;
}
} // namespace mmtrt::runner
