// Sequences being decoded, with their cache, over the decoder of DESIGN §5: where each token lies, its position, what it sees. The
// same rules as src/runtime/decoding.ts and calls.ts, so that a call has the same numbers in it.
#pragma once
#include "attended.h"
#include "cache.h"
#include "course.h"
#include "links.h"
#include <cstdint>
#include <memory>
#include <vector>

namespace mmtrt::runner
{
struct DecoderFacts
{
    CacheKind cache{CacheKind::kCONTINUOUS};
    int32_t vocab{0};
    // Most columns in one call; prompts are cut into pieces of it.
    int32_t piece{INT32_MAX};
    // Tokens of a block: what is dropped behind the window.
    int32_t blockTokens{64};
    // Cached columns that a later token may see; 0: all.
    int32_t keeps{0};
    // Tokens of the longest row that the engine has room for.
    int64_t mostTokens{0};
    // A prompt's tokens all see each other, and not only an image's; of decoders with `visual_spans`.
    bool spansPrompt{false};
    // Rows that a task of the prompt table has.
    int32_t featuresPerImage{1};
};

class Decoding
{
public:
    // `table` is empty where there are no images, `links` where the model is of one rank.
    Decoding(Device& device, Engine& engine, DecoderFacts const& facts, int32_t rows, CacheRoom const& room, Features const* table, Attended attended,
        Course course, Links* links);

    int32_t rows() const noexcept { return static_cast<int32_t>(mLengths.size()); }
    int32_t vocab() const noexcept { return mFacts.vocab; }
    // [rows, vocab] in the device's memory: those after each row's last token. Of the last pipeline stage.
    float const* logits() const noexcept { return static_cast<float const*>(mLogits.data()); }

    // Appends tokens to each row, in pieces. Rows may differ in length where nothing was taken yet.
    void append(std::vector<std::vector<int32_t>> const& tokens);
    // Appends one token to each row.
    void step(std::vector<int32_t> const& tokens);
    // Row i continues what row rows[i] was.
    void select(std::vector<int32_t> const& rows);

private:
    // Columns at … at + seq of the tokens that are appended, each row's after `lead` columns of padding.
    struct Piece
    {
        std::vector<std::vector<int32_t>> const& tokens;
        // Of each token, `visual_spans`; empty where none see each other.
        std::vector<std::vector<int32_t>> const& spans;
        std::vector<int32_t> const& lead;
        // Tokens each row had before.
        std::vector<int32_t> const& taken;
        int32_t at;
        int32_t seq;
    };

    template <typename Each>
    void append(std::vector<std::vector<int32_t>> const& tokens, std::vector<std::vector<int32_t>> const& spans, Each const& beforePiece);
    void appendPiece(Piece const& piece, Phase phase);
    void bindPlaces(Piece const& piece);
    void takeOver(int32_t seq);
    void handOn();
    void bindLogits(std::vector<int32_t> const& last, int32_t seq);
    void bindTable();
    void keepLogits(std::vector<int32_t> const& last, int32_t seq);
    void forget();

    bool padsLeft() const noexcept { return mFacts.cache == CacheKind::kCONTINUOUS; }
    void bind(char const* name, HostInput& input, std::vector<int32_t> const& values, Shape shape);

    Device& mDevice;
    Engine& mEngine;
    DecoderFacts const& mFacts;
    Attended mAttended;
    Course mCourse;
    Links* mLinks;
    std::unique_ptr<Cache> mCache;
    std::vector<int32_t> mLengths;
    // For each row the first cached column that is not padding.
    std::vector<int32_t> mStarts;
    int32_t mColumns{0};
    Buffer mLogits;
    Buffer mCallLogits;
    Buffer mEmptyTable;
    // What comes from the pipeline stage before, and goes to the next.
    Buffer mHiddenIn, mHiddenOut;
    View mHandedOn;
    View mTable;
    HostInput mIds, mPositions, mSpans, mLast, mMask, mWriteAt, mTasks, mTableVocab;
};
} // namespace mmtrt::runner
