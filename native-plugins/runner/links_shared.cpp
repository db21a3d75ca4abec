// Links through shared memory, cut into pieces that a board holds.
#include "board.h"
#include "links.h"
#include "problem.h"
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <sys/mman.h>
#include <unistd.h>

namespace mmtrt::runner
{
namespace
{
// Boards in the shared memory: of all ranks, of each stage, and between each rank and the one in its place of the next stage.
struct Layout
{
    explicit Layout(RankPlace const& place)
        : tpSize(place.tpSize)
        , ppSize(place.ppSize)
    {
    }

    int64_t all() const { return 0; }
    int64_t stage(int32_t at) const { return Board::bytesFor(tpSize * ppSize) + at * Board::bytesFor(tpSize); }
    int64_t behind(int32_t rank) const { return stage(ppSize) + rank * Board::bytesFor(2); }
    int64_t end() const { return behind(tpSize * (ppSize - 1)); }

    int32_t tpSize;
    int32_t ppSize;
};

class SharedLinks final : public Links
{
public:
    SharedLinks(RankPlace const& place, std::shared_ptr<SharedMemory> memory)
        : mMemory(std::move(memory))
        , mAll(mMemory->data() + Layout(place).all(), place.ranks(), place.rank)
        , mStage(mMemory->data() + Layout(place).stage(place.stage()), place.tpSize, place.tpRank())
    {
        Layout const layout(place);
        if (place.stage() > 0)
            mBefore.emplace(mMemory->data() + layout.behind(place.rank - place.tpSize), 2, 1);
        if (place.stage() + 1 < place.ppSize)
            mBehind.emplace(mMemory->data() + layout.behind(place.rank), 2, 0);
    }

    // In float64 and rounded once, so that it is the sum of src/runtime/ranks/combine.ts to the bit.
    void allReduce(void const* x, void* y, int64_t count, Dtype dtype) override
    {
        int64_t const width = bytesOf(dtype);
        int64_t const most = Board::kHALF_BYTES / width;
        for (int64_t at = 0; at < count; at += most)
        {
            int64_t const some = std::min(most, count - at);
            auto const number = mStage.leave(static_cast<char const*>(x) + at * width, some * width);
            mSum.assign(static_cast<size_t>(some), 0.0);
            for (int32_t member = 0; member < mStage.members(); ++member)
                add(mStage.read(member, number), dtype);
            mRounded.assign(mSum.begin(), mSum.end());
            auto* const to = static_cast<char*>(y) + at * width;
            if (dtype == Dtype::kFLOAT32)
                std::memcpy(to, mRounded.data(), static_cast<size_t>(some * width));
            else
                std::memcpy(to, encodeFloats(mRounded.data(), mRounded.size(), dtype).data(), static_cast<size_t>(some * width));
        }
    }

    void allGather(void const* x, void* y, int64_t bytes) override { gather(mStage, x, y, bytes); }
    void gatherAll(void const* x, void* y, int64_t bytes) override { gather(mAll, x, y, bytes); }

    void broadcast(void* data, int64_t bytes, int32_t root) override
    {
        forPieces(bytes,
            [&](int64_t at, int64_t some)
            {
                bool const gives = mAll.own() == root;
                auto const number = mAll.leave(static_cast<char*>(data) + at, gives ? some : 0);
                if (!gives)
                    std::memcpy(static_cast<char*>(data) + at, mAll.read(root, number), static_cast<size_t>(some));
            });
    }

    void handOn(void const* x, int64_t bytes) override
    {
        forPieces(bytes, [&](int64_t at, int64_t some) { mBehind.value().leave(static_cast<char const*>(x) + at, some); });
    }

    void takeOver(void* y, int64_t bytes) override
    {
        forPieces(bytes,
            [&](int64_t at, int64_t some)
            {
                auto const number = mBefore.value().leave(nullptr, 0);
                std::memcpy(static_cast<char*>(y) + at, mBefore->read(0, number), static_cast<size_t>(some));
            });
    }

private:
    template <typename Each>
    static void forPieces(int64_t bytes, Each const& each)
    {
        for (int64_t at = 0; at < bytes; at += Board::kHALF_BYTES)
            each(at, std::min(Board::kHALF_BYTES, bytes - at));
    }

    static void gather(Board& board, void const* x, void* y, int64_t bytes)
    {
        forPieces(bytes,
            [&](int64_t at, int64_t some)
            {
                auto const number = board.leave(static_cast<char const*>(x) + at, some);
                for (int32_t member = 0; member < board.members(); ++member)
                    std::memcpy(static_cast<char*>(y) + member * bytes + at, board.read(member, number), static_cast<size_t>(some));
            });
    }

    void add(char const* share, Dtype dtype)
    {
        if (dtype == Dtype::kFLOAT32)
        {
            auto const* const values = reinterpret_cast<float const*>(share);
            for (size_t i = 0; i < mSum.size(); ++i)
                mSum[i] += static_cast<double>(values[i]);
            return;
        }
        auto const values = decodeFloats(share, mSum.size(), dtype);
        for (size_t i = 0; i < mSum.size(); ++i)
            mSum[i] += static_cast<double>(values[i]);
    }

    std::shared_ptr<SharedMemory> mMemory;
    Board mAll;
    Board mStage;
    std::optional<Board> mBefore;
    std::optional<Board> mBehind;
    std::vector<double> mSum;
    std::vector<float> mRounded;
};
} // namespace

SharedMemory::SharedMemory(int fd, int64_t bytes)
    : mBytes(bytes)
{
    mData = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mData == MAP_FAILED)
        throw Failure({"RUN054", "memory that the ranks share cannot be had: " + std::string(std::strerror(errno)), "mmtrt-runner",
            "ranks on the CPU leave their sums for one another there", "run fewer ranks on this machine"});
}

SharedMemory::~SharedMemory() { munmap(mData, static_cast<size_t>(mBytes)); }

int64_t SharedMemory::bytesFor(RankPlace const& place) { return Layout(place).end(); }

std::unique_ptr<Links> sharedLinks(RankPlace const& place, std::shared_ptr<SharedMemory> memory)
{
    return std::make_unique<SharedLinks>(place, std::move(memory));
}
} // namespace mmtrt::runner
