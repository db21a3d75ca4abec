// What the ranks of a model exchange, each a process with a device of its own: sums and gathers within a pipeline stage, hidden states
// from stage to stage, visual features among all. NCCL does it for GPUs, shared memory for the CPU.
#pragma once
#include "device.h"
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace mmtrt::runner
{
// rank = stage · tpSize + place within the stage.
struct RankPlace
{
    int32_t rank{0};
    int32_t tpSize{1};
    int32_t ppSize{1};

    int32_t ranks() const noexcept { return tpSize * ppSize; }
    int32_t stage() const noexcept { return rank / tpSize; }
    int32_t tpRank() const noexcept { return rank % tpSize; }
    // The rank that searches and speaks with the Node side: the first that has logits.
    int32_t leader() const noexcept { return tpSize * (ppSize - 1); }
};

// All addresses are of the rank's device; what is done is in the order of its stream. Every rank of a group calls the same functions in
// the same order.
class Links
{
public:
    virtual ~Links() = default;

    // y = the sum of x over the ranks of this stage, in the order of the ranks.
    virtual void allReduce(void const* x, void* y, int64_t count, Dtype dtype) = 0;
    // y = x of every rank of this stage, one after the other.
    virtual void allGather(void const* x, void* y, int64_t bytes) = 0;
    // The same of all ranks.
    virtual void gatherAll(void const* x, void* y, int64_t bytes) = 0;
    // Every rank has what `root` has.
    virtual void broadcast(void* data, int64_t bytes, int32_t root) = 0;
    // To the rank in the same place of the next stage, and from the one before.
    virtual void handOn(void const* x, int64_t bytes) = 0;
    virtual void takeOver(void* y, int64_t bytes) = 0;

    // Communicator of all ranks for engines that exchange numbers themselves; null where there is none.
    virtual void* communicator() const noexcept { return nullptr; }
};

// Memory that the processes of all ranks share.
class SharedMemory
{
public:
    // Throws Failure RUN054.
    SharedMemory(int fd, int64_t bytes);
    SharedMemory(SharedMemory const&) = delete;
    SharedMemory& operator=(SharedMemory const&) = delete;
    ~SharedMemory();

    char* data() const noexcept { return static_cast<char*>(mData); }
    // Of ranks of such a shape.
    static int64_t bytesFor(RankPlace const& place);

private:
    void* mData{nullptr};
    int64_t mBytes{0};
};

// Through memory that all processes have mapped: of the CPU, and of what hosts tell each other.
std::unique_ptr<Links> sharedLinks(RankPlace const& place, std::shared_ptr<SharedMemory> memory);
// On GPUs; `host` tells the ranks of one another's names. Throws Failure RUN052 without NCCL, RUN059 where the ranks do not meet.
std::unique_ptr<Links> ncclLinks(Device& device, RankPlace const& place, Links& host, std::vector<std::string> const& libraries);
} // namespace mmtrt::runner
