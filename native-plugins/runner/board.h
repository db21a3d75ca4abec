// Where a few processes leave pieces of memory for one another. A board has two halves that take turns, so that a member may write the
// next piece while others still read the last; a half is written again two pieces later, and a member that has begun the piece between
// is done with it.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace mmtrt::runner
{
class Board
{
public:
    static constexpr int64_t kHALF_BYTES = 256 * 1024;

    // `memory` is bytesFor(members), zeros at first, the same for all members.
    Board(char* memory, int32_t members, int32_t own) noexcept;

    static int64_t bytesFor(int32_t members) noexcept;

    // Leaves a piece of at most kHALF_BYTES for the others, or none, and gives the number of it.
    uint32_t leave(void const* piece, int64_t bytes) noexcept;
    // What a member has left under a number, once it is there.
    char const* read(int32_t member, uint32_t number) const noexcept;

    int32_t members() const noexcept { return mMembers; }
    int32_t own() const noexcept { return mOwn; }

private:
    // On a cache line of its own: everybody waits for it.
    struct alignas(64) Count
    {
        std::atomic<uint32_t> pieces;
    };
    static_assert(sizeof(Count) == 64 && std::atomic<uint32_t>::is_always_lock_free, "processes share it");

    void waitFor(int32_t member, uint32_t number) const noexcept;
    char* half(int32_t member, uint32_t number) const noexcept;

    Count* mCounts;
    char* mHalves;
    int32_t mMembers;
    int32_t mOwn;
    uint32_t mNumber{0};
};
} // namespace mmtrt::runner
