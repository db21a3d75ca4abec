// Up to 8 rows of x against a quantized weight: bound by reading the weight once, and close behind by the instructions that
// turn it into numbers.
//
// A warp owns 128 columns and a range of k. The weight is operand A of mma.m16n8k16 (16 columns × 16 k) and x is B (16 k × 8
// rows), so one instruction serves all 8 rows. ldmatrix.trans of the bytes as they lie in memory gives lane (g, t) the same
// 16 bits of rows 2t and 2t+1 in one register: 4 columns of INT4, 2 of INT8. One logical operation then makes a register of A:
// it masks the bits and puts the exponent of 1024 above them, so that the fp16 value is 1024 + u, or 1024 + 16u for bits 4–7.
// These constants are taken off the sums, not the weights: sum(x × (1024 + 8 + q)) − 1032 × sum(x), and sum(x) comes from one
// more product, with ones. bf16 x is multiplied as fp16, which holds it exactly once each row is brought to a common range.
//
// A warp has a FIFO of cp.async and rows of x of its own, so the warps of a block meet only to reduce. Blocks that share columns
// are a cluster where there are clusters: they add up through each other's shared memory. Elsewhere the last to arrive at a
// counter adds what all left in the workspace.
#pragma once
#include "cluster.cuh"
#include "dequantize.cuh"

namespace mmtrt::weightOnlyMatmul
{
inline constexpr int32_t kWARPS = 4;
// Blocks that a multiprocessor holds at once.
inline constexpr int32_t kRESIDENT = 4;
inline constexpr int32_t kCOLUMNS = 128;
inline constexpr int32_t kROWS = 8;
inline constexpr int32_t kSTEP = 16;
inline constexpr int32_t kFRAGMENTS = kCOLUMNS / 16;
// Steps of a warp that are on their way at once: latency × bandwidth asks for about 30 KiB on each multiprocessor.
#ifndef MMTRT_SKINNY_STAGES4
#define MMTRT_SKINNY_STAGES4 4
#endif
#ifndef MMTRT_SKINNY_STAGES8
#define MMTRT_SKINNY_STAGES8 3
#endif
template <int32_t kBITS>
inline constexpr int32_t kSTAGES = kBITS == 4 ? MMTRT_SKINNY_STAGES4 : MMTRT_SKINNY_STAGES8;
// A warp's: a lane holds 8 elements of each row for every 16 of them.
inline constexpr int32_t kMOST_STEPS = 32;
// Portable size.
inline constexpr int32_t kMOST_CLUSTER = 8;

struct Arguments
{
    void const* x;
    uint8_t const* weight;
    void const* scale;
    void const* bias;
    void const* zero;
    void const* prequant;
    void* y;
    float* partials;
    uint32_t* counters;
    int32_t rows;
    int32_t k;
    int32_t n;
    int32_t groupSteps;
    int32_t groups;
    // Warps share the steps in units, a group's or one: each has `unitsEach`, the first `unitsLeft` one more. Reckoned on the
    // host, because a division costs as much as two steps.
    int32_t unit;
    int32_t unitsEach;
    int32_t unitsLeft;
    int32_t splits;
    // Bytes of a warp's rows of x.
    int32_t xBytes;
    bool clustered;
    Curve curve;
};

template <int32_t kBITS>
struct Layout
{
    static constexpr int32_t kSTEP_BYTES = kSTEP * kCOLUMNS * kBITS / 8;
    static constexpr int32_t kFIFO_BYTES = kSTAGES<kBITS> * kSTEP_BYTES;
    // Pieces of 16 bytes in a row of the tile: 32 columns of INT4, 16 of INT8.
    static constexpr int32_t kPIECES = kCOLUMNS * kBITS / 128;
    static constexpr int32_t kPIECE_COLUMNS = 128 / kBITS;
    // Copies of a lane in a step.
    static constexpr int32_t kCOPIES = kSTEP * kPIECES / 32;

    // Where piece `c` of `row` lies. Exchanging pieces by row puts the 8 rows of an ldmatrix into different banks.
    static __device__ __forceinline__ int32_t offset(int32_t row, int32_t c)
    {
        int32_t const linear = row * kPIECES + c;
        return (linear ^ (kBITS == 4 ? row / 2 % 4 : row % 8)) * 16;
    }

    // First of the two neighbouring columns that rows g and g+8 of fragment f stand for.
    static __device__ __forceinline__ int32_t column(int32_t f, int32_t g)
    {
        return kBITS == 4 ? f / 2 * 32 + 4 * g + f % 2 * 2 : f * 16 + 2 * g;
    }
};

// Walks down the weight, one step of 16 rows a call.
template <int32_t kBITS>
struct Stream
{
    using L = Layout<kBITS>;
    uint8_t const* source[L::kCOPIES];
    uint32_t target[L::kCOPIES];
    int64_t stepBytes;
    uint64_t policy;
    int32_t left;
    bool inside;

    __device__ __forceinline__ Stream(Arguments const& args, char* fifo, int32_t column, int32_t begin, int32_t end)
        : stepBytes(static_cast<int64_t>(args.n) * kBITS / 8 * kSTEP)
        , policy(streamingPolicy())
        , left(end - begin)
    {
        int32_t const lane = threadIdx.x % 32;
        int32_t const c = lane % L::kPIECES;
        inside = column + c * L::kPIECE_COLUMNS < args.n;
#pragma unroll
        for (int32_t i = 0; i < L::kCOPIES; ++i)
        {
            int32_t const row = (i * 32 + lane) / L::kPIECES;
            int64_t const first = (static_cast<int64_t>(begin) * kSTEP + row) * args.n + column + c * L::kPIECE_COLUMNS;
            source[i] = args.weight + (inside ? first * kBITS / 8 : 0);
            target[i] = sharedAddress(fifo) + L::offset(row, c);
        }
    }

    __device__ __forceinline__ void next(int32_t stage)
    {
        if (left > 0)
        {
#pragma unroll
            for (int32_t i = 0; i < L::kCOPIES; ++i)
            {
                copyAsync16(target[i] + stage * L::kSTEP_BYTES, source[i], inside, policy);
                source[i] += inside ? stepBytes : 0;
            }
            --left;
        }
        copyCommit();
    }
};

// Two's complement ^ its sign bit is value + 8 (INT4) or + 128 (INT8); what is left is what closeGroup() takes off.
template <int32_t kBITS>
__device__ __forceinline__ void fragment(uint32_t (&a)[4], uint32_t upper, uint32_t lower)
{
    if constexpr (kBITS == 4)
    {
        a[0] = expand<0x000f000fU, 0x64086408U>(upper);
        a[1] = expand<0x00f000f0U, 0x64806480U>(upper);
        a[2] = expand<0x000f000fU, 0x64086408U>(lower);
        a[3] = expand<0x00f000f0U, 0x64806480U>(lower);
    }
    else
    {
        a[0] = expand<0x00ff00ffU, 0x64806480U>(upper);
        a[1] = expand<0x00ff00ffU, 0x64806480U>(upper >> 8);
        a[2] = expand<0x00ff00ffU, 0x64806480U>(lower);
        a[3] = expand<0x00ff00ffU, 0x64806480U>(lower >> 8);
    }
}

// One step of 16 k of all columns. `ones` gathers sum(x).
template <int32_t kBITS>
__device__ __forceinline__ void multiply(float (&sum)[kFRAGMENTS][4], float (&ones)[4], uint32_t stage, uint2 b)
{
    using L = Layout<kBITS>;
    int32_t const lane = threadIdx.x % 32;
    uint32_t const one[4] = {0x3c003c00U, 0x3c003c00U, 0x3c003c00U, 0x3c003c00U};
    mma<half>(ones, one, b.x, b.y);
#pragma unroll
    for (int32_t pair = 0; pair < L::kPIECES / 2; ++pair)
    {
        // Rows 0–7 and 8–15 of two pieces.
        uint32_t w[4];
        loadMatrixTransposed(w, stage + L::offset(lane % 16, pair * 2 + lane / 16));
#pragma unroll
        for (int32_t i = 0; i < 2; ++i)
        {
            uint32_t a[4];
            fragment<kBITS>(a, w[2 * i], w[2 * i + 1]);
            if constexpr (kBITS == 4)
            {
                mma<half>(sum[pair * 4 + i * 2], a, b.x, b.y);
                fragment<kBITS>(a, w[2 * i] >> 8, w[2 * i + 1] >> 8);
                mma<half>(sum[pair * 4 + i * 2 + 1], a, b.x, b.y);
            }
            else
                mma<half>(sum[pair * 2 + i], a, b.x, b.y);
        }
    }
}

// The scales of this lane's columns in one group, two neighbouring ones a register.
template <int32_t kBITS>
__device__ __forceinline__ void loadScales(uint32_t (&scale)[kFRAGMENTS], uint16_t const* row, int32_t columns)
{
    using L = Layout<kBITS>;
    int32_t const g = threadIdx.x % 32 / 4;
#pragma unroll
    for (int32_t f = 0; f < kFRAGMENTS; ++f)
    {
        int32_t const column = L::column(f, g);
        scale[f] = column < columns ? __ldg(reinterpret_cast<uint32_t const*>(row + column)) : 0U;
    }
}

// total += (sum − what the exponents added) × scale + sum(x) × zero; the sums start again.
template <typename T, int32_t kBITS>
__device__ __forceinline__ void closeGroup(float (&total)[kFRAGMENTS][4], float (&sum)[kFRAGMENTS][4], float (&ones)[4],
    uint32_t const (&scale)[kFRAGMENTS], uint16_t const* zeroRow, int32_t columns)
{
    constexpr float kLOW = kBITS == 4 ? 1024.F + 8.F : 1024.F + 128.F;
    constexpr float kHIGH = 1024.F + 128.F;
    constexpr float kHIGH_FACTOR = kBITS == 4 ? 1.F / 16.F : 1.F;
#pragma unroll
    for (int32_t f = 0; f < kFRAGMENTS; ++f)
    {
        float2 const s = unpack<T>(scale[f]);
#pragma unroll
        for (int32_t i = 0; i < 2; ++i)
        {
            total[f][i] += (sum[f][i] - kLOW * ones[i]) * s.x;
            total[f][i + 2] += (sum[f][i + 2] - kHIGH * ones[i]) * (s.y * kHIGH_FACTOR);
            sum[f][i] = 0.F;
            sum[f][i + 2] = 0.F;
        }
    }
    if (zeroRow != nullptr)
    {
        uint32_t zero[kFRAGMENTS];
        loadScales<kBITS>(zero, zeroRow, columns);
#pragma unroll
        for (int32_t f = 0; f < kFRAGMENTS; ++f)
        {
            float2 const z = unpack<T>(zero[f]);
#pragma unroll
            for (int32_t i = 0; i < 2; ++i)
            {
                total[f][i] += ones[i] * z.x;
                total[f][i + 2] += ones[i] * z.y;
            }
        }
    }
#pragma unroll
    for (float& one : ones)
        one = 0.F;
}

// Bytes from one row of x to the next in shared memory: 32 past a multiple of 128, so that 4 rows × 4 lanes of 8 bytes hit
// different banks.
__host__ __device__ inline int32_t rowStride(int32_t range)
{
    return (range * 2 + 95) / 128 * 128 + 32;
}

// First step of a warp, counted over all blocks of a column tile.
__device__ __forceinline__ int32_t partBegin(Arguments const& args, int32_t part)
{
    return (part * args.unitsEach + min(part, args.unitsLeft)) * args.unit;
}

// Brings a warp's rows of x to shared memory as fp16, in each 16 the pairs (0, 4, 1, 5, 2, 6, 3, 7), since a lane wants pairs t
// and t + 4 together. bf16 rows are multiplied by a power of two that takes their maximum to 2^14; back() gives its inverse.
// The constructor starts the reads before the weight's are queued, store() uses them.
template <typename T>
struct Rows
{
    static constexpr int32_t kPASSES = kMOST_STEPS * kSTEP / 256;
    uint4 held[kPASSES][kROWS];
    int32_t rows;
    int32_t range;

    // `x` is the warp's first element of its first row.
    __device__ __forceinline__ Rows(T const* x, T const* prequant, int32_t k, int32_t count, int32_t elements)
        : rows(count)
        , range(elements)
    {
        int32_t const lane = threadIdx.x % 32;
#pragma unroll
        for (int32_t pass = 0; pass < kPASSES; ++pass)
        {
            int32_t const at = pass * 32 + lane;
            bool const inside = at * 8 < range;
#pragma unroll
            for (int32_t row = 0; row < kROWS; ++row)
                held[pass][row] = row < rows && inside ? __ldg(reinterpret_cast<uint4 const*>(x + static_cast<int64_t>(row) * k) + at)
                                                       : uint4{};
            if (prequant != nullptr && inside)
                multiply(held[pass], __ldg(reinterpret_cast<uint4 const*>(prequant) + at));
        }
    }

    static __device__ __forceinline__ void multiply(uint4 (&rowsHeld)[kROWS], uint4 by)
    {
        auto const* const factors = reinterpret_cast<uint32_t const*>(&by);
#pragma unroll
        for (uint4& row : rowsHeld)
        {
            auto* const pairs = reinterpret_cast<uint32_t*>(&row);
#pragma unroll
            for (int32_t j = 0; j < 4; ++j)
            {
                float2 const value = unpack<T>(pairs[j]);
                float2 const factor = unpack<T>(factors[j]);
                pairs[j] = pack<T>(value.x * factor.x, value.y * factor.y);
            }
        }
    }

    // Exponent of a row's largest element, read off the bits; at least 15, so that factor and inverse are normal numbers.
    __device__ __forceinline__ uint32_t exponentOf(int32_t row) const
    {
        uint32_t pair = 0;
#pragma unroll
        for (int32_t pass = 0; pass < kPASSES; ++pass)
        {
            uint4 const e = held[pass][row];
            pair = __vmaxu2(pair, __vmaxu2(__vmaxu2(e.x & 0x7fff7fffU, e.y & 0x7fff7fffU), __vmaxu2(e.z & 0x7fff7fffU, e.w & 0x7fff7fffU)));
        }
        return max(15U, __reduce_max_sync(kFULL_WARP, max(pair & 0xffffU, pair >> 16) >> 7));
    }

    // 2^(141 − exponent): 127 + 14 less the row's.
    static __device__ __forceinline__ float factor(uint32_t exponent) { return __uint_as_float((268U - exponent) << 23); }
    static __device__ __forceinline__ float back(uint32_t exponent)
    {
        return IsHalf<T>::value ? 1.F : __uint_as_float((exponent - 14U) << 23);
    }

    __device__ __forceinline__ void store(char* shared, uint32_t* exponents, int32_t stride)
    {
        int32_t const lane = threadIdx.x % 32;
#pragma unroll
        for (int32_t row = 0; row < kROWS; ++row)
        {
            if (row >= rows)
                break;
            float f = 1.F;
            if constexpr (!IsHalf<T>::value)
            {
                uint32_t const exponent = exponentOf(row);
                f = factor(exponent);
                if (lane == 0)
                    exponents[row] = exponent;
            }
#pragma unroll
            for (int32_t pass = 0; pass < kPASSES; ++pass)
            {
                int32_t const at = pass * 32 + lane;
                if (at * 8 >= range)
                    break;
                char* const to = shared + row * stride + at / 2 * 32 + at % 2 * 4;
                auto const* const pairs = reinterpret_cast<uint32_t const*>(&held[pass][row]);
#pragma unroll
                for (int32_t j = 0; j < 4; ++j)
                {
                    uint32_t value = pairs[j];
                    if constexpr (!IsHalf<T>::value)
                    {
                        float2 const both = unpack<T>(value);
                        value = pack<half>(both.x * f, both.y * f);
                    }
                    *reinterpret_cast<uint32_t*>(to + j * 8) = value;
                }
            }
        }
    }
};

__device__ __forceinline__ float4 add(float4 a, float4 b) { return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }

// Bias, activation and rounding of 4 neighbouring columns.
template <typename T>
__device__ __forceinline__ void finish(Arguments const& args, float4 value, int64_t row, int32_t n)
{
    float* const v = reinterpret_cast<float*>(&value);
    if (args.bias != nullptr)
    {
        uint2 const bias = __ldg(reinterpret_cast<uint2 const*>(static_cast<T const*>(args.bias) + n));
        float2 const low = unpack<T>(bias.x);
        float2 const high = unpack<T>(bias.y);
        value = add(value, make_float4(low.x, low.y, high.x, high.y));
    }
    if (args.curve.any)
    {
#pragma unroll
        for (int32_t i = 0; i < 4; ++i)
            v[i] = activate(v[i], args.curve);
    }
    *reinterpret_cast<uint2*>(static_cast<T*>(args.y) + row * args.n + n) = make_uint2(pack<T>(v[0], v[1]), pack<T>(v[2], v[3]));
}

inline constexpr int32_t kVECTORS = kCOLUMNS / 4;

// Everything that a block's warps have of its columns.
struct Held
{
    float4 const* warps;
    int32_t rows;

    __device__ __forceinline__ float4 sum(int32_t i) const
    {
        float4 value = warps[i];
#pragma unroll
        for (int32_t w = 1; w < kWARPS; ++w)
            value = add(value, warps[w * rows * kVECTORS + i]);
        return value;
    }
};

// Each block of the cluster gets the others' sums of its share of the columns in its own shared memory, as [block][row][vector].
template <typename T>
__device__ __forceinline__ void reduceInCluster(Arguments const& args, Held const& held, float4* gathered, int32_t row0, int32_t column)
{
    int32_t const share = kVECTORS / args.splits;
    int32_t const mine = blockIdx.y;
    // All blocks have started: their shared memory is there.
    clusterWait();
    for (int32_t i = threadIdx.x; i < held.rows * kVECTORS; i += kWARPS * 32)
    {
        int32_t const owner = i % kVECTORS / share;
        int32_t const at = (mine * held.rows + i / kVECTORS) * share + i % kVECTORS - owner * share;
        storeInCluster(gathered + at, owner, held.sum(i));
    }
    clusterArrive();
    clusterWait();
    for (int32_t i = threadIdx.x; i < held.rows * share; i += kWARPS * 32)
    {
        int32_t const n = column + (mine * share + i % share) * 4;
        if (n >= args.n)
            continue;
        float4 value = gathered[i];
        for (int32_t s = 1; s < args.splits; ++s)
            value = add(value, gathered[s * held.rows * share + i]);
        finish<T>(args, value, row0 + i / share, n);
    }
}

template <typename T>
__device__ __forceinline__ void reduceInMemory(Arguments const& args, Held const& held, int32_t row0, int32_t column)
{
    int64_t const tile = static_cast<int64_t>(blockIdx.z) * gridDim.x + blockIdx.x;
    auto* const all = reinterpret_cast<float4*>(args.partials) + tile * args.splits * (kROWS * kVECTORS);
    if (args.splits > 1)
    {
#pragma unroll 1
        for (int32_t i = threadIdx.x; i < held.rows * kVECTORS; i += kWARPS * 32)
            __stcg(all + blockIdx.y * (kROWS * kVECTORS) + i, held.sum(i));
        if (!arrivesLast(args.counters + tile, args.splits))
            return;
    }
#pragma unroll 1
    for (int32_t i = threadIdx.x; i < held.rows * kVECTORS; i += kWARPS * 32)
    {
        int32_t const n = column + i % kVECTORS * 4;
        if (n >= args.n)
            continue;
        float4 value{};
        // In the order of k whichever block comes last: the same bits on every run.
        if (args.splits > 1)
        {
#pragma unroll 4
            for (int32_t s = 0; s < args.splits; ++s)
                value = add(value, __ldcg(all + s * (kROWS * kVECTORS) + i));
        }
        else
            value = held.sum(i);
        finish<T>(args, value, row0 + i / kVECTORS, n);
    }
}

template <typename T, int32_t kBITS>
__global__ void __launch_bounds__(kWARPS * 32, kRESIDENT) skinnyKernel(Arguments const args)
{
    using L = Layout<kBITS>;
    constexpr int32_t kDEPTH = kSTAGES<kBITS>;
    extern __shared__ __align__(128) char shared[];
    __shared__ uint32_t exponents[kWARPS][kROWS];
    // Apart from the FIFOs: neighbours send their sums while this block's totals are still read there.
    __shared__ float4 gathered[kROWS * kVECTORS];
    if (args.clustered)
        clusterArrive();
    int32_t const warp = threadIdx.x / 32;
    int32_t const g = threadIdx.x % 32 / 4;
    int32_t const t = threadIdx.x % 4;
    int32_t const column = blockIdx.x * kCOLUMNS;
    int32_t const row0 = blockIdx.z * kROWS;
    int32_t const rows = min(kROWS, args.rows - row0);
    int32_t const part = blockIdx.y * kWARPS + warp;
    int32_t const begin = partBegin(args, part);
    int32_t const end = partBegin(args, part + 1);
    char* const fifo = shared + warp * L::kFIFO_BYTES;
    char* const xShared = shared + kWARPS * L::kFIFO_BYTES + warp * args.xBytes;
    int32_t const stride = rowStride((end - begin) * kSTEP);

    auto const* const x = static_cast<T const*>(args.x) + static_cast<int64_t>(row0) * args.k + begin * kSTEP;
    auto const* const prequant = args.prequant == nullptr ? nullptr : static_cast<T const*>(args.prequant) + begin * kSTEP;
    Rows<T> xRows(x, prequant, args.k, rows, (end - begin) * kSTEP);
    Stream<kBITS> stream(args, fifo, column, begin, end);
#pragma unroll
    for (int32_t i = 0; i < kDEPTH; ++i)
        stream.next(i);
    uint32_t scale[kFRAGMENTS];
    int32_t const group = min(begin / args.groupSteps, args.groups - 1);
    int64_t const firstScale = static_cast<int64_t>(group) * args.n + column;
    auto const* scaleRow = static_cast<uint16_t const*>(args.scale) + firstScale;
    auto const* zeroRow = args.zero == nullptr ? nullptr : static_cast<uint16_t const*>(args.zero) + firstScale;
    loadScales<kBITS>(scale, scaleRow, args.n - column);
    xRows.store(xShared, exponents[warp], stride);
    __syncwarp();

    float total[kFRAGMENTS][4] = {};
    float sum[kFRAGMENTS][4] = {};
    float ones[4] = {};
    int32_t groupLeft = (group + 1) * args.groupSteps - begin;
    char const* xLane = xShared + g * stride + t * 8;
    for (int32_t step = begin, stage = 0; step < end; ++step)
    {
        uint2 b{};
        if (g < rows)
            b = *reinterpret_cast<uint2 const*>(xLane);
        xLane += kSTEP * 2;
        copyWait<kDEPTH - 1>();
        __syncwarp();
        multiply<kBITS>(sum, ones, sharedAddress(fifo) + stage * L::kSTEP_BYTES, b);
        __syncwarp();
        stream.next(stage);
        stage = stage + 1 == kDEPTH ? 0 : stage + 1;
        if (--groupLeft == 0 || step + 1 == end)
        {
            closeGroup<T, kBITS>(total, sum, ones, scale, zeroRow, args.n - column);
            groupLeft = args.groupSteps;
            scaleRow += args.n;
            zeroRow = zeroRow == nullptr ? nullptr : zeroRow + args.n;
            if (step + 1 < end)
                loadScales<kBITS>(scale, scaleRow, args.n - column);
        }
    }
    copyWait<0>();
    __syncthreads();

    // The FIFOs are done with: they take each warp's totals as [warp][row][column].
    auto* const partial = reinterpret_cast<float*>(shared);
#pragma unroll
    for (int32_t f = 0; f < kFRAGMENTS; ++f)
    {
#pragma unroll
        for (int32_t i = 0; i < 2; ++i)
        {
            int32_t const row = 2 * t + i;
            if (row < rows)
            {
                float const back = Rows<T>::back(exponents[warp][row]);
                *reinterpret_cast<float2*>(partial + (warp * rows + row) * kCOLUMNS + L::column(f, g))
                    = make_float2(total[f][i] * back, total[f][i + 2] * back);
            }
        }
    }
    __syncthreads();
    Held const held{reinterpret_cast<float4 const*>(partial), rows};
    if (args.clustered)
        reduceInCluster<T>(args, held, gathered, row0, column);
    else
        reduceInMemory<T>(args, held, row0, column);
}
} // namespace mmtrt::weightOnlyMatmul
