// y[m, n] = Σ a[m, k] · b[n, k], both row-major along k: the form in which checkpoints keep float, SmoothQuant's and FP8's weights.
// Elements are INT8 (sums in int32), E4M3 or 16-bit floats (sums in float): 32 bytes of k are one tensor-core step for all of them,
// with the same places of the bytes in registers. A block of 8 warps makes kROWS × 128 of y; the k blocks of all tiles are
// shared evenly (stream_k.cuh). What becomes of the sums is the caller's: finish(low, high, row, column) for two neighbours. A
// gated product has two b: rows of both take turns, 8 each, so that a thread has the sums of both for
// finish(low, high, lowOfSecond, highOfSecond, row, column).
#pragma once
#include "error.h"
#include "matmul_nt_product.cuh"

namespace mmtrt::matmulNt
{
// Brings k blocks of kROWS rows of a and 128 rows of b to shared memory.
template <int32_t kROWS, bool kGATED>
struct Loader
{
    Arguments const& args;
    uint32_t shared;
    int32_t left;
    int32_t tile;
    int32_t kBlock;
    int32_t row0;
    int32_t column0;

    __device__ __forceinline__ Loader(Arguments const& arguments, uint32_t base, int32_t begin, int32_t end)
        : args(arguments)
        , shared(base)
        , left(end - begin)
        , tile(begin / arguments.work.kBlocks)
        , kBlock(begin - tile * arguments.work.kBlocks)
    {
        place();
    }

    __device__ __forceinline__ void place()
    {
        row0 = tile % args.work.rowTiles * kROWS;
        column0 = tile / args.work.rowTiles * columnsOf<kGATED>();
    }

    __device__ __forceinline__ void copy(uint32_t to, int32_t slot, uint8_t const* matrix, int32_t row, int32_t rowsOfMatrix) const
    {
        int32_t const piece = threadIdx.x % 8;
        int32_t const k = kBlock * kBLOCK + piece * 16;
        bool const inside = row < rowsOfMatrix && k < args.kBytes;
        copyAsync16(
            to + slot * kBLOCK + (piece ^ slot % 8) * 16, matrix + (inside ? static_cast<int64_t>(row) * args.kBytes + k : 0), inside);
    }

    __device__ __forceinline__ void next(int32_t stage)
    {
        if (left > 0)
        {
            uint32_t const to = shared + stage * stageBytes(kROWS);
            for (int32_t slot = threadIdx.x / 8; slot < kROWS; slot += kTHREADS / 8)
                copy(to, slot, args.a, row0 + slot, args.rows);
            for (int32_t slot = threadIdx.x / 8; slot < kCOLUMNS; slot += kTHREADS / 8)
            {
                bool const isSecond = kGATED && slot / 8 % 2 == 1;
                int32_t const row = column0 + (kGATED ? slot / 16 * 8 + slot % 8 : slot);
                copy(to + kROWS * kBLOCK, slot, isSecond ? args.second : args.b, row, args.n);
            }
            --left;
            if (++kBlock == args.work.kBlocks)
            {
                kBlock = 0;
                ++tile;
                place();
            }
        }
        copyCommit();
    }
};

template <typename Kind, int32_t kROWS, typename Finish>
__global__ void __launch_bounds__(kTHREADS) kernel(Arguments const args, Finish const finish)
{
    extern __shared__ __align__(128) char shared[];
    StreamK const& work = args.work;
    int32_t const range = work.range();
    int32_t const begin = work.begin(range);
    int32_t const end = work.begin(range + 1);
    Loader<kROWS, Finish::kGATED> loader(args, sharedAddress(shared), begin, end);
    for (int32_t i = 0; i < kSTAGES - 1; ++i)
        loader.next(i);
    using P = Product<Kind, kROWS>;
    P product;
    int32_t stage = 0;
    for (int32_t block = begin; block < end;)
    {
        int32_t const tile = block / work.kBlocks;
        int32_t const first = block - tile * work.kBlocks;
        int32_t const count = min(work.kBlocks - first, end - block);
        product.clear();
        for (int32_t i = 0; i < count; ++i)
        {
            copyWait<kSTAGES - 2>();
            __syncthreads();
            loader.next(stage == 0 ? kSTAGES - 1 : stage - 1);
            product.multiply(sharedAddress(shared) + stage * stageBytes(kROWS));
            stage = stage + 1 == kSTAGES ? 0 : stage + 1;
        }
        block += count;
        if (!gatherTile(work, product, range, tile, first, count))
            continue;
        int32_t const lane = threadIdx.x % 32;
        int32_t const row0 = tile % work.rowTiles * kROWS + P::firstRow() + lane / 4;
        constexpr int32_t kSHARE = Finish::kGATED ? 2 : 1;
        int32_t const column0 = tile / work.rowTiles * columnsOf<Finish::kGATED>() + P::firstColumn() / kSHARE + lane % 4 * 2;
#pragma unroll
        for (int32_t m = 0; m < P::kM; ++m)
#pragma unroll
            for (int32_t i = 0; i < 2; ++i)
#pragma unroll
                for (int32_t n = 0; n < P::kN; n += kSHARE)
                {
                    int32_t const row = row0 + m * 16 + i * 8;
                    int32_t const column = column0 + n / kSHARE * 8;
                    // n is even, so a pair is inside or outside as a whole.
                    if (row >= args.rows || column >= args.n)
                        continue;
                    auto const& s = product.sum[m][n];
                    if constexpr (Finish::kGATED)
                    {
                        auto const& second = product.sum[m][n + 1];
                        finish(s[2 * i], s[2 * i + 1], second[2 * i], second[2 * i + 1], row, column);
                    }
                    else
                        finish(static_cast<float>(s[2 * i]), static_cast<float>(s[2 * i + 1]), row, column);
                }
    }
    copyWait<0>();
}

inline int32_t tileRows(int64_t rows) noexcept { return rows <= 16 ? 16 : rows <= 64 ? 64 : 128; }

// `columns`: of y that a tile makes, columnsOf<…>().
inline StreamK plan(int64_t rows, int64_t n, int64_t kBytes, int32_t columns = kCOLUMNS) noexcept
{
    int32_t const tile = tileRows(rows);
    // What a multiprocessor's shared memory holds at once.
    int32_t const resident = std::clamp(processorSharedBytes() / (kSTAGES * stageBytes(tile) + 1024), 1, tile == 16 ? 4 : 2);
    return planStreamK((rows + tile - 1) / tile, (n + columns - 1) / columns, (kBytes + kBLOCK - 1) / kBLOCK,
        static_cast<int64_t>(multiprocessors()) * resident);
}

// For `rows` or fewer.
inline int64_t workspaceBytes(int64_t rows, int64_t n, int64_t kBytes, int32_t columns = kCOLUMNS) noexcept
{
    auto const bytesOf = [&](int64_t count)
    { return plan(count, n, kBytes, columns).ranges * static_cast<int64_t>(tileRows(count)) * kCOLUMNS * 4; };
    int64_t most = bytesOf(rows);
    for (int64_t const count : {16, 64, 128})
        if (count < rows)
            most = std::max(most, bytesOf(count));
    return most;
}

// Why this product is none of ours, or null. `stateBytes`: of counters.
inline char const* limits(int64_t rows, int64_t n, int64_t kBytes, StreamK const& work, int64_t stateBytes) noexcept
{
    if (rows > INT32_MAX - 128 || n > INT32_MAX - 128 || kBytes > INT32_MAX - 128)
        return "more than 2^31 rows, columns or bytes of a row";
    return work.ranges * 4LL > stateBytes ? "more multiprocessors than the state has counters" : nullptr;
}

template <typename Kind, int32_t kROWS, typename Finish>
int32_t start(char const* plugin, Arguments const& args, Finish const& finish, cudaStream_t stream) noexcept
{
    auto* const function = kernel<Kind, kROWS, Finish>;
    constexpr int32_t kBYTES = kSTAGES * stageBytes(kROWS);
    if (auto const status = checked(plugin, cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, kBYTES)))
        return status;
    function<<<args.work.ranges, kTHREADS, kBYTES, stream>>>(args, finish);
    return checked(plugin, cudaGetLastError());
}

// args.work.partials and counters are set; the counters are `ranges` words that are zero before and after.
template <typename Kind, typename Finish>
int32_t launch(char const* plugin, Arguments const& args, Finish const& finish, cudaStream_t stream) noexcept
{
    switch (tileRows(args.rows))
    {
    case 16: return start<Kind, 16>(plugin, args, finish, stream);
    case 64: return start<Kind, 64>(plugin, args, finish, stream);
    default: return start<Kind, 128>(plugin, args, finish, stream);
    }
}
} // namespace mmtrt::matmulNt
