// Code for SM 86 serves 89.
#include "decodeAttention.gen.h"
#include "split_kernel.cuh"

namespace mmtrt::decodeAttention
{
namespace
{
template <typename T, split::Form kFORM>
int32_t launchFor(int64_t headDim, split::Arguments const& args, dim3 grid, cudaStream_t stream) noexcept
{
    switch (headDim)
    {
    case 64: return split::launch<T, T, 64, kFORM>(kNAME, args, grid, stream);
    case 80: return split::launch<T, T, 80, kFORM>(kNAME, args, grid, stream);
    case 96: return split::launch<T, T, 96, kFORM>(kNAME, args, grid, stream);
    case 128: return split::launch<T, T, 128, kFORM>(kNAME, args, grid, stream);
    case 256: return split::launch<T, T, 256, kFORM>(kNAME, args, grid, stream);
    default: return refused(kNAME, "head_dim is not 64, 80, 96, 128 or 256");
    }
}

int64_t tokensHeld(Sizes const& sizes, bool paged) noexcept { return paged ? sizes.NB * sizes.C : sizes.C; }
} // namespace

int64_t workspaceBytes(MmtrtCall const& call, Sizes const& sizes, Attributes const&) noexcept
{
    return split::partialBytes(sizes.B, sizes.H, sizes.KH, sizes.D, tokensHeld(sizes, has(call, kBLOCK_TABLE)));
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    if (sizes.B == 0)
        return MMTRT_OK;
    bool const paged = has(call, kBLOCK_TABLE);
    if (paged && sizes.C % split::kTILE != 0)
        return refused(kNAME, "blocks of tokens that are no multiple of 16");
    if (!paged && sizes.P != sizes.B)
        return refused(kNAME, "a contiguous cache of another batch than q");
    auto const plan = split::planFor(sizes.B, sizes.H, sizes.KH, sizes.D, tokensHeld(sizes, paged));
    int64_t const rows = sizes.KH * plan.groupChunks;
    if (sizes.B > 65535 || rows > 65535 || sizes.C > INT32_MAX || sizes.NB * sizes.C > INT32_MAX)
        return refused(kNAME, "more than 65535 sequences or heads, or more than 2^31 tokens");
    if (plan.workspaceBytes(sizes.D) > call.workspaceBytes)
        return refused(kNAME, "the workspace is smaller than the workspace function says");
    if (plan.splits > 1 && plan.pairs * 4 > kSTATE_BYTES)
        return refused(kNAME, "more sequences and heads than the state has counters");
    int64_t const bytes = sizes.B * sizes.KH * tokensHeld(sizes, paged) * sizes.D * 4;
    split::Arguments args{};
    args.q = call.inputs[kQ].data;
    args.keys = call.inputs[kKEYS].data;
    args.values = call.inputs[kVALUES].data;
    args.lengths = static_cast<int32_t const*>(call.inputs[kLENGTHS].data);
    args.blockTable = paged ? static_cast<int32_t const*>(call.inputs[kBLOCK_TABLE].data) : nullptr;
    args.y = call.outputs[kY].data;
    args.partials = static_cast<float*>(call.workspace);
    args.counters = static_cast<uint32_t*>(call.state);
    args.scoreScale = attributes.scale * split::kLOG2_E;
    args.heads = static_cast<int32_t>(sizes.H);
    args.kvHeads = static_cast<int32_t>(sizes.KH);
    args.group = static_cast<int32_t>(sizes.H / sizes.KH);
    args.groupChunks = plan.groupChunks;
    args.capacity = static_cast<int32_t>(sizes.C);
    args.maxBlocks = static_cast<int32_t>(sizes.NB);
    args.splits = plan.splits;
    args.passesBy = bytes < split::kPASSES_BY * cacheBytes();
    args.queryStride = sizes.H * sizes.D;
    dim3 const grid(plan.splits, static_cast<uint32_t>(rows), static_cast<uint32_t>(sizes.B));
    auto const stream = static_cast<cudaStream_t>(call.stream);
    using split::Form;
    if (call.inputs[kQ].dtype == MMTRT_FLOAT16)
        return paged ? launchFor<half, Form::kPAGED>(sizes.D, args, grid, stream)
                     : launchFor<half, Form::kCONTIGUOUS>(sizes.D, args, grid, stream);
    return paged ? launchFor<bfloat16, Form::kPAGED>(sizes.D, args, grid, stream)
                 : launchFor<bfloat16, Form::kCONTIGUOUS>(sizes.D, args, grid, stream);
}
} // namespace mmtrt::decodeAttention
