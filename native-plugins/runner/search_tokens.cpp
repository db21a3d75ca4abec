#include "clock.h"
#include "search.h"
#include <algorithm>

namespace mmtrt::runner
{
void HostLogits::read(Decoding const& decoding)
{
    mVocab = decoding.vocab();
    if (mDevice.isHost())
    {
        mValues = decoding.logits();
        return;
    }
    mCopy.resize(static_cast<size_t>(decoding.rows()) * static_cast<size_t>(mVocab));
    mDevice.download(mCopy.data(), decoding.logits(), static_cast<int64_t>(mCopy.size() * sizeof(float)));
    mValues = mCopy.data();
}

Row HostLogits::row(int32_t row) const noexcept { return {mValues + static_cast<int64_t>(row) * mVocab, mVocab}; }

namespace
{
struct Item
{
    Item(uint64_t seed, uint64_t stream, std::vector<int32_t> const& before)
        : random(seed, stream)
        , seen(before)
    {
    }

    std::vector<int32_t> tokens;
    Random random;
    // What counts as seen, the answer's tokens included.
    std::vector<int32_t> seen;
    bool finished{false};
    bool stopped{false};
};

// Whether the likeliest token is the next one of every item that goes on.
bool takesLikeliest(std::vector<Item> const& items, GenerateOptions const& options)
{
    return options.topK == 1
        && std::none_of(items.begin(), items.end(),
            [&](Item const& item) { return !item.finished && adjusts(static_cast<int32_t>(item.tokens.size()), options); });
}

int32_t chooseToken(Item& item, Row logits, GenerateOptions const& options, std::vector<float>& scratch)
{
    return chooseToken(adjustScores(logits, item.seen, static_cast<int32_t>(item.tokens.size()), options, scratch), options, item.random);
}

// Gives an unfinished item its next token.
int32_t append(Item& item, int32_t token, GenerateOptions const& options)
{
    item.tokens.push_back(token);
    item.seen.push_back(token);
    item.stopped = options.ends(token);
    item.finished = item.stopped || static_cast<int32_t>(item.tokens.size()) >= options.maxNewTokens;
    return token;
}
} // namespace

// A row that is finished keeps its place until all are, and what it is fed is seen by nobody.
std::vector<Generated> searchTokens(Device& device, Decoding& decoding, std::vector<std::vector<int32_t>> const& seen, GenerateOptions const& options,
    SearchHooks const& hooks)
{
    std::vector<Item> items;
    for (size_t i = 0; i < seen.size(); ++i)
        items.emplace_back(options.seed, i, seen[i]);
    std::vector<bool> ended(items.size());
    std::vector<float> scratch;
    std::vector<int32_t> likeliest;
    HostLogits logits(device);
    for (;;)
    {
        hooks.poll(ended);
        for (size_t i = 0; i < items.size(); ++i)
            if (ended[i])
                items[i].finished = items[i].stopped = true;
        std::vector<int32_t> next(items.size());
        std::vector<std::pair<int32_t, int32_t>> chosen;
        bool const onDevice = hooks.likeliest && takesLikeliest(items, options) && hooks.likeliest(decoding, likeliest);
        if (!onDevice)
            logits.read(decoding);
        for (size_t i = 0; i < items.size(); ++i)
        {
            if (items[i].finished)
                continue;
            int32_t const token = onDevice ? likeliest[i] : chooseToken(items[i], logits.row(static_cast<int32_t>(i)), options, scratch);
            next[i] = append(items[i], token, options);
            chosen.emplace_back(static_cast<int32_t>(i), next[i]);
        }
        if (!chosen.empty())
            hooks.onTokens(chosen);
        if (std::all_of(items.begin(), items.end(), [](Item const& item) { return item.finished; }))
            break;
        Clock const clock;
        decoding.step(next);
        device.wait();
        hooks.onStep(clock.milliseconds());
    }
    std::vector<Generated> answers;
    for (auto& item : items)
        answers.push_back({std::move(item.tokens), item.stopped, std::nullopt});
    return answers;
}
} // namespace mmtrt::runner
