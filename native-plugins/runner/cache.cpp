#include "cache.h"
#include "block_table.h"
#include "problem.h"
#include "rows.h"
#include <algorithm>
#include <utility>

namespace mmtrt::runner
{
namespace
{
bool startsWith(std::string const& name, char const* beginning) { return name.rfind(beginning, 0) == 0; }

// Inputs that are keys and values of earlier tokens.
std::vector<IoFacts> inputsOf(Engine const& engine)
{
    std::vector<IoFacts> inputs;
    for (auto const& value : engine.io())
        if (value.isInput && (startsWith(value.name, "past_") || startsWith(value.name, "cache_key_") || startsWith(value.name, "cache_value_")))
        {
            if (value.shape.size() != 4 || value.shape[1] <= 0 || value.shape[3] <= 0)
                throw Failure({"RUN057", value.name + " has the shape " + show(value.shape) + "; [rows, kv_heads, tokens, head_dim] is expected", value.name,
                    "keys and values are kept by head", "build the engine again"});
            inputs.push_back(value);
        }
    return inputs;
}

// past_key_0 → present_key_0: two buffers a tensor, which take turns, because what a call reads and what it writes have different
// strides.
class ContinuousCache final : public Cache
{
public:
    ContinuousCache(Device& device, Engine const& engine, int32_t rows, CacheRoom const& room)
        : mDevice(device)
        , mRows(rows)
        , mRoom(room)
    {
        for (auto const& input : inputsOf(engine))
            mParts.push_back({input, "present_" + input.name.substr(5), {}, {}});
    }

    void prepare(Engine& engine, int32_t seq, std::vector<int32_t> const&) override
    {
        for (auto& part : mParts)
        {
            // The first call knows how large it will get at most, as long as its rows are not multiplied.
            int64_t const columns = std::max<int64_t>(mColumns + seq, mRows == mRoom.rows ? mRoom.tokens : 0);
            part.next.need(mDevice, mRows * columns * part.columnBytes(), Use::kCACHE);
            part.now.need(mDevice, 1, Use::kCACHE);
            auto const& [dtype, shape] = std::pair{part.input.dtype, part.input.shape};
            engine.bind(part.input.name, {part.now.data(), dtype, {mRows, shape[1], mColumns, shape[3]}});
            engine.bind(part.output, {part.next.data(), dtype, {mRows, shape[1], mColumns + seq, shape[3]}});
        }
    }

    void taken(int32_t seq) override
    {
        mColumns += seq;
        for (auto& part : mParts)
            std::swap(part.now, part.next);
    }

    void select(std::vector<int32_t> const& rows) override
    {
        auto const count = static_cast<int64_t>(rows.size());
        for (auto& part : mParts)
        {
            int64_t const rowBytes = mColumns * part.columnBytes();
            part.next.need(mDevice, count * std::max<int64_t>(mColumns, count == mRoom.rows ? mRoom.tokens : 0) * part.columnBytes(), Use::kCACHE);
            copyRowsFrom(mDevice, part.next.data(), part.now.data(), rows, rowBytes);
            std::swap(part.now, part.next);
        }
        mRows = count;
    }

    void drop(int32_t columns) override
    {
        int64_t const left = mColumns - columns;
        for (auto& part : mParts)
        {
            int64_t const bytes = part.input.shape[3] * bytesOf(part.input.dtype);
            part.next.need(mDevice, mRows * left * part.columnBytes(), Use::kCACHE);
            mDevice.copyRows(part.next.data(), left * bytes, static_cast<char const*>(part.now.data()) + columns * bytes, mColumns * bytes, left * bytes,
                mRows * part.input.shape[1]);
            std::swap(part.now, part.next);
        }
        mColumns = left;
    }

private:
    struct Part
    {
        IoFacts input;
        std::string output;
        Buffer now;
        Buffer next;

        // Of one column of one row over all heads.
        int64_t columnBytes() const { return input.shape[1] * input.shape[3] * bytesOf(input.dtype); }
    };

    Device& mDevice;
    int64_t mRows;
    CacheRoom mRoom;
    int64_t mColumns{0};
    std::vector<Part> mParts;
};

// cache_key_0 → cache_key_0_out, one buffer for both.
class StaticCache final : public Cache
{
public:
    StaticCache(Device& device, Engine const& engine, int32_t rows)
    {
        for (auto const& input : inputsOf(engine))
        {
            Shape shape = input.shape;
            shape[0] = rows;
            mParts.emplace_back(input.name, RowTensor(device, input.dtype, shape, Use::kCACHE));
            // What no token was written to is multiplied by a probability of 0, so it must be a number.
            device.zero(mParts.back().second.view().data, mParts.back().second.view().bytes());
        }
    }

    void prepare(Engine& engine, int32_t, std::vector<int32_t> const&) override
    {
        for (auto const& [name, tensor] : mParts)
        {
            engine.bind(name, tensor.view());
            engine.bind(name + "_out", tensor.view());
        }
    }

    void taken(int32_t) override {}
    void drop(int32_t) override {}

    void select(std::vector<int32_t> const& rows) override
    {
        for (auto& part : mParts)
            part.second.select(rows);
    }

private:
    std::vector<std::pair<std::string, RowTensor>> mParts;
};

// Pools of blocks, updated in place, and the table by which the graph finds a row's tokens.
class PagedCache final : public Cache
{
public:
    PagedCache(Device& device, Engine const& engine, int32_t rows, CacheRoom const& room)
        : mDevice(device)
        , mRows(rows)
        , mTokens(0)
        , mTable(rows, 1)
    {
        for (auto const& input : inputsOf(engine))
            mParts.push_back({input, {}});
        mTokens = mParts.empty() ? 1 : mParts[0].input.shape[2];
        mTable = BlockTable(rows, static_cast<int32_t>(mTokens));
        int64_t const longest = (room.tokens + mTokens - 1) / mTokens;
        // The whole pool from the start, and tables of one width, so that steps can be recorded; a CPU would pay for the width at every
        // step.
        mWidth = room.whole ? longest : 0;
        grow(1 + (room.whole ? room.rows * longest : 0));
    }

    void prepare(Engine& engine, int32_t seq, std::vector<int32_t> const& writeAt) override
    {
        std::vector<BlockCopy> copies;
        for (size_t row = 0; row < writeAt.size(); ++row)
            mTable.reserve(static_cast<int32_t>(row), writeAt[row], seq, copies);
        if (mTable.blocks() > mBlocks)
            grow(std::max<int64_t>(mTable.blocks(), mBlocks + mBlocks / 2));
        for (auto const& part : mParts)
        {
            int64_t const bytes = part.blockBytes();
            auto* const pool = static_cast<char*>(part.pool.data());
            for (auto const& [from, to] : copies)
                mDevice.copy(pool + to * bytes, pool + from * bytes, bytes);
            Shape const shape{mBlocks, part.input.shape[1], mTokens, part.input.shape[3]};
            engine.bind(part.input.name, {part.pool.data(), part.input.dtype, shape});
            engine.bind(part.input.name + "_out", {part.pool.data(), part.input.dtype, shape});
        }
        int64_t const width = std::max<int64_t>(mTable.width(), mWidth);
        engine.bind("block_table", mTableInput.set(mDevice, mTable.table(static_cast<int32_t>(width)), {mRows, width}));
    }

    void taken(int32_t) override {}
    void drop(int32_t) override {}

    void select(std::vector<int32_t> const& rows) override
    {
        mRows = static_cast<int64_t>(rows.size());
        mTable.select(rows);
    }

private:
    struct Part
    {
        IoFacts input;
        Buffer pool;

        int64_t blockBytes() const { return input.shape[1] * input.shape[2] * input.shape[3] * bytesOf(input.dtype); }
    };

    // Pools of so many blocks; new ones are zeros, as in a static cache.
    void grow(int64_t blocks)
    {
        for (auto& part : mParts)
        {
            int64_t const bytes = part.blockBytes();
            Buffer larger(mDevice, blocks * bytes, Use::kCACHE);
            if (mBlocks > 0)
                mDevice.copy(larger.data(), part.pool.data(), mBlocks * bytes);
            mDevice.zero(static_cast<char*>(larger.data()) + mBlocks * bytes, (blocks - mBlocks) * bytes);
            part.pool = std::move(larger);
        }
        mBlocks = blocks;
    }

    Device& mDevice;
    int64_t mRows;
    int64_t mTokens;
    BlockTable mTable;
    HostInput mTableInput;
    int64_t mWidth{0};
    int64_t mBlocks{0};
    std::vector<Part> mParts;
};
} // namespace

CacheSize cacheSize(Engine const& engine, CacheKind kind)
{
    CacheSize size;
    for (auto const& input : inputsOf(engine))
    {
        size.tokenBytes += input.shape[1] * input.shape[3] * bytesOf(input.dtype) * (kind == CacheKind::kCONTINUOUS ? 2 : 1);
        size.fixedTokens = kind == CacheKind::kSTATIC ? std::max<int64_t>(1, input.shape[2]) : 0;
    }
    return size;
}

CacheKind cacheKindOf(std::string const& name)
{
    if (name == "continuous")
        return CacheKind::kCONTINUOUS;
    if (name == "static")
        return CacheKind::kSTATIC;
    if (name == "paged")
        return CacheKind::kPAGED;
    refuseMessage("a cache is called " + name.substr(0, 40));
}

std::unique_ptr<Cache> openCache(Device& device, Engine const& engine, CacheKind kind, int32_t rows, CacheRoom const& room)
{
    switch (kind)
    {
    case CacheKind::kSTATIC: return std::make_unique<StaticCache>(device, engine, rows);
    case CacheKind::kPAGED: return std::make_unique<PagedCache>(device, engine, rows, room);
    case CacheKind::kCONTINUOUS: break;
    }
    return std::make_unique<ContinuousCache>(device, engine, rows, room);
}
} // namespace mmtrt::runner
