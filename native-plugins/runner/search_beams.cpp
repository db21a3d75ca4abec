#include "clock.h"
#include "search.h"
#include <algorithm>
#include <cmath>

namespace mmtrt::runner
{
namespace
{
// Stands for "impossible", as in transformers: finite, so that sums of two stay ordered.
constexpr double kNEVER = -1e9;

struct Beam
{
    std::vector<int32_t> tokens;
    double score{0};
    // Row of the decoding that holds its cache.
    int32_t row{0};
};

struct Hypothesis
{
    std::vector<int32_t> tokens;
    double score{kNEVER};
    bool finished{false};
};

// The beams of one batch item.
struct Item
{
    std::vector<Beam> running;
    std::vector<Hypothesis> finished;
    bool done{false};
};

class BeamSearch
{
public:
    BeamSearch(Device& device, Decoding& decoding, std::vector<std::vector<int32_t>> const& seen, GenerateOptions const& options, SearchHooks const& hooks)
        : mDevice(device)
        , mDecoding(decoding)
        , mSeen(seen)
        , mOptions(options)
        , mHooks(hooks)
        , mLogits(device)
    {
    }

    std::vector<Generated> run()
    {
        begin();
        std::vector<bool> ended(mItems.size());
        for (int32_t length = 1;; ++length)
        {
            mHooks.poll(ended);
            mLogits.read(mDecoding);
            for (size_t i = 0; i < mItems.size(); ++i)
                if (!mItems[i].done)
                    advance(i, length);
            if (std::all_of(mItems.begin(), mItems.end(), [](Item const& item) { return item.done; }))
                break;
            step();
        }
        std::vector<Generated> answers;
        for (size_t i = 0; i < mItems.size(); ++i)
        {
            auto& best = mItems[i].finished[0];
            bool const stopped = ends(i, {best.tokens})[0];
            answers.push_back({std::move(best.tokens), stopped, best.score});
        }
        return answers;
    }

private:
    // All beams begin alike, so only the first may be continued, or the candidates would be copies of each other.
    void begin()
    {
        std::vector<int32_t> rows;
        for (size_t i = 0; i < mSeen.size(); ++i)
        {
            Item item;
            item.finished.resize(static_cast<size_t>(mOptions.numBeams));
            for (int32_t k = 0; k < mOptions.numBeams; ++k)
            {
                item.running.push_back({{}, k == 0 ? 0 : kNEVER, static_cast<int32_t>(rows.size())});
                rows.push_back(static_cast<int32_t>(i));
            }
            mItems.push_back(std::move(item));
        }
        mDecoding.select(rows);
    }

    void step()
    {
        std::vector<int32_t> rows;
        std::vector<int32_t> tokens;
        for (auto& item : mItems)
            for (auto& beam : item.running)
            {
                rows.push_back(beam.row);
                tokens.push_back(beam.tokens.back());
                beam.row = static_cast<int32_t>(rows.size() - 1);
            }
        Clock const clock;
        mDecoding.select(rows);
        mDecoding.step(tokens);
        mDevice.wait();
        mHooks.onStep(clock.milliseconds());
    }

    // One more token: `length` counts the new tokens, this one included.
    void advance(size_t at, int32_t length)
    {
        auto& item = mItems[at];
        auto const candidates = bestContinuations(at);
        std::vector<std::vector<int32_t>> answers;
        for (auto const& candidate : candidates)
            answers.push_back(candidate.tokens);
        auto hits = ends(at, answers);
        if (length >= mOptions.maxNewTokens)
            hits.assign(hits.size(), true);
        bool const full = std::all_of(item.finished.begin(), item.finished.end(), [](Hypothesis const& one) { return one.finished; });
        if (!(mOptions.earlyStopping && full))
            keepBest(item, candidates, hits, length);
        item.running = candidates;
        for (size_t i = 0; i < hits.size(); ++i)
            item.running[i].score += hits[i] ? kNEVER : 0;
        std::stable_sort(item.running.begin(), item.running.end(), [](Beam const& a, Beam const& b) { return a.score > b.score; });
        item.running.resize(std::min(item.running.size(), static_cast<size_t>(mOptions.numBeams)));
        item.done = std::all_of(hits.begin(), hits.end(), [](bool hit) { return hit; }) || isDone(item, length);
    }

    std::vector<Beam> bestContinuations(size_t at)
    {
        auto const& item = mItems[at];
        auto const vocab = static_cast<size_t>(mDecoding.vocab());
        std::vector<double> all(item.running.size() * vocab);
        for (size_t k = 0; k < item.running.size(); ++k)
        {
            auto const& beam = item.running[k];
            auto const logProbs = logSoftmax(mLogits.row(beam.row));
            auto seen = mSeen[at];
            seen.insert(seen.end(), beam.tokens.begin(), beam.tokens.end());
            Row const row{logProbs.data(), mDecoding.vocab()};
            Row const scores = adjustScores(row, seen, static_cast<int32_t>(beam.tokens.size()), mOptions, mScratch);
            for (size_t id = 0; id < vocab; ++id)
                all[k * vocab + id] = static_cast<double>(scores.values[id]) + beam.score;
        }
        auto const count = std::max<size_t>(2, 1 + mOptions.eosTokenIds.size()) * static_cast<size_t>(mOptions.numBeams);
        std::vector<Beam> best;
        for (auto const& [id, score] : topCandidates(all, std::min(count, all.size())))
        {
            auto const& beam = item.running[static_cast<size_t>(id) / vocab];
            best.push_back({beam.tokens, score, beam.row});
            best.back().tokens.push_back(static_cast<int32_t>(static_cast<size_t>(id) % vocab));
        }
        return best;
    }

    // Only the first num_beams candidates may end: the rest are there to continue.
    void keepBest(Item& item, std::vector<Beam> const& candidates, std::vector<bool> const& hits, int32_t length) const
    {
        auto const count = std::min(candidates.size(), static_cast<size_t>(mOptions.numBeams));
        for (size_t i = 0; i < count; ++i)
            if (hits[i])
                item.finished.push_back({candidates[i].tokens, candidates[i].score / std::pow(length, mOptions.lengthPenalty), true});
        std::stable_sort(item.finished.begin(), item.finished.end(), [](Hypothesis const& a, Hypothesis const& b) { return a.score > b.score; });
        item.finished.resize(static_cast<size_t>(mOptions.numBeams));
    }

    // The best running beam could not, at its present length, beat the worst finished one.
    bool isDone(Item const& item, int32_t length) const
    {
        if (!std::all_of(item.finished.begin(), item.finished.end(), [](Hypothesis const& one) { return one.finished; }))
            return false;
        return mOptions.earlyStopping || item.running[0].score / std::pow(length, mOptions.lengthPenalty) <= item.finished.back().score;
    }

    std::vector<bool> ends(size_t at, std::vector<std::vector<int32_t>> const& answers) const
    {
        std::vector<bool> ended = mHooks.endsAnswer ? mHooks.endsAnswer(static_cast<int32_t>(at), answers) : std::vector<bool>(answers.size());
        for (size_t i = 0; i < answers.size(); ++i)
            ended[i] = ended[i] || (!answers[i].empty() && mOptions.ends(answers[i].back()));
        return ended;
    }

    Device& mDevice;
    Decoding& mDecoding;
    std::vector<std::vector<int32_t>> const& mSeen;
    GenerateOptions const& mOptions;
    SearchHooks const& mHooks;
    HostLogits mLogits;
    std::vector<float> mScratch;
    std::vector<Item> mItems;
};
} // namespace

std::vector<Generated> searchBeams(Device& device, Decoding& decoding, std::vector<std::vector<int32_t>> const& seen, GenerateOptions const& options,
    SearchHooks const& hooks)
{
    return BeamSearch(device, decoding, seen, options, hooks).run();
}
} // namespace mmtrt::runner
