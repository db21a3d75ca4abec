// y[m, n] = Σ a[m, k] · b[n, k], both row-major along k: the form in which checkpoints keep float, SmoothQuant's and FP8's weights.
// Elements are INT8 (sums in int32), E4M3 or 16-bit floats (sums in float): 32 bytes of k are one tensor-core step for all of them,
// with the same places of the bytes in registers. A block of 8 warps makes kROWS × 128 of y; the k blocks of all tiles are
// shared evenly (stream_k.cuh). What becomes of the sums is the caller's: finish(low, high, row, column) for two neighbours. A
// gated product has two b: rows of both take turns, 8 each, so that a thread has the sums of both for
// finish(low, high, lowOfSecond, highOfSecond, row, column).
#pragma once
#include "error.h"
#include "stream_k.cuh"

namespace mmtrt::matmulNt
{
inline constexpr int32_t kTHREADS = 256;
inline constexpr int32_t kCOLUMNS = 128;
// Bytes of k, so that a row's 8 pieces of 16 bytes go into different banks when they are exchanged by row.
inline constexpr int32_t kBLOCK = 128;
inline constexpr int32_t kSTAGES = 3;

struct Arguments
{
    uint8_t const* a;
    uint8_t const* b;
    // Of a gated product.
    uint8_t const* second;
    int32_t rows;
    int32_t n;
    // A multiple of 16.
    int32_t kBytes;
    StreamK work;
};

struct Int8
{
    using Sum = int32_t;
    static __device__ __forceinline__ void mma(int32_t (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1)
    {
        asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
};

struct Float8
{
    using Sum = float;
    static __device__ __forceinline__ void mma(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1)
    {
        // The host starts nothing of this before SM 89.
#if __CUDA_ARCH__ >= 890
        asm volatile("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
    }
};

template <typename T>
struct Float16
{
    using Sum = float;
    static __device__ __forceinline__ void mma(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1)
    {
        mmtrt::mma<T>(c, a, b0, b1);
    }
};

__host__ __device__ constexpr int32_t stageBytes(int32_t rows) noexcept { return (rows + kCOLUMNS) * kBLOCK; }

// Columns of y that a tile makes.
template <bool kGATED>
__host__ __device__ constexpr int32_t columnsOf() noexcept
{
    return kGATED ? kCOLUMNS / 2 : kCOLUMNS;
}

// A warp's share: kM × 16 rows, kN × 8 columns.
template <typename Kind, int32_t kROWS>
struct Product
{
    // Warps along the rows; the others are along the columns.
    static constexpr int32_t kROW_WARPS = kROWS >= 64 ? 2 : 1;
    static constexpr int32_t kCOLUMN_WARPS = 8 / kROW_WARPS;
    static constexpr int32_t kM = kROWS / kROW_WARPS / 16;
    static constexpr int32_t kN = kCOLUMNS / kCOLUMN_WARPS / 8;
    static constexpr int32_t kVECTORS = kM * kN;
    using Sum = typename Kind::Sum;
    Sum sum[kM][kN][4];

    static __device__ __forceinline__ int32_t firstRow() { return threadIdx.x / 32 / kCOLUMN_WARPS * kM * 16; }
    static __device__ __forceinline__ int32_t firstColumn() { return threadIdx.x / 32 % kCOLUMN_WARPS * kN * 8; }
    static __device__ __forceinline__ uint32_t place(int32_t row, int32_t piece) { return row * kBLOCK + (piece ^ row % 8) * 16; }

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int32_t i = 0; i < kVECTORS * 4; ++i)
            sum[i / 4 / kN][i / 4 % kN][i % 4] = 0;
    }

    __device__ __forceinline__ void multiply(uint32_t stage)
    {
        int32_t const lane = threadIdx.x % 32;
#pragma unroll
        for (int32_t step = 0; step < kBLOCK / 32; ++step)
        {
            uint32_t a[kM][4];
#pragma unroll
            for (int32_t m = 0; m < kM; ++m)
                loadMatrix(a[m], stage + place(firstRow() + m * 16 + lane % 16, step * 2 + lane / 16));
#pragma unroll
            for (int32_t n = 0; n < kN; n += 2)
            {
                uint32_t b[4];
                int32_t const row = kROWS + firstColumn() + n * 8 + lane / 16 * 8 + lane % 8;
                loadMatrix(b, stage + place(row, step * 2 + lane / 8 % 2));
#pragma unroll
                for (int32_t m = 0; m < kM; ++m)
                {
                    Kind::mma(sum[m][n], a[m], b[0], b[1]);
                    Kind::mma(sum[m][n + 1], a[m], b[2], b[3]);
                }
            }
        }
    }

    __device__ __forceinline__ void leave(StreamK const& k, int32_t range) const
    {
        float4* const to = partialSums(k, range, kVECTORS);
#pragma unroll
        for (int32_t i = 0; i < kVECTORS; ++i)
            __stcg(to + i * kTHREADS, *reinterpret_cast<float4 const*>(sum[i / kN][i % kN]));
    }
    __device__ __forceinline__ void take(StreamK const& k, int32_t range)
    {
        float4 const* const from = partialSums(k, range, kVECTORS);
#pragma unroll
        for (int32_t i = 0; i < kVECTORS; ++i)
        {
            float4 const value = __ldcg(from + i * kTHREADS);
            auto const* const values = reinterpret_cast<Sum const*>(&value);
#pragma unroll
            for (int32_t j = 0; j < 4; ++j)
                sum[i / kN][i % kN][j] += values[j];
        }
    }
};

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
