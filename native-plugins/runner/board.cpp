#include "board.h"
#include <climits>
#include <cstring>
#include <ctime>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace mmtrt::runner
{
namespace
{
// The others are usually done at about the same time; after that the core is theirs.
constexpr int kLOOKS = 100;
// A wake that comes between a look and the wait is seen by the wait itself; this is for what nobody thought of.
constexpr timespec kLONGEST_WAIT{0, 100'000'000};
} // namespace

Board::Board(char* memory, int32_t members, int32_t own) noexcept
    : mCounts(reinterpret_cast<Count*>(memory))
    , mHalves(memory + members * static_cast<int64_t>(sizeof(Count)))
    , mMembers(members)
    , mOwn(own)
{
}

int64_t Board::bytesFor(int32_t members) noexcept { return members * (static_cast<int64_t>(sizeof(Count)) + 2 * kHALF_BYTES); }

char* Board::half(int32_t member, uint32_t number) const noexcept { return mHalves + (2 * int64_t{member} + number % 2) * kHALF_BYTES; }

uint32_t Board::leave(void const* piece, int64_t bytes) noexcept
{
    uint32_t const number = ++mNumber;
    for (int32_t member = 0; member < mMembers; ++member)
        if (member != mOwn)
            waitFor(member, number - 1);
    if (bytes > 0)
        std::memcpy(half(mOwn, number), piece, static_cast<size_t>(bytes));
    auto& count = mCounts[mOwn].pieces;
    count.store(number, std::memory_order_release);
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&count), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
    return number;
}

char const* Board::read(int32_t member, uint32_t number) const noexcept
{
    waitFor(member, number);
    return half(member, number);
}

// Counts go round after 2³² pieces, and members are never further apart than two.
void Board::waitFor(int32_t member, uint32_t number) const noexcept
{
    auto& count = mCounts[member].pieces;
    for (int look = 0;; ++look)
    {
        uint32_t const seen = count.load(std::memory_order_acquire);
        if (static_cast<int32_t>(seen - number) >= 0)
            return;
        if (look < kLOOKS)
            sched_yield();
        else
            syscall(SYS_futex, reinterpret_cast<uint32_t*>(&count), FUTEX_WAIT, seen, &kLONGEST_WAIT, nullptr, 0);
    }
}
} // namespace mmtrt::runner
