#include "error.h"
#include "skinny.cuh"
#include "weightOnlyMatmul.gen.h"
#include <algorithm>

namespace mmtrt::weightOnlyMatmul
{
namespace
{
struct Plan
{
    int32_t tiles;
    int32_t chunks;
    int32_t splits;
    int32_t unit;
    int32_t xBytes;

    int64_t blocks() const noexcept { return static_cast<int64_t>(tiles) * chunks; }

    int64_t workspaceBytes() const noexcept
    {
        return splits == 1 ? 0 : blocks() * splits * kROWS * kCOLUMNS * static_cast<int64_t>(sizeof(float));
    }
};

// In steps of 16 k of a warp: its start, first latency and reduction; and the scaling of a group's sums.
constexpr int64_t kWARP_COST = 16;
constexpr int64_t kGROUP_COST = 2;

// Steps of the warp that has most.
constexpr int32_t mostSteps(int32_t steps, int32_t unit, int32_t parts) noexcept
{
    return (steps / unit + parts - 1) / parts * unit;
}

// Time is that of the multiprocessor with most blocks, whose warps wait for each other's memory: blocks × a warp's steps.
Plan planFor(int64_t rows, int64_t k, int64_t n, int32_t groupSteps) noexcept
{
    Plan plan{};
    plan.tiles = static_cast<int32_t>((n + kCOLUMNS - 1) / kCOLUMNS);
    plan.chunks = static_cast<int32_t>((rows + kROWS - 1) / kROWS);
    auto const steps = static_cast<int32_t>(k / kSTEP);
    int32_t const processors = multiprocessors();
    int32_t const fewest = (steps * kSTEP + kMAX_RANGE - 1) / kMAX_RANGE;
    // A split beyond one step a warp leaves warps without work; blocks that fill the device need none.
    int32_t const most = plan.blocks() >= processors * kRESIDENT ? fewest : std::max(fewest, std::min(steps / kWARPS, 64));
    int64_t best = INT64_MAX;
    for (int32_t splits = fewest; splits <= most; ++splits)
    {
        for (int32_t const unit : {1, groupSteps})
        {
            int32_t const longest = mostSteps(steps, unit, splits * kWARPS);
            if (longest * kWARPS * kSTEP > kMAX_RANGE)
                continue;
            int64_t const groups = longest / groupSteps + (unit == 1 ? 2 : 0);
            int64_t const deep = (plan.blocks() * splits + processors - 1) / processors;
            int64_t const cost = deep * (longest + groups * kGROUP_COST + kWARP_COST);
            if (cost >= best)
                continue;
            best = cost;
            plan.splits = splits;
            plan.unit = unit;
        }
    }
    int32_t const range = mostSteps(steps, plan.unit, plan.splits * kWARPS) * kWARPS * kSTEP;
    auto const held = static_cast<int32_t>(std::min<int64_t>(rows, kROWS));
    plan.xBytes = held * rowStride(range);
    return plan;
}

template <typename T, int32_t kBITS>
int32_t launch(Arguments const& args, Plan const& plan, cudaStream_t stream) noexcept
{
    auto* const kernel = skinnyKernel<T, kBITS>;
    // The totals of all warps take the FIFOs' place.
    int32_t const rows = std::min(args.rows, kROWS);
    int32_t const sharedBytes = std::max(kWARPS * Layout<kBITS>::kFIFO_BYTES + plan.xBytes, kWARPS * rows * kCOLUMNS * 4);
    // Once is enough, but which device is current may change from call to call, and the call costs less than a lock.
    if (auto const status = checked(kNAME, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sharedBytes)))
        return status;
    dim3 const grid(plan.tiles, plan.splits, plan.chunks);
    kernel<<<grid, kWARPS * 32, sharedBytes, stream>>>(args);
    return checked(kNAME, cudaGetLastError());
}
} // namespace

int64_t workspaceBytes(MmtrtCall const&, Sizes const& sizes, Attributes const& attributes) noexcept
{
    int32_t const groupSteps = attributes.group_size / kSTEP;
    // Fewer rows are split more ways, so the largest need is not always that of the most rows; it grows with them once the
    // blocks fill the device without a split.
    int64_t most = planFor(sizes.lead, sizes.K, sizes.N, groupSteps).workspaceBytes();
    for (int64_t rows = kROWS; rows < sizes.lead; rows += kROWS)
    {
        auto const plan = planFor(rows, sizes.K, sizes.N, groupSteps);
        most = std::max(most, plan.workspaceBytes());
        if (plan.blocks() >= multiprocessors() * kRESIDENT)
            break;
    }
    return most;
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    if (sizes.lead == 0)
        return MMTRT_OK;
    if (sizes.lead > 65535 * kROWS || sizes.K > INT32_MAX || sizes.N > INT32_MAX)
        return refused(kNAME, "more than 524280 rows, or more than 2^31 rows or columns of weight");
    int32_t const groupSteps = attributes.group_size / kSTEP;
    auto const plan = planFor(sizes.lead, sizes.K, sizes.N, groupSteps);
    if (plan.workspaceBytes() > call.workspaceBytes)
        return refused(kNAME, "the workspace is smaller than the workspace function says");
    if (plan.splits > 1 && plan.blocks() * 4 > kSTATE_BYTES)
        return refused(kNAME, "more column tiles than the state has counters");
    auto const units = static_cast<int32_t>(sizes.K / kSTEP / plan.unit);
    int32_t const parts = plan.splits * kWARPS;
    Arguments const args{call.inputs[kX].data, static_cast<uint8_t const*>(call.inputs[kWEIGHT].data), call.inputs[kSCALE].data,
        has(call, kBIAS) ? call.inputs[kBIAS].data : nullptr, call.outputs[kY].data,
        static_cast<float*>(call.workspace), static_cast<uint32_t*>(call.state), static_cast<int32_t>(sizes.lead),
        static_cast<int32_t>(sizes.K), static_cast<int32_t>(sizes.N), groupSteps, plan.unit, units / parts, units % parts, plan.splits,
        attributes.activation};
    bool const isHalf = call.inputs[kX].dtype == MMTRT_FLOAT16;
    bool const isInt4 = call.inputs[kWEIGHT].dtype == MMTRT_INT4;
    auto const stream = static_cast<cudaStream_t>(call.stream);
    if (isHalf)
        return isInt4 ? launch<half, 4>(args, plan, stream) : launch<half, 8>(args, plan, stream);
    return isInt4 ? launch<bfloat16, 4>(args, plan, stream) : launch<bfloat16, 8>(args, plan, stream);
}
} // namespace mmtrt::weightOnlyMatmul
