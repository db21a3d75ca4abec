#include "decodeAttention.gen.h"
#include "error.h"
#include "split.cuh"
#include <algorithm>

namespace mmtrt::decodeAttention
{
namespace
{
// Tokens that a block must have to be worth its start and its merge.
constexpr int64_t kLEAST_TOKENS = 128;

// Keys and values of up to so many times L2's size push out each other instead of dirty lines, whose way to memory would be a
// good part of the traffic: 10 % faster at 1 × L2, 7 % at 2 ×. At 9 × it is 3 % slower.
constexpr int64_t kPASSES_BY = 4;

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

// The lengths are on the device: splits are for a full cache, and a shorter sequence's blocks have less to do each.
Plan planFor(Sizes const& sizes, int64_t batch, bool paged) noexcept
{
    int64_t const capacity = paged ? sizes.NB * sizes.C : sizes.C;
    int64_t const group = sizes.H / sizes.KH;
    Plan plan{};
    plan.groupChunks = static_cast<int32_t>((group + kHEADS - 1) / kHEADS);
    plan.pairs = batch * sizes.KH * plan.groupChunks;
    int64_t const resident = static_cast<int64_t>(multiprocessors()) * (sizes.D <= 128 ? 2 : 1);
    int64_t const most = std::min<int64_t>(kMOST_SPLITS, std::max<int64_t>(1, capacity / kLEAST_TOKENS));
    plan.splits = static_cast<int32_t>(std::clamp<int64_t>(plan.pairs == 0 ? 1 : resident / plan.pairs, 1, most));
    return plan;
}

template <typename T, int32_t kD, bool kPAGED>
int32_t launch(Arguments const& args, dim3 grid, cudaStream_t stream) noexcept
{
    constexpr int32_t kBYTES = Layout<kD>::kSHARED_BYTES;
    auto* const kernel = splitKernel<T, kD, kPAGED>;
    if (auto const status = checked(kNAME, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBYTES)))
        return status;
    kernel<<<grid, kWARPS * 32, kBYTES, stream>>>(args);
    return checked(kNAME, cudaGetLastError());
}

template <typename T, bool kPAGED>
int32_t launchFor(int64_t headDim, Arguments const& args, dim3 grid, cudaStream_t stream) noexcept
{
    switch (headDim)
    {
    case 64: return launch<T, 64, kPAGED>(args, grid, stream);
    case 80: return launch<T, 80, kPAGED>(args, grid, stream);
    case 96: return launch<T, 96, kPAGED>(args, grid, stream);
    case 128: return launch<T, 128, kPAGED>(args, grid, stream);
    case 256: return launch<T, 256, kPAGED>(args, grid, stream);
    default: return refused(kNAME, "head_dim is not 64, 80, 96, 128 or 256");
    }
}
} // namespace

int64_t workspaceBytes(MmtrtCall const& call, Sizes const& sizes, Attributes const&) noexcept
{
    bool const paged = has(call, kBLOCK_TABLE);
    // A smaller batch is split more ways; pairs × splits stays within what fills the device, or is the batch's own.
    int64_t most = 0;
    for (int64_t batch = 1; batch <= sizes.B; ++batch)
    {
        auto const plan = planFor(sizes, batch, paged);
        most = std::max(most, plan.workspaceBytes(sizes.D));
        if (plan.splits == 1)
            break;
    }
    return most;
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    if (sizes.B == 0)
        return MMTRT_OK;
    bool const paged = has(call, kBLOCK_TABLE);
    if (paged && sizes.C % kTILE != 0)
        return refused(kNAME, "blocks of tokens that are no multiple of 16");
    if (!paged && sizes.P != sizes.B)
        return refused(kNAME, "a contiguous cache of another batch than q");
    auto const plan = planFor(sizes, sizes.B, paged);
    int64_t const rows = sizes.KH * plan.groupChunks;
    if (sizes.B > 65535 || rows > 65535 || sizes.C > INT32_MAX || sizes.NB * sizes.C > INT32_MAX)
        return refused(kNAME, "more than 65535 sequences or heads, or more than 2^31 tokens");
    if (plan.workspaceBytes(sizes.D) > call.workspaceBytes)
        return refused(kNAME, "the workspace is smaller than the workspace function says");
    if (plan.splits > 1 && plan.pairs * 4 > kSTATE_BYTES)
        return refused(kNAME, "more sequences and heads than the state has counters");
    int64_t const bytes = sizes.B * sizes.KH * (paged ? sizes.NB : 1) * sizes.C * sizes.D * 4;
    Arguments const args{call.inputs[kQ].data, call.inputs[kKEYS].data, call.inputs[kVALUES].data,
        static_cast<int32_t const*>(call.inputs[kLENGTHS].data),
        paged ? static_cast<int32_t const*>(call.inputs[kBLOCK_TABLE].data) : nullptr, call.outputs[kY].data,
        static_cast<float*>(call.workspace), static_cast<uint32_t*>(call.state),
        attributes.scale * 1.4426950408889634F, static_cast<int32_t>(sizes.H), static_cast<int32_t>(sizes.KH),
        static_cast<int32_t>(sizes.H / sizes.KH), plan.groupChunks, static_cast<int32_t>(sizes.C),
        static_cast<int32_t>(sizes.NB), plan.splits,
        bytes < kPASSES_BY * cacheBytes()};
    dim3 const grid(plan.splits, static_cast<uint32_t>(rows), static_cast<uint32_t>(sizes.B));
    auto const stream = static_cast<cudaStream_t>(call.stream);
    if (call.inputs[kQ].dtype == MMTRT_FLOAT16)
        return paged ? launchFor<half, true>(sizes.D, args, grid, stream) : launchFor<half, false>(sizes.D, args, grid, stream);
    return paged ? launchFor<bfloat16, true>(sizes.D, args, grid, stream) : launchFor<bfloat16, false>(sizes.D, args, grid, stream);
}
} // namespace mmtrt::decodeAttention
