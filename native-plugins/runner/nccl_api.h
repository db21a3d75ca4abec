// The few functions of NCCL 2 that are used, as nccl.h has them, which is not needed: these have not changed since 2.10.
#pragma once
#include "library.h"
#include <cstddef>
#include <cstdint>

namespace mmtrt::runner::nccl
{
struct UniqueId
{
    char internal[128];
};
using Comm = void*;
// Of ncclDataType_t and ncclRedOp_t.
constexpr int32_t kINT8 = 0;
constexpr int32_t kFLOAT16 = 6;
constexpr int32_t kFLOAT32 = 7;
constexpr int32_t kBFLOAT16 = 9;
constexpr int32_t kSUM = 0;

// Each gives an ncclResult_t; the last argument but of the first two is a cudaStream_t.
using GetUniqueId = int32_t (*)(UniqueId*);
using CommInitRank = int32_t (*)(Comm*, int32_t, UniqueId, int32_t);
using CommDestroy = int32_t (*)(Comm);
using AllReduce = int32_t (*)(void const*, void*, size_t, int32_t, int32_t, Comm, void*);
using AllGather = int32_t (*)(void const*, void*, size_t, int32_t, Comm, void*);
using Broadcast = int32_t (*)(void const*, void*, size_t, int32_t, int32_t, Comm, void*);
using Send = int32_t (*)(void const*, size_t, int32_t, int32_t, Comm, void*);
using Recv = int32_t (*)(void*, size_t, int32_t, int32_t, Comm, void*);
using GetErrorString = char const* (*)(int32_t);

struct Api
{
    explicit Api(Library loaded)
        : library(std::move(loaded))
    {
    }

    Library library;
    GetUniqueId uniqueId = library.function<GetUniqueId>("ncclGetUniqueId");
    CommInitRank init = library.function<CommInitRank>("ncclCommInitRank");
    CommDestroy destroy = library.function<CommDestroy>("ncclCommDestroy");
    AllReduce allReduce = library.function<AllReduce>("ncclAllReduce");
    AllGather allGather = library.function<AllGather>("ncclAllGather");
    Broadcast broadcast = library.function<Broadcast>("ncclBroadcast");
    Send send = library.function<Send>("ncclSend");
    Recv receive = library.function<Recv>("ncclRecv");
    GetErrorString errorText = library.function<GetErrorString>("ncclGetErrorString");
};
} // namespace mmtrt::runner::nccl
