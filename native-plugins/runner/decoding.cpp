#include "decoding.h"
#include "problem.h"
#include "spans.h"
#include <algorithm>
#include <utility>

namespace mmtrt::runner
{
Decoding::Decoding(Device& device, Engine& engine, DecoderFacts const& facts, int32_t rows, CacheRoom const& room, Features const* table,
    Attended attended, Course course, Links* links)
    : mDevice(device)
    , mEngine(engine)
    , mFacts(facts)
    , mAttended(std::move(attended))
    , mCourse(std::move(course))
    , mLinks(links)
    , mCache(openCache(device, engine, facts.cache, rows, room))
    , mLengths(static_cast<size_t>(rows))
    , mStarts(static_cast<size_t>(rows))
{
    if (table != nullptr)
        mTable = table->view;
    else if (engine.has("prompt_embedding_table"))
    {
        // Without images the table is one row that nobody reads.
        auto const& io = engine.find("prompt_embedding_table");
        mTable = {nullptr, io.dtype, {1, io.shape.at(1)}};
        mEmptyTable = Buffer(device, mTable.bytes(), Use::kFEATURES);
        device.zero(mEmptyTable.data(), mTable.bytes());
        mTable.data = mEmptyTable.data();
    }
}

void Decoding::bind(char const* name, HostInput& input, std::vector<int32_t> const& values, Shape shape)
{
    if (mEngine.has(name))
        mEngine.bind(name, input.set(mDevice, values, std::move(shape)));
}

void Decoding::step(std::vector<int32_t> const& tokens)
{
    std::vector<std::vector<int32_t>> each;
    each.reserve(tokens.size());
    for (int32_t const token : tokens)
        each.push_back({token});
    // Whoever asks for a step has just asked whether the request still stands.
    append(each, {},
        [&]
        {
            if (mCourse.steps)
                mCourse.steps(tokens);
        });
}

void Decoding::append(std::vector<std::vector<int32_t>> const& tokens)
{
    std::vector<std::vector<int32_t>> spans;
    if (mEngine.has("visual_spans"))
        for (auto const& own : tokens)
            spans.push_back(spansLeft(own, mFacts.vocab, mFacts.spansPrompt));
    append(tokens, spans, [this] { mCourse.mayGoOn(); });
}

template <typename Each>
void Decoding::append(std::vector<std::vector<int32_t>> const& tokens, std::vector<std::vector<int32_t>> const& spans, Each const& beforePiece)
{
    int32_t columns = 0;
    for (auto const& own : tokens)
        columns = std::max(columns, static_cast<int32_t>(own.size()));
    std::vector<int32_t> lead(tokens.size());
    auto const taken = mLengths;
    // A generation profile is for one token behind others; a prompt of one token is a prompt.
    Phase const phase = columns == 1 && mColumns > 0 ? Phase::kGENERATION : Phase::kCONTEXT;
    for (size_t row = 0; row < tokens.size(); ++row)
        lead[row] = padsLeft() ? columns - static_cast<int32_t>(tokens[row].size()) : 0;
    auto const cuts = [&](int32_t column)
    {
        for (size_t row = 0; row < spans.size(); ++row)
            if (cutsSpan(spans[row], column - lead[row]))
                return true;
        return false;
    };
    auto const lengths = pieceLengths(columns, mFacts.piece, cuts);
    for (size_t row = 0; row < tokens.size(); ++row)
    {
        mStarts[row] += lead[row];
        mLengths[row] += static_cast<int32_t>(tokens[row].size());
    }
    if (mEngine.has("logits"))
        mLogits.need(mDevice, static_cast<int64_t>(rows()) * vocab() * static_cast<int64_t>(sizeof(float)), Use::kIO);
    int32_t at = 0;
    for (int32_t const seq : lengths)
    {
        beforePiece();
        appendPiece({tokens, spans, lead, taken, at, seq}, phase);
        at += seq;
    }
}

void Decoding::appendPiece(Piece const& piece, Phase phase)
{
    std::vector<int32_t> last(piece.tokens.size());
    std::vector<int32_t> writeAt(piece.tokens.size());
    for (size_t row = 0; row < last.size(); ++row)
    {
        // Where a row's last token lies in this piece; elsewhere the logits are of no use to anybody.
        last[row] = piece.lead[row] + static_cast<int32_t>(piece.tokens[row].size()) - 1 - piece.at;
        writeAt[row] = piece.taken[row] + piece.at;
    }
    bindPlaces(piece);
    bindLogits(last, piece.seq);
    bindTable();
    if (!padsLeft())
        bind("cache_lengths", mWriteAt, writeAt, {rows()});
    for (auto const& [name, tensor] : mAttended.tensors)
        if (mEngine.has(name))
            mEngine.bind(name, tensor.view());
    mCache->prepare(mEngine, piece.seq, writeAt);
    takeOver(piece.seq);
    mEngine.run(phase);
    handOn();
    mCache->taken(piece.seq);
    mColumns += piece.seq;
    forget();
    keepLogits(last, piece.seq);
}

// Hidden states of the pipeline stage before, where there is one, and room for this one's.
void Decoding::takeOver(int32_t seq)
{
    if (mEngine.has("hidden_states_input"))
    {
        auto const& io = mEngine.find("hidden_states_input");
        View view{nullptr, io.dtype, {rows(), seq, io.shape.at(2)}};
        mHiddenIn.need(mDevice, view.bytes(), Use::kIO);
        view.data = mHiddenIn.data();
        mLinks->takeOver(view.data, view.bytes());
        mEngine.bind("hidden_states_input", view);
    }
    if (!mEngine.has("hidden_states_output"))
        return;
    auto const& io = mEngine.find("hidden_states_output");
    mHandedOn = {nullptr, io.dtype, {rows(), seq, io.shape.at(2)}};
    mHiddenOut.need(mDevice, mHandedOn.bytes(), Use::kIO);
    mHandedOn.data = mHiddenOut.data();
    mEngine.bind("hidden_states_output", mHandedOn);
}

void Decoding::handOn()
{
    if (mHandedOn.data != nullptr)
        mLinks->handOn(mHandedOn.data, mHandedOn.bytes());
}

// Ids, positions, spans and the mask of a piece; padding has 0 for all of them.
void Decoding::bindPlaces(Piece const& piece)
{
    auto const& [tokens, left, lead, taken, at, seq] = piece;
    std::vector<int32_t> ids(tokens.size() * static_cast<size_t>(seq));
    std::vector<int32_t> positions(ids.size());
    std::vector<int32_t> spans(ids.size());
    for (size_t row = 0; row < tokens.size(); ++row)
    {
        auto const end = std::min(static_cast<int32_t>(tokens[row].size()), at + seq - lead[row]);
        for (int32_t i = std::max(0, at - lead[row]); i < end; ++i)
        {
            auto const column = row * static_cast<size_t>(seq) + static_cast<size_t>(lead[row] + i - at);
            ids[column] = tokens[row][static_cast<size_t>(i)];
            positions[column] = taken[row] + i;
            if (!left.empty())
                spans[column] = left[row][static_cast<size_t>(i)];
        }
    }
    bind("input_ids", mIds, ids, {rows(), seq});
    bind("position_ids", mPositions, positions, {rows(), seq});
    bind("visual_spans", mSpans, spans, {rows(), seq});
    if (!padsLeft())
        return;
    int32_t const columns = mColumns + seq;
    std::vector<int32_t> mask(tokens.size() * static_cast<size_t>(columns), 1);
    for (size_t row = 0; row < tokens.size(); ++row)
        std::fill_n(mask.begin() + static_cast<int64_t>(row) * columns, std::min(mStarts[row], columns), 0);
    bind("attention_mask", mMask, mask, {rows(), columns});
}

void Decoding::bindLogits(std::vector<int32_t> const& last, int32_t seq)
{
    std::vector<int32_t> within(last);
    bool all = true;
    for (int32_t& index : within)
    {
        all = all && index >= 0 && index < seq;
        index = std::clamp(index, 0, seq - 1);
    }
    if (!mEngine.has("logits"))
        return;
    bind("last_token_ids", mLast, within, {rows()});
    Shape const shape{rows(), vocab()};
    View view{mLogits.data(), Dtype::kFLOAT32, shape};
    if (!all)
    {
        mCallLogits.need(mDevice, view.bytes(), Use::kIO);
        view.data = mCallLogits.data();
    }
    mEngine.bind("logits", view);
}

void Decoding::keepLogits(std::vector<int32_t> const& last, int32_t seq)
{
    auto const isWithin = [&](int32_t index) { return index >= 0 && index < seq; };
    if (!mEngine.has("logits") || std::all_of(last.begin(), last.end(), isWithin))
        return;
    int64_t const rowBytes = vocab() * static_cast<int64_t>(sizeof(float));
    for (size_t row = 0; row < last.size(); ++row)
        if (isWithin(last[row]))
            mDevice.copy(static_cast<char*>(mLogits.data()) + static_cast<int64_t>(row) * rowBytes,
                static_cast<char*>(mCallLogits.data()) + static_cast<int64_t>(row) * rowBytes, rowBytes);
}

void Decoding::bindTable()
{
    if (mTable.data == nullptr || !mEngine.has("prompt_embedding_table"))
        return;
    mEngine.bind("prompt_embedding_table", mTable);
    bind("prompt_vocab_size", mTableVocab, {std::max(1, mFacts.featuresPerImage)}, {1});
    bind("tasks", mTasks, std::vector<int32_t>(mLengths.size()), {rows(), 1});
}

void Decoding::select(std::vector<int32_t> const& rows)
{
    bool moves = rows.size() != mLengths.size();
    for (size_t row = 0; row < rows.size(); ++row)
        moves = moves || rows[row] != static_cast<int32_t>(row);
    if (!moves)
        return;
    if (mCourse.selects)
        mCourse.selects(rows);
    auto const lengths = std::move(mLengths);
    auto const starts = std::move(mStarts);
    mLengths.clear();
    mStarts.clear();
    for (int32_t const row : rows)
    {
        mLengths.push_back(lengths[static_cast<size_t>(row)]);
        mStarts.push_back(starts[static_cast<size_t>(row)]);
    }
    mCache->select(rows);
    mAttended.select(rows);
    if (!mEngine.has("logits"))
        return;
    int64_t const rowBytes = vocab() * static_cast<int64_t>(sizeof(float));
    mCallLogits.need(mDevice, rowBytes * static_cast<int64_t>(rows.size()), Use::kIO);
    copyRowsFrom(mDevice, mCallLogits.data(), mLogits.data(), rows, rowBytes);
    std::swap(mLogits, mCallLogits);
}

// Lets go of whole blocks that lie behind the sliding window of every token to come.
void Decoding::forget()
{
    if (mFacts.keeps == 0 || !padsLeft())
        return;
    int32_t const columns = (mColumns - mFacts.keeps) / mFacts.blockTokens * mFacts.blockTokens;
    if (columns <= 0)
        return;
    mCache->drop(columns);
    mColumns -= columns;
    for (int32_t& start : mStarts)
        start = std::max(0, start - columns);
}
} // namespace mmtrt::runner
