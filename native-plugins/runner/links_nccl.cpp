// Links over NCCL, which is loaded at run time: a communicator of all ranks, and one of each stage where they differ.
#include "library.h"
#include "links.h"
#include "nccl_api.h"
#include "problem.h"

namespace mmtrt::runner
{
namespace
{
constexpr char const* kFIX = "install NCCL 2 for the CUDA in use (PyPI's nvidia-nccl-cu13 has it) and put libnccl.so.2 on LD_LIBRARY_PATH";

int32_t typeOf(Dtype dtype)
{
    switch (dtype)
    {
    case Dtype::kFLOAT32: return nccl::kFLOAT32;
    case Dtype::kFLOAT16: return nccl::kFLOAT16;
    case Dtype::kBFLOAT16: return nccl::kBFLOAT16;
    default: break;
    }
    throw Failure({"RUN057", std::string("ranks add up tensors of ") + nameOf(dtype), "DistCollective", "sums are of floats alone", "build the engine again"});
}

class NcclLinks final : public Links
{
public:
    NcclLinks(Device& device, RankPlace const& place, Links& host, std::vector<std::string> const& libraries)
        : mDevice(device)
        , mPlace(place)
        , mApi(Library(libraries, "NCCL", kFIX))
    {
        mAll = meet(host, place.ranks(), place.rank, 0);
        if (place.tpSize > 1 && place.ppSize > 1)
            mOwnStage = meet(host, place.tpSize, place.tpRank(), place.stage() * place.tpSize);
    }
    NcclLinks(NcclLinks const&) = delete;
    NcclLinks& operator=(NcclLinks const&) = delete;
    ~NcclLinks() override
    {
        if (mOwnStage != nullptr)
            mApi.destroy(mOwnStage);
        mApi.destroy(mAll);
    }

    void allReduce(void const* x, void* y, int64_t count, Dtype dtype) override
    {
        check(mApi.allReduce(x, y, static_cast<size_t>(count), typeOf(dtype), nccl::kSUM, stage(), mDevice.stream()), "ncclAllReduce");
    }
    void allGather(void const* x, void* y, int64_t bytes) override { gather(x, y, bytes, stage()); }
    void gatherAll(void const* x, void* y, int64_t bytes) override { gather(x, y, bytes, mAll); }
    void broadcast(void* data, int64_t bytes, int32_t root) override
    {
        check(mApi.broadcast(data, data, static_cast<size_t>(bytes), nccl::kINT8, root, mAll, mDevice.stream()), "ncclBroadcast");
    }
    void handOn(void const* x, int64_t bytes) override
    {
        check(mApi.send(x, static_cast<size_t>(bytes), nccl::kINT8, mPlace.rank + mPlace.tpSize, mAll, mDevice.stream()), "ncclSend");
    }
    void takeOver(void* y, int64_t bytes) override
    {
        check(mApi.receive(y, static_cast<size_t>(bytes), nccl::kINT8, mPlace.rank - mPlace.tpSize, mAll, mDevice.stream()), "ncclRecv");
    }
    void* communicator() const noexcept override { return mAll; }

private:
    // A stage that is all there is has no communicator of its own; of one rank nothing is ever added up.
    nccl::Comm stage() const noexcept { return mOwnStage != nullptr ? mOwnStage : mAll; }

    // The first of a group names it; the hosts of all ranks hear every name.
    nccl::Comm meet(Links& host, int32_t size, int32_t own, int32_t first)
    {
        nccl::UniqueId id{};
        if (own == 0)
            check(mApi.uniqueId(&id), "ncclGetUniqueId");
        std::vector<nccl::UniqueId> every(static_cast<size_t>(mPlace.ranks()));
        host.gatherAll(&id, every.data(), sizeof(id));
        nccl::Comm made = nullptr;
        check(mApi.init(&made, size, every[static_cast<size_t>(first)], own), "ncclCommInitRank");
        return made;
    }

    void gather(void const* x, void* y, int64_t bytes, nccl::Comm comm)
    {
        check(mApi.allGather(x, y, static_cast<size_t>(bytes), nccl::kINT8, comm, mDevice.stream()), "ncclAllGather");
    }

    void check(int32_t status, char const* call) const
    {
        if (status != 0)
            throw Failure({"RUN059", std::string(call) + " of rank " + std::to_string(mPlace.rank) + ": " + mApi.errorText(status), mDevice.facts().name,
                "the ranks exchange their sums by NCCL, over NVLink, PCIe or shared memory",
                "run with NCCL_DEBUG=INFO for its own words, and check that all GPUs are of this machine and see one another"});
    }

    Device& mDevice;
    RankPlace mPlace;
    nccl::Api mApi;
    nccl::Comm mAll{nullptr};
    nccl::Comm mOwnStage{nullptr};
};
} // namespace

std::unique_ptr<Links> ncclLinks(Device& device, RankPlace const& place, Links& host, std::vector<std::string> const& libraries)
{
    return std::make_unique<NcclLinks>(device, place, host, libraries);
}
} // namespace mmtrt::runner
