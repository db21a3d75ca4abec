// More than 8 rows of x against a quantized weight. The weight is operand A (columns of y are the product's rows), turned into
// x's type in registers; x is B, read from shared memory by all warps. A block of 8 warps makes 256 columns × kROWS rows of y.
// On Hopper the product is wgmma's, 4 warps × 64 columns × 16 k twice; elsewhere mma.sync's. Both lay out A and the sums alike.
// The k blocks of all tiles are shared evenly (stream_k.cuh).
#pragma once
#include "dequantize.cuh"
#include "error.h"
#include "tile.h"
#include "weightOnlyMatmul.gen.h"
#include "wgmma.cuh"

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
    uint64_t policy;
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
        , policy(streamingPolicy())
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
        weight = reinterpret_cast<char const*>(args.weight) + wBytes(k + threadIdx.x / S::kW_PIECES) + (column0 + wColumn()) * kBITS / 8;
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
                copyAsync16(stage + S::x(xRow, threadIdx.x % 8) + i * kX_ROWS * 128, x + static_cast<int64_t>(args.k) * (i * kX_ROWS * 2),
                    xInside && i * kX_ROWS < rowsLeft);
            bool const wInside = column0 + wColumn() < args.n;
            int32_t const wRow = threadIdx.x / S::kW_PIECES;
#pragma unroll
            for (int32_t i = 0; i < kTILE_K / kW_ROWS; ++i)
                copyAsync16(stage + S::w(wRow + i * kW_ROWS, threadIdx.x % S::kW_PIECES), weight + wBytes(i * kW_ROWS),
                    wInside && wRow + i * kW_ROWS < kLeft, policy);
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

// A warp's 32 columns × kROWS rows: its share of A in two fragments, of the step that is multiplied and of the one after.
template <typename T, int32_t kBITS, bool kGROUPED, int32_t kROWS>
struct Product
{
    using S = Stage<kBITS, kROWS>;
    float sum[2][kROWS / 8][4];
    uint32_t a[2][2][4];
    uint32_t raw[4];
    Scaling columns[4];

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (auto& fragment : sum)
#pragma unroll
            for (auto& chunk : fragment)
#pragma unroll
                for (float& value : chunk)
                    value = 0.F;
    }

    // Fills the buffer of `kSTEP` % 2. INT4's ldmatrix brings two steps.
    template <int32_t kSTEP>
    __device__ __forceinline__ void prepare(TileArguments const& args, char const* stage)
    {
        int32_t const lane = threadIdx.x % 32;
        int32_t const warp = threadIdx.x / 32;
        uint32_t const address = sharedAddress(stage);
        if constexpr (kBITS == 8)
            loadMatrixTransposed(raw, address + S::w(kSTEP * 16 + lane % 16, warp * 2 + lane / 16));
        else if constexpr (kSTEP % 2 == 0)
            loadMatrixTransposed(raw, address + S::w(kSTEP * 16 + lane, warp));
        if constexpr (kGROUPED)
        {
            // Of four steps, 4 >> scaleShift have a row of scales in common.
            if ((kSTEP & ((4 >> args.scaleShift) - 1)) == 0)
                scaling(args, stage + (kSTEP >> (2 - args.scaleShift)) * S::kSCALE_ROW);
        }
        constexpr int32_t kBUFFER = kSTEP % 2;
        if constexpr (kBITS == 8)
        {
            operandA<T, 8, kGROUPED, 0>(a[kBUFFER][0], raw[0], raw[1], columns);
            operandA<T, 8, kGROUPED, 1>(a[kBUFFER][1], raw[2], raw[3], columns);
        }
        else
        {
            operandA<T, 4, kGROUPED, 0>(a[kBUFFER][0], raw[2 * kBUFFER], raw[2 * kBUFFER + 1], columns);
            operandA<T, 4, kGROUPED, 1>(a[kBUFFER][1], raw[2 * kBUFFER], raw[2 * kBUFFER + 1], columns);
        }
    }

    // First column within the tile of those that fragment f's rows g and g+8 stand for; they are neighbours.
    static __device__ __forceinline__ int32_t column(int32_t f)
    {
        int32_t const g = threadIdx.x % 32 / 4;
        return threadIdx.x / 32 * 32 + (kBITS == 4 ? 4 * g + 2 * f : 16 * f + 2 * g);
    }

    __device__ __forceinline__ void scaling(TileArguments const& args, char const* row)
    {
#pragma unroll
        for (int32_t f = 0; f < 2; ++f)
        {
            uint32_t const scale = *reinterpret_cast<uint32_t const*>(row + S::kSCALES + column(f) * 2);
            uint32_t const zero = args.zero == nullptr ? 0U : *reinterpret_cast<uint32_t const*>(row + S::kZEROS + column(f) * 2);
            columns[2 * f] = {twice(scale), twice(zero)};
            columns[2 * f + 1] = {upperTwice(scale), upperTwice(zero)};
        }
    }

    template <int32_t kSTEP>
    __device__ __forceinline__ void multiply(uint32_t stage)
    {
#if MMTRT_WGMMA
        wgmmaFence();
        uint64_t const b = wgmmaRows128(stage + kSTEP * 32);
        wgmma<T, kROWS>(sum[0], a[kSTEP % 2][0], b);
        wgmma<T, kROWS>(sum[1], a[kSTEP % 2][1], b);
        wgmmaCommit();
#else
        int32_t const lane = threadIdx.x % 32;
        uint32_t const source = stage + S::x(lane / 16 * 8 + lane % 8, kSTEP * 2 + lane / 8 % 2);
#pragma unroll
        for (int32_t j = 0; j < kROWS / 8; j += 2)
        {
            uint32_t b[4];
            loadMatrix(b, source + j * 8 * 128);
#pragma unroll
            for (int32_t f = 0; f < 2; ++f)
            {
                mma<T>(sum[f][j], a[kSTEP % 2][f], b[0], b[1]);
                mma<T>(sum[f][j + 1], a[kSTEP % 2][f], b[2], b[3]);
            }
        }
#endif
    }

    // Until all products but the last kPENDING steps' are done: their A may then be overwritten.
    template <int32_t kPENDING>
    __device__ __forceinline__ void finished()
    {
#if MMTRT_WGMMA
        wgmmaWait<kPENDING>();
        if constexpr (kPENDING == 0)
        {
#pragma unroll
            for (auto& fragment : sum)
#pragma unroll
                for (auto& chunk : fragment)
#pragma unroll
                    for (float& value : chunk)
                        wgmmaTouch(value);
        }
#endif
    }

    __device__ __forceinline__ void leave(StreamK const& k, int32_t range) const
    {
        float4* const to = partialSums(k, range, kROWS / 4);
#pragma unroll
        for (int32_t i = 0; i < kROWS / 4; ++i)
        {
            auto const& s = sum[i % 2][i / 2];
            __stcg(to + i * kTILE_THREADS, make_float4(s[0], s[1], s[2], s[3]));
        }
    }
    __device__ __forceinline__ void take(StreamK const& k, int32_t range)
    {
        float4 const* const from = partialSums(k, range, kROWS / 4);
#pragma unroll
        for (int32_t i = 0; i < kROWS / 4; ++i)
        {
            auto& s = sum[i % 2][i / 2];
            float4 const value = __ldcg(from + i * kTILE_THREADS);
            s[0] += value.x;
            s[1] += value.y;
            s[2] += value.z;
            s[3] += value.w;
        }
    }

    // Scale, bias, activation and rounding of the tile whose first row and column these are.
    __device__ __forceinline__ void store(TileArguments const& args, int32_t row0, int32_t column0) const
    {
        if (column0 + threadIdx.x / 32 * 32 >= args.n)
            return;
        auto* const y = static_cast<T*>(args.y);
#pragma unroll
        for (int32_t f = 0; f < 2; ++f)
        {
            int32_t const n = column0 + column(f);
            float2 scale = make_float2(1.F, 1.F);
            float2 bias = make_float2(0.F, 0.F);
            if constexpr (!kGROUPED)
                scale = unpack<T>(__ldg(reinterpret_cast<uint32_t const*>(static_cast<T const*>(args.scale) + n)));
            if (args.bias != nullptr)
                bias = unpack<T>(__ldg(reinterpret_cast<uint32_t const*>(static_cast<T const*>(args.bias) + n)));
#pragma unroll
            for (int32_t j = 0; j < kROWS / 8; ++j)
            {
#pragma unroll
                for (int32_t i = 0; i < 2; ++i)
                {
                    int32_t const row = row0 + j * 8 + threadIdx.x % 4 * 2 + i;
                    float low = sum[f][j][i] * scale.x + bias.x;
                    float high = sum[f][j][i + 2] * scale.y + bias.y;
                    if (args.curve.any)
                    {
                        low = activate(low, args.curve);
                        high = activate(high, args.curve);
                    }
                    if (row < args.rows)
                        *reinterpret_cast<uint32_t*>(y + static_cast<int64_t>(row) * args.n + n) = pack<T>(low, high);
                }
            }
        }
    }
};

// Until the copies of the next k block are there, for all threads, and the one before the last is no longer read.
__device__ __forceinline__ void arrive(int32_t stages)
{
    if (stages == 3)
        copyWait<0>();
    else if (stages == 4)
        copyWait<1>();
    else if (stages == 5)
        copyWait<2>();
    else
        copyWait<3>();
#if MMTRT_WGMMA
    fenceSharedForWgmma();
#endif
    __syncthreads();
}

template <typename T, int32_t kBITS, bool kGROUPED, int32_t kROWS>
__global__ void __launch_bounds__(kTILE_THREADS, tileResident(kROWS)) tileKernel(TileArguments const args)
{
    constexpr int32_t kSTAGE_BYTES = tileStageBytes(kROWS, kBITS, kGROUPED);
    static_assert(kSTAGE_BYTES % 1024 == 0);
    extern __shared__ char unaligned[];
    char* const shared = unaligned + (1024U - sharedAddress(unaligned) % 1024U) % 1024U;
    StreamK const& work = args.work;
    int32_t const range = work.range();
    int32_t const begin = work.begin(range);
    int32_t const end = work.begin(range + 1);
    int32_t const bytes = args.stages * kSTAGE_BYTES;

    Loader<kBITS, kGROUPED, kROWS> loader(args, sharedAddress(shared), begin, end);
    int32_t loading = 0;
    auto const load = [&]
    {
        loader.next(loading);
        loading = loading + kSTAGE_BYTES == bytes ? 0 : loading + kSTAGE_BYTES;
    };
    for (int32_t i = 0; i < args.stages - 2; ++i)
        load();

    using P = Product<T, kBITS, kGROUPED, kROWS>;
    P product;
    int32_t stage = 0;
    for (int32_t block = begin; block < end;)
    {
        int32_t const tile = block / work.kBlocks;
        int32_t const first = block - tile * work.kBlocks;
        int32_t const count = min(work.kBlocks - first, end - block);
        product.clear();
        arrive(args.stages);
        load();
        product.template prepare<0>(args, shared + stage);
        for (int32_t i = 0; i < count; ++i)
        {
            uint32_t const address = sharedAddress(shared) + stage;
            product.template multiply<0>(address);
            product.template finished<1>();
            product.template prepare<1>(args, shared + stage);
            product.template multiply<1>(address);
            product.template finished<1>();
            product.template prepare<2>(args, shared + stage);
            product.template multiply<2>(address);
            product.template finished<1>();
            product.template prepare<3>(args, shared + stage);
            product.template multiply<3>(address);
            stage = stage + kSTAGE_BYTES == bytes ? 0 : stage + kSTAGE_BYTES;
            if (i + 1 < count)
            {
                arrive(args.stages);
                load();
                product.template finished<1>();
                product.template prepare<0>(args, shared + stage);
            }
        }
        product.template finished<0>();
        block += count;
        if (gatherTile(work, product, range, tile, first, count))
            product.store(args, tile % work.rowTiles * kROWS, tile / work.rowTiles * kTILE_COLUMNS);
    }
    copyWait<0>();
}

template <typename T, int32_t kBITS, bool kGROUPED, int32_t kROWS>
int32_t startTile(TileArguments const& args, cudaStream_t stream) noexcept
{
    auto* const kernel = tileKernel<T, kBITS, kGROUPED, kROWS>;
    int32_t const sharedBytes = args.stages * tileStageBytes(kROWS, kBITS, kGROUPED) + 1024;
    if (auto const status = checked(kNAME, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sharedBytes)))
        return status;
    kernel<<<args.work.ranges, kTILE_THREADS, sharedBytes, stream>>>(args);
    return checked(kNAME, cudaGetLastError());
}

template <typename T, int32_t kBITS>
int32_t launchTile(TileArguments const& args, int32_t tileRows, bool grouped, cudaStream_t stream) noexcept
{
    if (tileRows == 32)
        return grouped ? startTile<T, kBITS, true, 32>(args, stream) : startTile<T, kBITS, false, 32>(args, stream);
    if (tileRows == 64)
        return grouped ? startTile<T, kBITS, true, 64>(args, stream) : startTile<T, kBITS, false, 64>(args, stream);
    return grouped ? startTile<T, kBITS, true, 128>(args, stream) : startTile<T, kBITS, false, 128>(args, stream);
}
} // namespace mmtrt::weightOnlyMatmul
