// Memory of the kernels' `state` (abi.h): zero before a call and left zero by it, so that all calls of one stream, which run one
// after another, may use the same. One block a stream stays in the L2 cache, which one a node would not.
#pragma once
#include "abi.h"
#include <algorithm>
#include <cuda_runtime_api.h>
#include <mutex>
#include <vector>

namespace mmtrt
{
class StreamStates
{
public:
    static StreamStates& instance()
    {
        static StreamStates* const states = new StreamStates; // outlives every kernel, in whatever order a process ends
        return *states;
    }

    void enter()
    {
        std::lock_guard<std::mutex> const lock(mMutex);
        ++mUsers;
    }

    // The last user frees all blocks. A stream that is made again at the same address takes the block of the old one.
    void leave()
    {
        std::lock_guard<std::mutex> const lock(mMutex);
        if (--mUsers > 0)
            return;
        for (auto const& block : mBlocks)
            cudaFree(block.memory);
        mBlocks.clear();
    }

    // nullptr: no memory. The first call of a stream allocates and must not be captured into a graph.
    void* of(cudaStream_t stream)
    {
        int device = 0;
        if (cudaGetDevice(&device) != cudaSuccess)
            return nullptr;
        std::lock_guard<std::mutex> const lock(mMutex);
        auto const known = std::find_if(
            mBlocks.begin(), mBlocks.end(), [&](Block const& block) { return block.stream == stream && block.device == device; });
        if (known != mBlocks.end())
            return known->memory;
        void* memory = nullptr;
        if (cudaMalloc(&memory, mostBytes()) != cudaSuccess)
            return nullptr;
        if (cudaMemsetAsync(memory, 0, mostBytes(), stream) != cudaSuccess)
        {
            cudaFree(memory);
            return nullptr;
        }
        mBlocks.push_back({device, stream, memory});
        return memory;
    }

private:
    struct Block
    {
        int device;
        cudaStream_t stream;
        void* memory;
    };

    static size_t mostBytes()
    {
        int32_t count = 0;
        auto const* const table = mmtrt_plugins(&count);
        int64_t most = 0;
        for (int32_t i = 0; i < count; ++i)
            most = std::max(most, table[i].stateBytes);
        return static_cast<size_t>(most);
    }

    std::mutex mMutex;
    std::vector<Block> mBlocks;
    int64_t mUsers{0};
};

// Held by each kernel for as long as it lives.
class StateUser
{
public:
    StateUser() { StreamStates::instance().enter(); }
    StateUser(StateUser const&) = delete;
    StateUser& operator=(StateUser const&) = delete;
    ~StateUser() { StreamStates::instance().leave(); }
    void* of(cudaStream_t stream) const { return StreamStates::instance().of(stream); }
};
} // namespace mmtrt
