// Many rows of x against a quantized weight on Hopper. A block makes 256 rows × 128 columns of y, so that a code becomes a float
// once for 256 rows: 8 warps turn codes into operand A in registers and start wgmma, 64 columns × 256 rows × 16 k each time, on
// x in shared memory; one thread of four more has the copy engine bring x, codes and scales, five k blocks ahead. While the products
// of one k block run, the next one's codes are turned. The k blocks of all tiles are shared evenly (stream_k.cuh).
#pragma once
#include "bulk.cuh"
#include "error.h"
#include "hopper_product.cuh"
#include "weightOnlyMatmul.gen.h"
#include <type_traits>

namespace mmtrt::weightOnlyMatmul::hopper
{
#if MMTRT_WGMMA
// A place in the ring of stages, and the parity of the phase in which it is used.
template <int32_t kSTAGE_BYTES>
struct Ring
{
    uint32_t base;
    int32_t stage{0};
    uint32_t parity{0};

    __device__ __forceinline__ explicit Ring(uint32_t shared)
        : base(shared)
    {
    }
    __device__ __forceinline__ uint32_t address() const { return base + stage * kSTAGE_BYTES; }
    __device__ __forceinline__ uint32_t full() const { return base + kSTAGES * kSTAGE_BYTES + stage * 8; }
    __device__ __forceinline__ uint32_t empty() const { return full() + kSTAGES * 8; }
    __device__ __forceinline__ void next()
    {
        if (++stage == kSTAGES)
        {
            stage = 0;
            parity ^= 1U;
        }
    }
};

template <int32_t kBITS, bool kGROUPED>
__device__ __forceinline__ void copyRange(
    TileArguments const& args, Maps const& maps, Ring<stageBytes(kBITS, kGROUPED)> ring, int32_t begin, int32_t end)
{
    using S = Stage<kBITS>;
    constexpr int32_t kPART_BYTES = kPART_ROWS * kK * 2;
    StreamK const& work = args.work;
    int32_t tile = begin / work.kBlocks;
    int32_t kBlock = begin - tile * work.kBlocks;
    int32_t const scaleRows = kGROUPED ? 1 << args.scaleShift : 0;
    uint32_t const bytesBesideX = S::kSCALES - S::kWEIGHT + scaleRows * kSCALE_ROW * (args.zero == nullptr ? 1 : 2);
    for (int32_t left = end - begin; left > 0; --left)
    {
        int32_t const row = tile % work.rowTiles * kROWS;
        int32_t const column = tile / work.rowTiles * kCOLUMNS;
        // The first round finds the stages free.
        barrierWait(ring.empty(), ring.parity ^ 1U);
        int32_t const parts = min(kROWS / kPART_ROWS, (args.rows - row + kPART_ROWS - 1) / kPART_ROWS);
        barrierExpect(ring.full(), parts * kPART_BYTES + bytesBesideX);
        if (parts == kROWS / kPART_ROWS)
            copyBox(ring.address(), &maps.x, kBlock * kK, row, ring.full());
        else
            for (int32_t i = 0; i < parts; ++i)
                copyBox(ring.address() + i * kPART_BYTES, &maps.partOfX, kBlock * kK, row + i * kPART_ROWS, ring.full());
        copyBox(ring.address() + S::kWEIGHT, &maps.weight, column * kBITS / 8, kBlock * kK, ring.full());
        for (int32_t i = 0; i < scaleRows; ++i)
        {
            auto const step = static_cast<uint32_t>(kBlock * 4 + i * (4 >> args.scaleShift));
            // Steps past the end of k meet zeros of x.
            auto const group = min(static_cast<int32_t>(args.groupInverse == 0 ? step : __umulhi(step, args.groupInverse)), args.groups - 1);
            copyBox(ring.address() + S::kSCALES + i * kSCALE_ROW, &maps.scale, column, group, ring.full());
            if (args.zero != nullptr)
                copyBox(ring.address() + S::kZEROS + i * kSCALE_ROW, &maps.zero, column, group, ring.full());
        }
        ring.next();
        if (++kBlock == work.kBlocks)
        {
            kBlock = 0;
            ++tile;
        }
    }
}

// `shared` and `ring.base` are the same place.
template <typename T, int32_t kBITS, bool kGROUPED>
__device__ __forceinline__ void computeRange(
    TileArguments const& args, char const* shared, Ring<stageBytes(kBITS, kGROUPED)> ring, int32_t range, int32_t begin, int32_t end)
{
    StreamK const& work = args.work;
    Product<T, kBITS, kGROUPED> product;
    auto const done = [&](uint32_t barrier)
    {
        __syncwarp();
        if (threadIdx.x % 32 == 0)
            barrierArrive(barrier);
    };
    for (int32_t block = begin; block < end;)
    {
        int32_t const tile = block / work.kBlocks;
        int32_t const first = block - tile * work.kBlocks;
        int32_t const count = min(work.kBlocks - first, end - block);
        product.clear();
        barrierWait(ring.full(), ring.parity);
        product.template prepare<0>(args, shared + (ring.address() - ring.base));
        uint32_t before = 0;
        auto const turn = [&](auto number, int32_t i)
        {
            constexpr int32_t kBUFFER = decltype(number)::value;
            uint32_t const mine = ring.empty();
            product.template multiply<kBUFFER>(ring.address());
            ring.next();
            if (i + 1 < count)
                barrierWait(ring.full(), ring.parity);
            // The block before this one: its operand A and its stage are free.
            wgmmaWait<1>();
            if (i > 0)
                done(before);
            before = mine;
            if (i + 1 < count)
                product.template prepare<1 - kBUFFER>(args, shared + (ring.address() - ring.base));
        };
        for (int32_t i = 0; i < count; i += 2)
        {
            turn(std::integral_constant<int32_t, 0>{}, i);
            if (i + 1 < count)
                turn(std::integral_constant<int32_t, 1>{}, i + 1);
        }
        product.finished();
        done(before);
        block += count;
        if (gatherTile(work, product, range, tile, first, count, ComputingThreads{}))
            product.store(args, tile % work.rowTiles * kROWS, tile / work.rowTiles * kCOLUMNS);
    }
}
#endif

template <typename T, int32_t kBITS, bool kGROUPED>
__global__ void __launch_bounds__(kTHREADS, 1) hopperKernel(TileArguments const args, __grid_constant__ Maps const maps)
{
#if MMTRT_WGMMA
    extern __shared__ char unaligned[];
    char* const shared = unaligned + (1024U - sharedAddress(unaligned) % 1024U) % 1024U;
    Ring<stageBytes(kBITS, kGROUPED)> ring(sharedAddress(shared));
    if (threadIdx.x == 0)
    {
        for (auto at = ring; at.parity == 0; at.next())
        {
            barrierInit(at.full(), 1);
            barrierInit(at.empty(), kCOMPUTING / 32);
        }
        fenceBarriers();
    }
    __syncthreads();
    int32_t const range = args.work.range();
    int32_t const begin = args.work.begin(range);
    int32_t const end = args.work.begin(range + 1);
    if (threadIdx.x >= kCOMPUTING)
    {
        giveRegisters<40>();
        if (threadIdx.x == kCOMPUTING)
            copyRange<kBITS, kGROUPED>(args, maps, ring, begin, end);
    }
    else
    {
        takeRegisters<232>();
        computeRange<T, kBITS, kGROUPED>(args, shared, ring, range, begin, end);
    }
#else
    // serves() knows this by its static shared memory, and the tiles of other GPUs are used.
    __shared__ int32_t volatile absent[kABSENT_BYTES / 4];
    absent[args.k % (kABSENT_BYTES / 4)] = args.k;
    __trap();
#endif
}

template <typename T, int32_t kBITS>
bool serves(bool grouped) noexcept
{
    auto* const kernel = grouped ? hopperKernel<T, kBITS, true> : hopperKernel<T, kBITS, false>;
    cudaFuncAttributes facts{};
    return computeCapability() == 90 && cudaFuncGetAttributes(&facts, kernel) == cudaSuccess && facts.sharedSizeBytes < kABSENT_BYTES;
}

template <typename T, int32_t kBITS>
int32_t launch(TileArguments const& args, bool grouped, cudaStream_t stream) noexcept
{
    Maps maps{};
    bool described = describeMatrix(maps.x, {args.x, 2, args.k, args.rows, kK, kROWS, true})
        && describeMatrix(maps.partOfX, {args.x, 2, args.k, args.rows, kK, kPART_ROWS, true})
        && describeMatrix(maps.weight, {args.weight, 1, static_cast<int64_t>(args.n) * kBITS / 8, args.k, kCOLUMNS * kBITS / 8, kK, true});
    if (grouped)
        described = described && describeMatrix(maps.scale, {args.scale, 2, args.n, args.groups, kCOLUMNS, 1, false})
            && (args.zero == nullptr || describeMatrix(maps.zero, {args.zero, 2, args.n, args.groups, kCOLUMNS, 1, false}));
    if (!described)
        return refused(kNAME, "the driver's copy engine takes matrices of 16-byte addresses alone");
    auto* const kernel = grouped ? hopperKernel<T, kBITS, true> : hopperKernel<T, kBITS, false>;
    int32_t const bytes = sharedBytes(kBITS, grouped);
    if (auto const status = checked(kNAME, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes)))
        return status;
    kernel<<<args.work.ranges, kTHREADS, bytes, stream>>>(args, maps);
    return checked(kNAME, cudaGetLastError());
}
} // namespace mmtrt::weightOnlyMatmul::hopper
