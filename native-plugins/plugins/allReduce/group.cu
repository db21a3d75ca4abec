// Code for SM 80 serves 86 and 89.
#include "peers.h"
#include "error.h"
#include <algorithm>
#include <array>
#include <cstring>
#include <dlfcn.h>
#include <mutex>
#include <unistd.h>

namespace mmtrt::allReduce
{
namespace
{
constexpr char const* kGROUP = "group";

// NCCL's own, which its header would give; the library is looked for at run time, since one GPU needs none.
struct NcclId
{
    char bytes[128];
};
using NcclComm = void*;

struct Nccl
{
    int (*uniqueId)(NcclId*){nullptr};
    int (*init)(NcclComm*, int, NcclId, int){nullptr};
    int (*allReduce)(void const*, void*, size_t, int, int, NcclComm, cudaStream_t){nullptr};
    int (*destroy)(NcclComm){nullptr};

    Nccl() noexcept
    {
        void* const library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_GLOBAL);
        if (library == nullptr)
            return;
        auto const find = [&](auto& function, char const* name)
        { function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name)); };
        find(uniqueId, "ncclGetUniqueId");
        find(init, "ncclCommInitRank");
        find(allReduce, "ncclAllReduce");
        find(destroy, "ncclCommDestroy");
    }
    bool found() const noexcept { return uniqueId != nullptr && init != nullptr && allReduce != nullptr && destroy != nullptr; }
};

Nccl const& nccl() noexcept
{
    static Nccl const library;
    return library;
}

// What MmtrtShare holds.
struct Share
{
    NcclId id;
    cudaIpcMemHandle_t handle;
    char* buffer;
    int32_t process;
    int32_t device;
    int32_t hasId;
};
static_assert(sizeof(Share) <= sizeof(MmtrtShare));

struct Group
{
    Peers peers{};
    NcclComm comm{nullptr};
    std::array<bool, MMTRT_MOST_RANKS> opened{};
    int32_t device{-1};
    bool connected{false};
};

constexpr int32_t kMOST_DEVICES = 16;
// Ranks of one process are threads, each with a device of its own.
std::array<std::array<Group, kMOST_DEVICES>, MMTRT_MOST_GROUPS> gGroups;
std::mutex gMutex;

Group* groupHere(int32_t group) noexcept
{
    int32_t device = -1;
    if (group < 0 || group >= MMTRT_MOST_GROUPS || cudaGetDevice(&device) != cudaSuccess || device < 0 || device >= kMOST_DEVICES)
        return nullptr;
    return &gGroups[group][device];
}

// The peer's buffer as this device reaches it.
int32_t reach(Group& group, Share const& share, int32_t rank) noexcept
{
    if (share.process == static_cast<int32_t>(getpid()))
    {
        if (share.device != group.device)
        {
            auto const error = cudaDeviceEnablePeerAccess(share.device, 0);
            if (error != cudaSuccess && error != cudaErrorPeerAccessAlreadyEnabled)
                return checked(kGROUP, error);
            // "Already" stays as the last error otherwise.
            cudaGetLastError();
        }
        group.peers.buffers[rank] = share.buffer;
        return MMTRT_OK;
    }
    void* buffer = nullptr;
    if (auto const status = checked(kGROUP, cudaIpcOpenMemHandle(&buffer, share.handle, cudaIpcMemLazyEnablePeerAccess)))
        return status;
    group.opened[rank] = true;
    group.peers.buffers[rank] = static_cast<char*>(buffer);
    return MMTRT_OK;
}

void close(Group& group) noexcept
{
    if (group.comm != nullptr)
        nccl().destroy(group.comm);
    for (int32_t rank = 0; rank < group.peers.size; ++rank)
        if (group.opened[rank])
            cudaIpcCloseMemHandle(group.peers.buffers[rank]);
    if (group.device >= 0)
        cudaFree(group.peers.buffers[group.peers.rank]);
    group = Group{};
}
} // namespace

Peers const* peersOf(int32_t group) noexcept
{
    auto const* const here = groupHere(group);
    return here != nullptr && here->connected ? &here->peers : nullptr;
}

int32_t sumByNccl(char const* plugin, int32_t group, void const* x, void* y, int64_t count, int32_t dtype, cudaStream_t stream) noexcept
{
    auto const* const here = groupHere(group);
    if (here == nullptr || here->comm == nullptr)
        return refused(plugin, "more than 512 KiB are added by NCCL, and libnccl.so.2 was not found");
    // ncclFloat16, ncclBfloat16, ncclFloat32; 0 is ncclSum.
    int32_t const type = dtype == MMTRT_FLOAT16 ? 6 : dtype == MMTRT_BFLOAT16 ? 9 : 7;
    int32_t const status = nccl().allReduce(x, y, static_cast<size_t>(count), type, 0, here->comm, stream);
    return status == 0 ? MMTRT_OK : failed(MMTRT_CUDA, "%s: ncclAllReduce gave %d", plugin, status);
}
} // namespace mmtrt::allReduce

extern "C" MMTRT_API int32_t mmtrt_group_open(int32_t group, int32_t rank, int32_t size, MmtrtShare* own)
{
    using namespace mmtrt;
    using namespace mmtrt::allReduce;
    std::lock_guard<std::mutex> const lock(gMutex);
    auto* const here = groupHere(group);
    if (here == nullptr || size < 2 || size > MMTRT_MOST_RANKS || rank < 0 || rank >= size || own == nullptr)
        return refused(kGROUP, "a group has a number of 0 to 7, and 2 to 8 ranks, each on a device below 16");
    if (here->device >= 0)
        return refused(kGROUP, "this device is in that group already");
    Share share{};
    cudaGetDevice(&share.device);
    void* buffer = nullptr;
    int64_t const bytes = kCONTROL_BYTES + 2 * kHALF_BYTES;
    if (auto const status = checked(kGROUP, cudaMalloc(&buffer, bytes)))
        return status;
    here->device = share.device;
    here->peers.rank = rank;
    here->peers.size = size;
    here->peers.buffers[rank] = static_cast<char*>(buffer);
    auto status = checked(kGROUP, cudaMemset(buffer, 0, bytes));
    if (status == MMTRT_OK)
        status = checked(kGROUP, cudaIpcGetMemHandle(&share.handle, buffer));
    if (status == MMTRT_OK)
        status = checked(kGROUP, cudaDeviceSynchronize());
    if (status != MMTRT_OK)
    {
        close(*here);
        return status;
    }
    share.buffer = static_cast<char*>(buffer);
    share.process = static_cast<int32_t>(getpid());
    share.hasId = rank == 0 && nccl().found() && nccl().uniqueId(&share.id) == 0 ? 1 : 0;
    std::memcpy(own->bytes, &share, sizeof(share));
    return MMTRT_OK;
}

extern "C" MMTRT_API int32_t mmtrt_group_connect(int32_t group, MmtrtShare const* all)
{
    using namespace mmtrt;
    using namespace mmtrt::allReduce;
    Group* here = nullptr;
    Share first{};
    {
        std::lock_guard<std::mutex> const lock(gMutex);
        here = groupHere(group);
        if (here == nullptr || here->device < 0 || here->connected || all == nullptr)
            return refused(kGROUP, "mmtrt_group_open comes first, and a group is connected once");
        std::memcpy(&first, all[0].bytes, sizeof(first));
        for (int32_t rank = 0; rank < here->peers.size; ++rank)
        {
            Share share{};
            std::memcpy(&share, all[rank].bytes, sizeof(share));
            if (rank == here->peers.rank)
                continue;
            if (auto const status = reach(*here, share, rank))
                return status;
        }
    }
    // Outside the lock: threads of one process meet here.
    if (first.hasId != 0 && nccl().found())
    {
        int32_t const status = nccl().init(&here->comm, here->peers.size, first.id, here->peers.rank);
        if (status != 0)
        {
            here->comm = nullptr;
            return failed(MMTRT_CUDA, "%s: ncclCommInitRank gave %d", kGROUP, status);
        }
    }
    here->connected = true;
    return MMTRT_OK;
}

extern "C" MMTRT_API int32_t mmtrt_group_close(int32_t group)
{
    using namespace mmtrt;
    using namespace mmtrt::allReduce;
    std::lock_guard<std::mutex> const lock(gMutex);
    auto* const here = groupHere(group);
    if (here == nullptr || here->device < 0)
        return refused(kGROUP, "this device is not in that group");
    if (auto const status = checked(kGROUP, cudaDeviceSynchronize()))
        return status;
    close(*here);
    return MMTRT_OK;
}
