// The kernel, and what its launch needs on the host.
#pragma once
#include "error.h"
#include "launch.cuh"
#include "split_merge.cuh"
#include <algorithm>

namespace mmtrt::split
{
// Multiprocessors with 100 KB of shared memory: what __CUDA_ARCH__ and cudaFuncAttributes::ptxVersion say of them.
constexpr bool isSmall(int32_t arch) { return arch == 86 || arch == 89 || arch == 120 || arch == 121; }
#ifdef __CUDA_ARCH__
inline constexpr bool kSMALL = isSmall(__CUDA_ARCH__ / 10);
#else
inline constexpr bool kSMALL = false;
#endif

template <typename T, typename C, int32_t kD, Form kFORM>
__global__ void __launch_bounds__(kWARPS * 32, Layout<C, kD>::kRESIDENT) splitKernel(Arguments const args)
{
    using L = Layout<C, kD>;
    constexpr int32_t kSTAGES = L::stages(kSMALL);
    extern __shared__ __align__(128) char shared[];
    int32_t const warp = threadIdx.x / 32;
    int32_t const g = threadIdx.x % 32 / 4;
    int32_t const sequence = blockIdx.z;
    int32_t const kvHead = blockIdx.y / args.groupChunks;
    int32_t const firstInGroup = blockIdx.y % args.groupChunks * kHEADS;
    int32_t const heads = min(kHEADS, args.group - firstInGroup);
    int32_t const firstHead = kvHead * args.group + firstInGroup;
    int64_t const pair = static_cast<int64_t>(sequence) * gridDim.y + blockIdx.y;
    Range const range = rangeOf<kFORM>(args, sequence);
    int32_t const firstTile = range.first / kTILE;
    int32_t const tiles = (range.end + kTILE - 1) / kTILE - firstTile;
    int32_t const begin = firstTile + static_cast<int32_t>(static_cast<int64_t>(tiles) * blockIdx.x / args.splits);
    int32_t const end = firstTile + static_cast<int32_t>(static_cast<int64_t>(tiles) * (blockIdx.x + 1) / args.splits);
    uint32_t const fifo = sharedAddress(shared) + warp * L::warpBytes(kSMALL);

    uint64_t const policy = streamingPolicy();
    int32_t next = begin + warp;
    auto const queue = [&](int32_t stage)
    {
        prefetch<C, kD, kFORM>(fifo + stage * 2 * L::kTILE_BYTES, args, sequence, kvHead, next, range, next < end, policy);
        next += kWARPS;
    };
    // With any form the kernel before writes the last token, a growing cache all: until it has ended only the others are read.
    bool ended = kFORM != Form::kANY;
    int32_t const old = args.lengths == nullptr || args.indirection != nullptr ? 0 : range.end - args.added;
    auto const waitOnce = [&]
    {
        if (!ended)
            waitForKernelBefore();
        ended = true;
    };
#pragma unroll
    for (int32_t i = 0; i < kSTAGES; ++i)
    {
        if (next < end && (next + 1) * kTILE > old)
            waitOnce();
        queue(i);
    }
    waitOnce();
    float codes = 1.F;
    if constexpr (L::kCODES)
        codes = *args.codeScale * kCODE_FACTOR<T, C>;
    uint32_t q[kD / 16][2];
    auto const* const queries = static_cast<T const*>(args.q) + sequence * args.queryStride;
    loadQuery<L::kCODES, kD>(q, queries + (firstHead + g) * kD, g < heads);
    auto const* const bias = kFORM == Form::kANY && args.bias != nullptr
        ? static_cast<T const*>(args.bias) + firstHead * args.biasColumns
        : nullptr;
    State<kD> state;
    for (int32_t tile = begin + warp, stage = 0; tile < end; tile += kWARPS)
    {
        uint32_t const at = fifo + stage * 2 * L::kTILE_BYTES;
        copyWait<kSTAGES - 1>();
        __syncwarp();
        uint32_t const seen = seenOf<kFORM>(args, sequence, tile, range);
        attend<T, C, kD, kFORM>(state, q, at, tile, seen, args, args.scoreScale * codes, bias, heads);
        __syncwarp();
        queue(stage);
        stage = stage + 1 == kSTAGES ? 0 : stage + 1;
    }
    copyWait<0>();
    __syncthreads();

    auto* const parts = reinterpret_cast<float*>(shared);
    store<L::kCODES, kD>(parts + warp * L::kPARTIAL, state);
    __syncthreads();
    T* const y = static_cast<T*>(args.y) + (static_cast<int64_t>(sequence) * args.heads + firstHead) * kD;
    if (args.splits == 1)
    {
        mergeWarps<kD>(parts, heads,
            [&](int32_t head, int32_t d, float out, float, float sum)
            { y[head * kD + d] = fromFloat<T>(sum > 0.F ? out * codes / sum : 0.F); });
        return;
    }
    float* const all = args.partials + pair * args.splits * L::kPARTIAL;
    float* const mine = all + blockIdx.x * L::kPARTIAL;
    mergeWarps<kD>(parts, heads,
        [&](int32_t head, int32_t d, float out, float maximum, float sum)
        {
            mine[head * kD + d] = out;
            if (d == 0)
            {
                mine[kHEADS * kD + head] = maximum;
                mine[kHEADS * kD + kHEADS + head] = sum;
            }
        });
    if (arrivesLast(args.counters + pair, args.splits))
        mergeBlocks<T, kD>(y, all, args.splits, heads, codes, parts);
}

template <typename T, typename C, int32_t kD, Form kFORM>
int32_t launch(char const* plugin, Arguments const& args, dim3 grid, cudaStream_t stream) noexcept
{
    auto* const kernel = splitKernel<T, C, kD, kFORM>;
    cudaFuncAttributes facts{};
    if (auto const status = checked(plugin, cudaFuncGetAttributes(&facts, kernel)))
        return status;
    int32_t const bytes = Layout<C, kD>::sharedBytes(isSmall(facts.ptxVersion));
    if (auto const status = checked(plugin, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes)))
        return status;
    if constexpr (kFORM == Form::kANY)
        return checked(plugin, launchBeside(kernel, grid, kWARPS * 32, bytes, stream, args));
    kernel<<<grid, kWARPS * 32, bytes, stream>>>(args);
    return checked(plugin, cudaGetLastError());
}

// Tokens that a block must have to be worth its start and its merge.
inline constexpr int64_t kLEAST_TOKENS = 128;

// Keys and values of up to so many times L2's size push out each other instead of dirty lines, whose way to memory would be a
// good part of the traffic: 10 % faster at 1 × L2, 7 % at 2 ×. At 9 × it is 3 % slower.
inline constexpr int64_t kPASSES_BY = 4;

struct Plan
{
    int64_t pairs;
    int32_t groupChunks;
    int32_t splits;

    int64_t workspaceBytes(int64_t headDim) const noexcept
    {
        return splits == 1 ? 0 : pairs * splits * (kHEADS * headDim + 2 * kHEADS) * static_cast<int64_t>(sizeof(float));
    }
};

// The lengths are on the device: splits are for `tokens`, a full cache, and a shorter sequence's blocks have less to do each.
inline Plan planFor(int64_t batch, int64_t heads, int64_t kvHeads, int64_t headDim, int64_t tokens) noexcept
{
    int64_t const group = heads / kvHeads;
    Plan plan{};
    plan.groupChunks = static_cast<int32_t>((group + kHEADS - 1) / kHEADS);
    plan.pairs = batch * kvHeads * plan.groupChunks;
    int64_t const resident = static_cast<int64_t>(multiprocessors()) * (headDim <= 128 ? 2 : 1);
    int64_t const most = std::min<int64_t>(kMOST_SPLITS, std::max<int64_t>(1, tokens / kLEAST_TOKENS));
    plan.splits = static_cast<int32_t>(std::clamp<int64_t>(plan.pairs == 0 ? 1 : resident / plan.pairs, 1, most));
    return plan;
}

// Enough for this batch and every smaller one. A smaller batch is split more ways; pairs × splits stays within what fills the
// device, or is the batch's own.
inline int64_t partialBytes(int64_t batch, int64_t heads, int64_t kvHeads, int64_t headDim, int64_t tokens) noexcept
{
    int64_t most = 0;
    for (int64_t smaller = 1; smaller <= batch; ++smaller)
    {
        auto const plan = planFor(smaller, heads, kvHeads, headDim, tokens);
        most = std::max(most, plan.workspaceBytes(headDim));
        if (plan.splits == 1)
            break;
    }
    return most;
}
} // namespace mmtrt::split
