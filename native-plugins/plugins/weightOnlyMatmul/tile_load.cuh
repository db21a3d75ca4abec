// Where a k block's parts lie in shared memory, and how they come there.
#pragma once
#include "tile.h"

namespace mmtrt::weightOnlyMatmul
{
// Where in a stage the parts lie, and where in them 16 bytes lie: pieces are exchanged by row, so that 8 rows of one ldmatrix
// are in different banks. For x it is also wgmma's order.
template <int32_t kBITS, int32_t kROWS>
struct Stage
{
    static constexpr int32_t kX_BYTES = kROWS * kTILE_K * 2;
    static constexpr int32_t kW_ROW = kTILE_COLUMNS * kBITS / 8;
    static constexpr int32_t kW_PIECES = kW_ROW / 16;
    static constexpr int32_t kSCALES = kX_BYTES + kTILE_K * kW_ROW;
    static constexpr int32_t kSCALE_ROW = kTILE_COLUMNS * 2;
    static constexpr int32_t kZEROS = kSCALES + 4 * kSCALE_ROW;

    static __device__ __forceinline__ int32_t x(int32_t row, int32_t piece) { return row * 128 + (piece ^ row % 8) * 16; }
    static __device__ __forceinline__ int32_t w(int32_t row, int32_t piece)
    {
        return kX_BYTES + row * kW_ROW + (piece ^ row % 8) * 16;
    }
};

// Brings k blocks to shared memory, in the order of the block's range.
template <int32_t kBITS, bool kGROUPED, int32_t kROWS>
struct Loader
{
    using S = Stage<kBITS, kROWS>;
    // Rows of x and of the weight that all threads copy at once, 16 bytes each.
    static constexpr int32_t kX_ROWS = kTILE_THREADS / 8;
    static constexpr int32_t kW_ROWS = kTILE_THREADS / S::kW_PIECES;
    TileArguments const& args;
    uint32_t shared;
    int32_t left;
    int32_t tile;
    int32_t kBlock;
    // This thread's first 16 bytes of the next k block.
    char const* x;
    char const* weight;
    int32_t rowsLeft;
    int32_t column0;

    __device__ __forceinline__ Loader(TileArguments const& arguments, uint32_t base, int32_t begin, int32_t end)
        : args(arguments)
        , shared(base)
        , left(end - begin)
        , tile(begin / arguments.work.kBlocks)
        , kBlock(begin - tile * arguments.work.kBlocks)
    {
        place();
    }

    __device__ __forceinline__ static int32_t wColumn() { return threadIdx.x % S::kW_PIECES * (128 / kBITS); }
    __device__ __forceinline__ int64_t wBytes(int32_t rows) const { return static_cast<int64_t>(args.n) * kBITS / 8 * rows; }

    __device__ __forceinline__ void place()
    {
        int32_t const columnTile = tile / args.work.rowTiles;
        int32_t const row = (tile - columnTile * args.work.rowTiles) * kROWS + threadIdx.x / 8;
        column0 = columnTile * kTILE_COLUMNS;
        rowsLeft = args.rows - row;
        int32_t const k = kBlock * kTILE_K;
        x = static_cast<char const*>(args.x) + (static_cast<int64_t>(row) * args.k + k + threadIdx.x % 8 * 8) * 2;
        weight =
            reinterpret_cast<char const*>(args.weight) + wBytes(k + threadIdx.x / S::kW_PIECES) + (column0 + wColumn()) * kBITS / 8;
    }

    __device__ __forceinline__ void next(int32_t stageOffset)
    {
        if (left > 0)
        {
            uint32_t const stage = shared + stageOffset;
            int32_t const kLeft = args.k - kBlock * kTILE_K;
            bool const xInside = static_cast<int32_t>(threadIdx.x % 8 * 8) < kLeft;
            int32_t const xRow = threadIdx.x / 8;
#pragma unroll
            for (int32_t i = 0; i < kROWS / kX_ROWS; ++i)
                copyAsync16(stage + S::x(xRow, threadIdx.x % 8) + i * kX_ROWS * 128,
                    x + static_cast<int64_t>(args.k) * (i * kX_ROWS * 2), xInside && i * kX_ROWS < rowsLeft);
            // In L2's usual order: other row tiles read the weight again. Besides, ptxas 13.0 makes an illegal instruction of a copy with a
            // policy to a place that is the sum of a uniform register and a constant.
            bool const wInside = column0 + wColumn() < args.n;
            int32_t const wRow = threadIdx.x / S::kW_PIECES;
#pragma unroll
            for (int32_t i = 0; i < kTILE_K / kW_ROWS; ++i)
                copyAsync16(stage + S::w(wRow + i * kW_ROWS, threadIdx.x % S::kW_PIECES), weight + wBytes(i * kW_ROWS),
                    wInside && wRow + i * kW_ROWS < kLeft);
            if constexpr (kGROUPED)
                scales(stage);
            --left;
            x += kTILE_K * 2;
            weight += wBytes(kTILE_K);
            if (++kBlock == args.work.kBlocks)
            {
                kBlock = 0;
                ++tile;
                place();
            }
        }
        copyCommit();
    }

    // Four warps fetch rows of scales, four rows of zeros.
    __device__ __forceinline__ void scales(uint32_t stage) const
    {
        bool const isZero = threadIdx.x >= kTILE_THREADS / 2;
        int32_t const row = threadIdx.x / 32 % 4;
        int32_t const column = column0 + threadIdx.x % 32 * 8;
        auto const* const source = static_cast<uint16_t const*>(isZero ? args.zero : args.scale);
        if (row >= 1 << args.scaleShift || source == nullptr)
            return;
        auto const step = static_cast<uint32_t>(kBlock * 4 + row * (4 >> args.scaleShift));
        uint32_t const inverse = args.groupInverse;
        // Steps past the end of k meet zeros of x.
        auto const group = min(static_cast<int32_t>(inverse == 0 ? step : __umulhi(step, inverse)), args.groups - 1);
        uint32_t const target = stage + (isZero ? S::kZEROS : S::kSCALES) + row * S::kSCALE_ROW + threadIdx.x % 32 * 16;
        copyAsync16(target, source + static_cast<int64_t>(group) * args.n + column, column < args.n);
    }
};
} // namespace mmtrt::weightOnlyMatmul
