// Code for SM 80 serves 86 and 89.
#include "error.h"
#include "hopper.h"
#include "skinny.cuh"
#include "tile.h"
#include "weightOnlyMatmul.gen.h"
#include <algorithm>

namespace mmtrt::weightOnlyMatmul
{
namespace
{
int64_t roundUp(int64_t value, int64_t to) noexcept { return (value + to - 1) / to * to; }

// By which the device divides steps by a group's steps; 0 stands for one.
uint32_t inverseOf(int32_t groupSteps) noexcept
{
    return groupSteps == 1 ? 0U : static_cast<uint32_t>(((1LL << 32) + groupSteps - 1) / groupSteps);
}

// --- Up to 8 rows ---

struct SkinnyPlan
{
    int32_t tiles;
    int32_t splits;
    int32_t unit;
    int32_t xStride;

    int64_t workspaceBytes() const noexcept
    {
        return splits > 1 ? static_cast<int64_t>(tiles) * splits * kROWS * kCOLUMNS * static_cast<int64_t>(sizeof(float)) : 0;
    }
};

// In steps of 16 k of a warp: its start, first latency and reduction; and the scaling of a group's sums.
constexpr int64_t kWARP_COST = 16;
constexpr int64_t kMEMORY_COST = 8;
constexpr int64_t kGROUP_COST = 2;
// Warps of more steps are too few to keep memory busy.
constexpr int64_t kSTEPS_THAT_FILL = 16;

// What the longest ranges, 8 rows of INT8 and its FIFOs take of a block's shared memory; 128 bytes are arrivesLast's.
constexpr int32_t sharedBytesOf(int32_t warpSteps) noexcept
{
    return kWARPS * (Layout<8>::kFIFO_BYTES + kROWS * rowStride(warpSteps * kSTEP)) + 128;
}
static_assert(sharedBytesOf(kMOST_STEPS_IN_99K) <= 99 * 1024);

// Steps of the warp that has most.
constexpr int32_t mostSteps(int32_t steps, int32_t unit, int32_t parts) noexcept
{
    return (steps / unit + parts - 1) / parts * unit;
}

// Time is that of the multiprocessor with most blocks, whose warps wait for each other's memory: blocks × a warp's steps.
SkinnyPlan planSkinny(int64_t k, int64_t n, int32_t groupSteps) noexcept
{
    SkinnyPlan plan{};
    plan.tiles = static_cast<int32_t>((n + kCOLUMNS - 1) / kCOLUMNS);
    auto const steps = static_cast<int32_t>(k / kSTEP);
    int32_t const processors = multiprocessors();
    int32_t const mostOfWarp = sharedBytesOf(kMOST_STEPS) <= blockSharedBytes() ? kMOST_STEPS : kMOST_STEPS_IN_99K;
    int32_t const fewest = (steps + mostOfWarp * kWARPS - 1) / (mostOfWarp * kWARPS);
    // A split beyond one step a warp leaves warps without work; blocks that fill the device need none.
    int32_t const most = plan.tiles >= processors * kRESIDENT ? fewest : std::max(fewest, std::min(steps / kWARPS, 64));
    int64_t best = INT64_MAX;
    for (int32_t splits = fewest; splits <= most; ++splits)
    {
        for (int32_t const unit : {1, groupSteps})
        {
            int32_t const longest = mostSteps(steps, unit, splits * kWARPS);
            if (longest > mostOfWarp)
                continue;
            int64_t const groups = longest / groupSteps + (unit == 1 ? 2 : 0);
            int64_t const deep = (static_cast<int64_t>(plan.tiles) * splits + processors - 1) / processors;
            int64_t const reduction = splits == 1 ? 0 : kMEMORY_COST;
            int64_t const starved = std::max<int64_t>(0, longest - kSTEPS_THAT_FILL);
            int64_t const cost = deep * (longest + starved + groups * kGROUP_COST + kWARP_COST + reduction);
            if (cost >= best)
                continue;
            best = cost;
            plan.splits = splits;
            plan.unit = unit;
            plan.xStride = rowStride(longest * kSTEP);
        }
    }
    return plan;
}

template <typename T, int32_t kBITS>
int32_t launchSkinny(Arguments const& args, SkinnyPlan const& plan, cudaStream_t stream) noexcept
{
    auto* const kernel = args.rows == 1 ? skinnyKernel<T, kBITS, 1> : skinnyKernel<T, kBITS, kROWS>;
    // The totals of all warps take the FIFOs' place.
    int32_t const sharedBytes
        = std::max(kWARPS * (Layout<kBITS>::kFIFO_BYTES + args.xBytes), kWARPS * args.rows * kCOLUMNS * 4);
    // Once is enough, but which device is current may change from call to call, and the call costs less than a lock.
    if (auto const status = checked(kNAME, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sharedBytes)))
        return status;
    kernel<<<dim3(plan.tiles, plan.splits), kWARPS * 32, sharedBytes, stream>>>(args);
    return checked(kNAME, cudaGetLastError());
}

// --- More rows ---

struct TilePlan
{
    int32_t rows;
    int32_t stages;
    // Of all tiles.
    int64_t kBlocks;
    StreamK work;

    int32_t columns;

    int64_t workspaceBytes() const noexcept
    {
        return static_cast<int64_t>(work.ranges) * rows * columns * static_cast<int64_t>(sizeof(float));
    }
    void share(int64_t rowsOfX, int64_t k, int64_t n, int64_t places) noexcept
    {
        int64_t const columnTiles = (n + columns - 1) / columns;
        int64_t const rowTiles = (rowsOfX + rows - 1) / rows;
        int64_t const blocksOfTile = (k + kTILE_K - 1) / kTILE_K;
        kBlocks = columnTiles * rowTiles * blocksOfTile;
        work = planStreamK(rowTiles, columnTiles, blocksOfTile, places);
    }
};

TilePlan planTile(int64_t rows, int64_t k, int64_t n, int32_t bits, bool grouped) noexcept
{
    TilePlan plan{};
    plan.rows = rows <= 32 ? 32 : rows <= 64 ? 64 : 128;
    auto const stagesOf = [&](int32_t tileRows)
    {
        // 1 KiB of a block is the system's, 1 KiB goes into aligning.
        int32_t const bytes = std::min(blockSharedBytes(), processorSharedBytes() / tileResident(tileRows) - 1024) - 1024;
        return std::min(kMOST_STAGES, bytes / tileStageBytes(tileRows, bits, grouped));
    };
    while (plan.rows > 32 && stagesOf(plan.rows) < kFEWEST_STAGES)
        plan.rows /= 2;
    plan.stages = std::max(kFEWEST_STAGES, stagesOf(plan.rows));
    plan.columns = kTILE_COLUMNS;
    plan.share(rows, k, n, static_cast<int64_t>(multiprocessors()) * tileResident(plan.rows));
    return plan;
}

// Rows from which Hopper's tiles of 256 are the faster ones.
constexpr int64_t kHOPPER_ROWS = 129;

TilePlan planHopper(int64_t rows, int64_t k, int64_t n) noexcept
{
    TilePlan plan{};
    plan.rows = hopper::kROWS;
    plan.columns = hopper::kCOLUMNS;
    plan.share(rows, k, n, multiprocessors());
    return plan;
}

template <typename T>
bool hopperServes(int64_t rows, bool int4, bool grouped) noexcept
{
    return rows >= kHOPPER_ROWS && (int4 ? hopper::serves<T, 4>(grouped) : hopper::serves<T, 8>(grouped));
}

template <typename T>
__global__ void prequantKernel(uint32_t const* x, uint32_t const* factors, uint32_t* y, int64_t pairs, uint32_t pairsOfRow)
{
    for (int64_t i = blockIdx.x * 256LL + threadIdx.x; i < pairs; i += gridDim.x * 256LL)
    {
        float2 const value = unpack<T>(x[i]);
        float2 const factor = unpack<T>(__ldg(factors + i % pairsOfRow));
        y[i] = pack<T>(value.x * factor.x, value.y * factor.y);
    }
}

// x · prequant, rounded to x's type, at `to`.
template <typename T>
int32_t multiplyPrequant(MmtrtCall const& call, Sizes const& sizes, void* to, cudaStream_t stream) noexcept
{
    int64_t const pairs = sizes.lead * sizes.K / 2;
    auto const blocks = static_cast<uint32_t>(std::min<int64_t>((pairs + 255) / 256, multiprocessors() * 8LL));
    prequantKernel<T><<<blocks, 256, 0, stream>>>(static_cast<uint32_t const*>(call.inputs[kX].data),
        static_cast<uint32_t const*>(call.inputs[kPREQUANT].data), static_cast<uint32_t*>(to), pairs,
        static_cast<uint32_t>(sizes.K / 2));
    return checked(kNAME, cudaGetLastError());
}

bool isInt4(MmtrtCall const& call) noexcept { return call.inputs[kWEIGHT].dtype == MMTRT_INT4; }
bool isGrouped(MmtrtCall const& call, Sizes const& sizes) noexcept { return sizes.G > 1 || has(call, kZERO); }

int64_t scaledBytes(MmtrtCall const& call, Sizes const& sizes) noexcept
{
    return has(call, kPREQUANT) ? roundUp(sizes.lead * sizes.K * 2, 256) : 0;
}

void const* optional(MmtrtCall const& call, Input input) noexcept
{
    return has(call, input) ? call.inputs[input].data : nullptr;
}

template <typename T>
int32_t runSkinny(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    int32_t const groupSteps = attributes.group_size / kSTEP;
    auto const plan = planSkinny(sizes.K, sizes.N, groupSteps);
    if (plan.workspaceBytes() > call.workspaceBytes)
        return refused(kNAME, "the workspace is smaller than the workspace function says");
    if (plan.splits > 1 && static_cast<int64_t>(plan.tiles) * 4 > kSTATE_BYTES)
        return refused(kNAME, "more column tiles than the state has counters");
    auto const units = static_cast<int32_t>(sizes.K / kSTEP / plan.unit);
    int32_t const parts = plan.splits * kWARPS;
    Arguments const args{call.inputs[kX].data, static_cast<uint8_t const*>(call.inputs[kWEIGHT].data), call.inputs[kSCALE].data,
        optional(call, kBIAS), optional(call, kZERO), optional(call, kPREQUANT), call.outputs[kY].data,
        static_cast<float*>(call.workspace), static_cast<uint32_t*>(call.state), static_cast<int32_t>(sizes.lead),
        static_cast<int32_t>(sizes.K), static_cast<int32_t>(sizes.N), groupSteps, inverseOf(groupSteps), plan.unit, units / parts,
        units % parts, plan.splits, static_cast<int32_t>(sizes.lead) * plan.xStride, plan.xStride,
        curveOf(attributes.activation)};
    auto const stream = static_cast<cudaStream_t>(call.stream);
    return isInt4(call) ? launchSkinny<T, 4>(args, plan, stream) : launchSkinny<T, 8>(args, plan, stream);
}

template <typename T>
int32_t runTile(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    bool const grouped = isGrouped(call, sizes);
    bool const int4 = isInt4(call);
    bool const onHopper = hopperServes<T>(sizes.lead, int4, grouped);
    auto const plan = onHopper ? planHopper(sizes.lead, sizes.K, sizes.N) : planTile(sizes.lead, sizes.K, sizes.N, int4 ? 4 : 8, grouped);
    int64_t const scaled = scaledBytes(call, sizes);
    if (scaled + plan.workspaceBytes() > call.workspaceBytes)
        return refused(kNAME, "the workspace is smaller than the workspace function says");
    if (plan.kBlocks > INT32_MAX || plan.work.ranges * 4LL > kSTATE_BYTES)
        return refused(kNAME, "more than 2^31 blocks of 64 k of all tiles");
    auto const stream = static_cast<cudaStream_t>(call.stream);
    auto* const workspace = static_cast<char*>(call.workspace);
    void const* x = call.inputs[kX].data;
    if (has(call, kPREQUANT))
    {
        if (auto const status = multiplyPrequant<T>(call, sizes, workspace, stream))
            return status;
        x = workspace;
    }
    int32_t const groupSteps = attributes.group_size / kSTEP;
    auto work = plan.work;
    work.partials = reinterpret_cast<float*>(workspace + scaled);
    work.counters = static_cast<uint32_t*>(call.state);
    TileArguments const args{x, static_cast<uint8_t const*>(call.inputs[kWEIGHT].data), call.inputs[kSCALE].data, optional(call, kZERO),
        optional(call, kBIAS), call.outputs[kY].data,
        static_cast<int32_t>(sizes.lead), static_cast<int32_t>(sizes.K), static_cast<int32_t>(sizes.N), static_cast<int32_t>(sizes.G),
        inverseOf(groupSteps),
        groupSteps % 4 == 0 ? 0 : groupSteps % 2 == 0 ? 1 : 2, work, plan.stages, curveOf(attributes.activation)};
    if (onHopper)
        return int4 ? hopper::launch<T, 4>(args, grouped, stream) : hopper::launch<T, 8>(args, grouped, stream);
    return int4 ? launchTile<T, 4>(args, plan.rows, grouped, stream) : launchTile<T, 8>(args, plan.rows, grouped, stream);
}

template <typename T>
int32_t runRows(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    return sizes.lead <= kROWS ? runSkinny<T>(call, sizes, attributes) : runTile<T>(call, sizes, attributes);
}
} // namespace

int64_t workspaceBytes(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    // Enough for fewer rows too, whose tiles are smaller.
    int64_t most = planSkinny(sizes.K, sizes.N, attributes.group_size / kSTEP).workspaceBytes();
    for (int64_t const rows : {32, 64, 128})
        if (sizes.lead > kROWS)
            most = std::max(most,
                planTile(std::min(rows, sizes.lead), sizes.K, sizes.N, isInt4(call) ? 4 : 8, isGrouped(call, sizes)).workspaceBytes());
    if (sizes.lead > 128)
        most = std::max({most, planTile(sizes.lead, sizes.K, sizes.N, isInt4(call) ? 4 : 8, isGrouped(call, sizes)).workspaceBytes(),
            planHopper(sizes.lead, sizes.K, sizes.N).workspaceBytes()});
    return most + scaledBytes(call, sizes);
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    if (sizes.lead == 0)
        return MMTRT_OK;
    // Columns of the weight are counted with 32 bits in a row of tiles; k in the inverse that finds a step's group.
    if (sizes.lead > INT32_MAX - 128 || sizes.K > (1 << 20) || sizes.N > INT32_MAX - 256)
        return refused(kNAME, "more than 2^31 rows of x or columns of weight, or more than 2^20 rows of weight");
    return call.inputs[kX].dtype == MMTRT_FLOAT16 ? runRows<half>(call, sizes, attributes) : runRows<bfloat16>(call, sizes, attributes);
}
} // namespace mmtrt::weightOnlyMatmul
