// Which blocks of a pool hold each row's tokens, in order. Rows may share blocks (beams do, until they write); block 0 is nobody's
// and fills tables up. The same rules as src/runtime/paged-cache.ts.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace mmtrt::runner
{
// Block `to` becomes a copy of block `from`.
struct BlockCopy
{
    int32_t from{0};
    int32_t to{0};
};

class BlockTable
{
public:
    BlockTable(int32_t rows, int32_t tokens)
        : mTokens(tokens)
        , mRows(static_cast<size_t>(rows))
    {
    }

    // Blocks that the pool must have.
    int32_t blocks() const noexcept { return static_cast<int32_t>(mUsers.size()); }
    // Blocks of the longest row, at least 1.
    int32_t width() const noexcept;
    // Room for tokens start … start + count of a row in blocks of its own; what is to be copied for that is appended.
    void reserve(int32_t row, int32_t start, int32_t count, std::vector<BlockCopy>& copies);
    // Row i continues what row rows[i] was.
    void select(std::vector<int32_t> const& rows);
    // [rows, width]
    std::vector<int32_t> table(int32_t width) const;

private:
    int32_t take();
    void release(int32_t block);

    int32_t mTokens;
    std::vector<std::vector<int32_t>> mRows;
    // Rows that have each block.
    std::vector<int32_t> mUsers{1};
    std::vector<int32_t> mFree;
};
} // namespace mmtrt::runner
