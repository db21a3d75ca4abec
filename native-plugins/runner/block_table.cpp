#include "block_table.h"
#include <algorithm>

namespace mmtrt::runner
{
int32_t BlockTable::width() const noexcept
{
    size_t width = 1;
    for (auto const& row : mRows)
        width = std::max(width, row.size());
    return static_cast<int32_t>(width);
}

void BlockTable::reserve(int32_t row, int32_t start, int32_t count, std::vector<BlockCopy>& copies)
{
    auto& own = mRows[static_cast<size_t>(row)];
    auto const end = static_cast<size_t>((start + count + mTokens - 1) / mTokens);
    for (auto at = static_cast<size_t>(start / mTokens); at < end; ++at)
    {
        bool const known = at < own.size();
        if (known && mUsers[static_cast<size_t>(own[at])] == 1)
            continue;
        int32_t const fresh = take();
        if (known)
        {
            release(own[at]);
            copies.push_back({own[at], fresh});
            own[at] = fresh;
        }
        else
            own.push_back(fresh);
    }
}

void BlockTable::select(std::vector<int32_t> const& rows)
{
    auto const before = std::move(mRows);
    mRows.clear();
    for (int32_t const row : rows)
        mRows.push_back(before[static_cast<size_t>(row)]);
    for (auto const& row : mRows)
        for (int32_t const block : row)
            ++mUsers[static_cast<size_t>(block)];
    for (auto const& row : before)
        for (int32_t const block : row)
            release(block);
}

std::vector<int32_t> BlockTable::table(int32_t width) const
{
    std::vector<int32_t> table(mRows.size() * static_cast<size_t>(width));
    for (size_t row = 0; row < mRows.size(); ++row)
        std::copy(mRows[row].begin(), mRows[row].end(), table.begin() + static_cast<int64_t>(row) * width);
    return table;
}

int32_t BlockTable::take()
{
    if (mFree.empty())
    {
        mUsers.push_back(1);
        return blocks() - 1;
    }
    int32_t const block = mFree.back();
    mFree.pop_back();
    mUsers[static_cast<size_t>(block)] = 1;
    return block;
}

void BlockTable::release(int32_t block)
{
    if (--mUsers[static_cast<size_t>(block)] == 0)
        mFree.push_back(block);
}
} // namespace mmtrt::runner
