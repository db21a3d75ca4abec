// Matrix products cut so that all multiprocessors end together (stream-K): the k blocks of all tiles are one long row, and each
// block of the grid has an even range of it. A range that begins in the middle of a tile leaves its sums in the workspace; the
// range that has the tile's start adds them in the order of k, so that results do not depend on timing. A block waits only for
// blocks of lower index, whose first work that was, so it waits for nothing that has not started.
#pragma once
#include "device.cuh"
#include <algorithm>

namespace mmtrt
{
struct StreamK
{
    // Tiles are counted down the rows first: neighbours share the weight's columns.
    int32_t rowTiles;
    // Of one tile.
    int32_t kBlocks;
    // Each range has `each` k blocks; the first `left` ranges have one more.
    int32_t each;
    int32_t left;
    int32_t ranges;
    float* partials;
    // One for each range, zero between calls.
    uint32_t* counters;

    __device__ __forceinline__ int32_t begin(int32_t range) const { return range * each + min(range, left); }
    // The range that has this k block.
    __device__ __forceinline__ int32_t rangeOf(int32_t block) const
    {
        int32_t const longer = left * (each + 1);
        return block < longer ? block / (each + 1) : left + (block - longer) / each;
    }
    // Of this block of the grid: it waits for later ranges, which have lower blocks.
    __device__ __forceinline__ int32_t range() const { return ranges - 1 - static_cast<int32_t>(blockIdx.x); }
};

// `places`: blocks that run at once. Without memory: `partials` and `counters` are the caller's.
inline StreamK planStreamK(int64_t rowTiles, int64_t columnTiles, int64_t kBlocks, int64_t places) noexcept
{
    int64_t const blocks = rowTiles * columnTiles * kBlocks;
    // Ranges of fewer k blocks cost more in sums that are handed over than they gain.
    int64_t const least = std::min<int64_t>(4, kBlocks);
    int64_t const ranges = std::max<int64_t>(1, std::min(places, blocks / least));
    return {static_cast<int32_t>(rowTiles), static_cast<int32_t>(kBlocks), static_cast<int32_t>(blocks / ranges),
        static_cast<int32_t>(blocks % ranges), static_cast<int32_t>(ranges), nullptr, nullptr};
}

// What `range`'s thread of this number leaves: float4 i at i × the threads that have sums. Reader and writer have the same number.
__device__ __forceinline__ float4* partialSums(StreamK const& k, int32_t range, int32_t vectors, int32_t threads)
{
    return reinterpret_cast<float4*>(k.partials) + static_cast<int64_t>(range) * vectors * threads + threadIdx.x;
}
__device__ __forceinline__ float4* partialSums(StreamK const& k, int32_t range, int32_t vectors)
{
    return partialSums(k, range, vectors, static_cast<int32_t>(blockDim.x));
}

struct WholeBlock
{
    __device__ __forceinline__ void operator()() const { __syncthreads(); }
};

// True for the block that finishes the tile, whose sums are then whole. `first` and `count` say which of the tile's k blocks this
// one did. P has leave(range) and take(range). `meet` waits for all threads that have sums; thread 0 is one of them.
template <typename P, typename Meet = WholeBlock>
__device__ __forceinline__ bool gatherTile(
    StreamK const& k, P& product, int32_t range, int32_t tile, int32_t first, int32_t count, Meet meet = {})
{
    if (first != 0)
    {
        product.leave(k, range);
        __threadfence();
        meet();
        if (threadIdx.x == 0)
            atomicAdd(k.counters + k.rangeOf(tile * k.kBlocks), 1U);
        return false;
    }
    if (count == k.kBlocks)
        return true;
    int32_t const last = k.rangeOf((tile + 1) * k.kBlocks - 1);
    if (threadIdx.x == 0)
    {
        auto* const counter = k.counters + range;
        auto const expected = static_cast<uint32_t>(last - range);
        uint32_t seen = 0;
        do
            asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(counter) : "memory");
        while (seen != expected);
        *counter = 0;
    }
    meet();
    for (int32_t other = range + 1; other <= last; ++other)
        product.take(k, other);
    return true;
}
} // namespace mmtrt
