#include "decoding.h"
#include "problem.h"
#include <algorithm>
#include <utility>

namespace mmtrt::runner
{
namespace
{
// Columns of the next call, so that none is left over by itself: one row of numbers is multiplied by another kernel than several.
int32_t pieceLength(int32_t left, int32_t piece) noexcept
{
    int32_t const seq = std::min(piece, left);
    return left - seq == 1 && seq > 2 ? seq - 1 : seq;
}
} // namespace

Decoding::Decoding(Device& device, Engine& engine, DecoderFacts const& facts, int32_t rows, CacheRoom const& room, Features const* table,
    Attended attended, std::function<void()> beforeCall)
    : mDevice(device)
    , mEngine(engine)
    , mFacts(facts)
    , mAttended(std::move(attended))
    , mBeforeCall(std::move(beforeCall))
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
    append(each);
}

void Decoding::append(std::vector<std::vector<int32_t>> const& tokens)
{
    int32_t columns = 0;
    for (auto const& own : tokens)
        columns = std::max(columns, static_cast<int32_t>(own.size()));
    std::vector<int32_t> lead(tokens.size());
    auto const taken = mLengths;
    // A generation profile is for one token behind others; a prompt of one token is a prompt.
    Phase const phase = columns == 1 && mColumns > 0 ? Phase::kGENERATION : Phase::kCONTEXT;
    for (size_t row = 0; row < tokens.size(); ++row)
    {
        auto const length = static_cast<int32_t>(tokens[row].size());
        lead[row] = padsLeft() ? columns - length : 0;
        mStarts[row] += lead[row];
        mLengths[row] += length;
    }
    mLogits.need(mDevice, static_cast<int64_t>(rows()) * vocab() * static_cast<int64_t>(sizeof(float)), Use::kIO);
    for (int32_t at = 0, seq = 0; at < columns; at += seq)
    {
        mBeforeCall();
        seq = pieceLength(columns - at, mFacts.piece);
        appendPiece({tokens, lead, taken, at, seq}, phase);
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
    mEngine.run(phase);
    mCache->taken(piece.seq);
    mColumns += piece.seq;
    forget();
    keepLogits(last, piece.seq);
}

// Ids, positions and the mask of a piece; padding has 0 for all three.
void Decoding::bindPlaces(Piece const& piece)
{
    auto const& [tokens, lead, taken, at, seq] = piece;
    std::vector<int32_t> ids(tokens.size() * static_cast<size_t>(seq));
    std::vector<int32_t> positions(ids.size());
    for (size_t row = 0; row < tokens.size(); ++row)
    {
        auto const end = std::min(static_cast<int32_t>(tokens[row].size()), at + seq - lead[row]);
        for (int32_t i = std::max(0, at - lead[row]); i < end; ++i)
        {
            auto const column = row * static_cast<size_t>(seq) + static_cast<size_t>(lead[row] + i - at);
            ids[column] = tokens[row][static_cast<size_t>(i)];
            positions[column] = taken[row] + i;
        }
    }
    bind("input_ids", mIds, ids, {rows(), seq});
    bind("position_ids", mPositions, positions, {rows(), seq});
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
    if (std::all_of(last.begin(), last.end(), isWithin))
        return;
    int64_t const rowBytes = vocab() * static_cast<int64_t>(sizeof(float));
    for (size_t row = 0; row < last.size(); ++row)
        if (isWithin(last[row]))
            mDevice.copy(static_cast<char*>(mLogits.data()) + static_cast<int64_t>(row) * rowBytes,
                static_cast<char*>(mCallLogits.data()) + static_cast<int64_t>(row) * rowBytes, rowBytes);
}

void Decoding::bindTable()
{
    if (mTable.data == nullptr)
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
