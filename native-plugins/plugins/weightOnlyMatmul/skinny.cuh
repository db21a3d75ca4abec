// Up to 8 rows of x against a quantized weight: bound by reading the weight once, and close behind by what comes before and after,
// since all is over in a few thousand cycles. Instructions are read from memory too, so there are few of them.
//
// A warp owns 128 columns and a range of k. The weight is operand A of mma.m16n8k16 (16 columns × 16 k) and x is B (16 k × 8
// rows), so one instruction serves all 8 rows. ldmatrix.trans of the bytes as they lie in memory gives lane (g, t) the same
// 16 bits of rows 2t and 2t+1 in one register: 4 columns of INT4, 2 of INT8. One logical operation then makes a register of A:
// it masks the bits and puts an exponent above them, so that the value is 1024 + u in fp16 (1024 + 16u for bits 4–7), 128 + u in
// bf16. These constants are taken off the sums, not the weights: sum(x × (1032 + q)) − 1032 × sum(x), and sum(x) comes from one
// more product, with ones. INT8 does not fit below bf16's exponent and is made exact first.
//
// A warp has a FIFO of cp.async and rows of x of its own, so the warps of a block meet only to reduce. Blocks that share columns
// are a cluster where there are clusters: each sends its sums to the one that finishes the columns. Elsewhere the last to arrive
// at a counter adds what all left in the workspace.
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
inline constexpr int32_t kVECTORS = kCOLUMNS / 4;
// Steps of a warp that are on their way at once: latency × bandwidth asks for about 30 KiB on each multiprocessor.
#ifndef MMTRT_SKINNY_STAGES4
#define MMTRT_SKINNY_STAGES4 4
#endif
#ifndef MMTRT_SKINNY_STAGES8
#define MMTRT_SKINNY_STAGES8 3
#endif
template <int32_t kBITS>
inline constexpr int32_t kSTAGES = kBITS == 4 ? MMTRT_SKINNY_STAGES4 : MMTRT_SKINNY_STAGES8;
// A warp's: bounds the shared memory of x (8 rows × 32 bytes a step).
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
    // 2^32 over groupSteps, rounded up; 0 stands for one step.
    uint32_t groupInverse;
    // Warps share the steps in units, a group's or one: each has `unitsEach`, the first `unitsLeft` one more. Reckoned on the
    // host, because a division costs as much as two steps.
    int32_t unit;
    int32_t unitsEach;
    int32_t unitsLeft;
    int32_t splits;
    // Bytes of a warp's rows of x, and from one row to the next: 16 past a multiple of 128, so that 8 rows × 4 lanes hit
    // different banks.
    int32_t xBytes;
    int32_t xStride;
    bool clustered;
    Curve curve;
};

// For ranges of this many elements or fewer.
inline int32_t rowStride(int32_t range) noexcept
{
    return (range * 2 + 127) / 128 * 128 + 16;
}

template <int32_t kBITS>
struct Layout
{
    static constexpr int32_t kSTEP_BYTES = kSTEP * kCOLUMNS * kBITS / 8;
    static constexpr int32_t kFIFO_BYTES = kSTAGES<kBITS> * kSTEP_BYTES;
    // Pieces of 16 bytes in a row of the tile: 32 columns of INT4, 16 of INT8.
    static constexpr int32_t kPIECES = kCOLUMNS * kBITS / 128;
    static constexpr int32_t kPIECE_COLUMNS = 128 / kBITS;
    // Copies of a lane in a step, and the rows between them.
    static constexpr int32_t kCOPIES = kSTEP * kPIECES / 32;
    static constexpr int32_t kCOPY_ROWS = 32 / kPIECES;

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
    uint8_t const* source;
    uint32_t target;
    int64_t rowBytes;
    uint64_t policy;
    int32_t left;
    bool inside;

    __device__ __forceinline__ Stream(Arguments const& args, uint32_t fifo, int32_t column0, int32_t begin, int32_t end)
        : rowBytes(static_cast<int64_t>(args.n) * kBITS / 8)
        , policy(streamingPolicy())
        , left(end - begin)
    {
        int32_t const row = threadIdx.x % 32 / L::kPIECES;
        int32_t const c = threadIdx.x % L::kPIECES;
        int32_t const column = column0 + c * L::kPIECE_COLUMNS;
        inside = column < args.n;
        source = args.weight + (begin * kSTEP + row) * rowBytes + column * kBITS / 8;
        target = fifo + L::offset(row, c);
    }

    __device__ __forceinline__ void next(int32_t stageOffset)
    {
        if (left > 0)
        {
#pragma unroll
            for (int32_t i = 0; i < L::kCOPIES; ++i)
            {
                // Rows four further have the other half of INT8's 8 exchanges.
                uint32_t const exchanged = kBITS == 8 && i % 2 == 1 ? target ^ 64U : target;
                copyAsync16(exchanged + stageOffset + i * L::kCOPY_ROWS * L::kPIECES * 16, source + rowBytes * (i * L::kCOPY_ROWS), inside, policy);
            }
            source += rowBytes * kSTEP;
            --left;
        }
        copyCommit();
    }
};

// Operand A of columns 2f and 2f+1 of `upper` (k 0–7) and `lower` (k 8–15), with what Excess says above the codes.
template <typename T, int32_t kBITS>
__device__ __forceinline__ void fragment(uint32_t (&a)[4], uint32_t upper, uint32_t lower)
{
    if constexpr (kBITS == 8 && IsHalf<T>::value)
    {
        a[0] = expand<0x00ff00ffU, 0x64806480U>(upper);
        a[1] = expand<0x00ff00ffU, 0x64806480U>(upper >> 8);
        a[2] = expand<0x00ff00ffU, 0x64806480U>(lower);
        a[3] = expand<0x00ff00ffU, 0x64806480U>(lower >> 8);
    }
    else if constexpr (kBITS == 8)
    {
        a[0] = bitsOf<T>(codes<T, 8, 0>(upper));
        a[1] = bitsOf<T>(codes<T, 8, 1>(upper));
        a[2] = bitsOf<T>(codes<T, 8, 0>(lower));
        a[3] = bitsOf<T>(codes<T, 8, 1>(lower));
    }
    else if constexpr (IsHalf<T>::value)
    {
        a[0] = expand<0x000f000fU, 0x64086408U>(upper);
        a[1] = expand<0x00f000f0U, 0x64806480U>(upper);
        a[2] = expand<0x000f000fU, 0x64086408U>(lower);
        a[3] = expand<0x00f000f0U, 0x64806480U>(lower);
    }
    else
    {
        a[0] = expand<0x000f000fU, 0x43084308U>(upper);
        a[1] = expand<0x000f000fU, 0x43084308U>(upper >> 4);
        a[2] = expand<0x000f000fU, 0x43084308U>(lower);
        a[3] = expand<0x000f000fU, 0x43084308U>(lower >> 4);
    }
}

// What fragment() adds to the codes of its even and odd columns, and what the odd ones are multiplied by.
template <typename T, int32_t kBITS>
struct Excess
{
    static constexpr float kEVEN = IsHalf<T>::value ? (kBITS == 4 ? 1024.F + 8.F : 1024.F + 128.F) : (kBITS == 4 ? 128.F + 8.F : 0.F);
    static constexpr float kODD = IsHalf<T>::value ? 1024.F + 128.F : kEVEN;
    static constexpr float kODD_FACTOR = IsHalf<T>::value && kBITS == 4 ? 1.F / 16.F : 1.F;
};

// One step of 16 k of all columns. `ones` gathers sum(x).
template <typename T, int32_t kBITS>
__device__ __forceinline__ void multiply(float (&sum)[kFRAGMENTS][4], float (&ones)[4], uint32_t stage, uint32_t b0, uint32_t b1)
{
    using L = Layout<kBITS>;
    int32_t const lane = threadIdx.x % 32;
    constexpr uint32_t kONE = IsHalf<T>::value ? 0x3c003c00U : 0x3f803f80U;
    uint32_t const one[4] = {kONE, kONE, kONE, kONE};
    mma<T>(ones, one, b0, b1);
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
            fragment<T, kBITS>(a, w[2 * i], w[2 * i + 1]);
            if constexpr (kBITS == 4)
            {
                mma<T>(sum[pair * 4 + i * 2], a, b0, b1);
                fragment<T, kBITS>(a, w[2 * i] >> 8, w[2 * i + 1] >> 8);
                mma<T>(sum[pair * 4 + i * 2 + 1], a, b0, b1);
            }
            else
                mma<T>(sum[pair * 2 + i], a, b0, b1);
        }
    }
}

// The scales of this lane's columns in one group, two neighbouring ones a register.
template <int32_t kBITS>
__device__ __forceinline__ void loadScales(uint32_t (&scale)[kFRAGMENTS], uint16_t const* row, int32_t columns)
{
    using L = Layout<kBITS>;
    int32_t const g = threadIdx.x % 32 / 4;
    constexpr int32_t kEACH = kBITS == 4 ? 2 : 1;
#pragma unroll
    for (int32_t f = 0; f < kFRAGMENTS; f += kEACH)
    {
        int32_t const column = L::column(f, g);
        bool const inside = column < columns;
        if constexpr (kEACH == 2)
        {
            uint2 const pair = inside ? __ldg(reinterpret_cast<uint2 const*>(row + column)) : uint2{};
            scale[f] = pair.x;
            scale[f + 1] = pair.y;
        }
        else
            scale[f] = inside ? __ldg(reinterpret_cast<uint32_t const*>(row + column)) : 0U;
    }
}

// total += (sum − what the exponents added) × scale; the sums start again.
template <typename T, int32_t kBITS, int32_t kMOST>
__device__ __forceinline__ void closeGroup(float (&total)[kFRAGMENTS][4], float (&sum)[kFRAGMENTS][4], float const (&ones)[4], uint32_t const (&scale)[kFRAGMENTS])
{
    using E = Excess<T, kBITS>;
#pragma unroll
    for (int32_t f = 0; f < kFRAGMENTS; ++f)
    {
        float2 const s = unpack<T>(scale[f]);
#pragma unroll
        for (int32_t i = 0; i < (kMOST == 1 ? 1 : 2); ++i)
        {
            total[f][i] += (sum[f][i] - E::kEVEN * ones[i]) * s.x;
            total[f][i + 2] += (sum[f][i + 2] - E::kODD * ones[i]) * (s.y * E::kODD_FACTOR);
        }
#pragma unroll
        for (float& value : sum[f])
            value = 0.F;
    }
}

// total += sum(x) × zero.
template <typename T, int32_t kBITS>
__device__ __forceinline__ void addZeros(float (&total)[kFRAGMENTS][4], float const (&ones)[4], uint16_t const* row, int32_t columns)
{
    uint32_t zero[kFRAGMENTS];
    loadScales<kBITS>(zero, row, columns);
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

// First step of a warp, counted over all blocks of a column tile.
__device__ __forceinline__ int32_t partBegin(Arguments const& args, int32_t part)
{
    return (part * args.unitsEach + min(part, args.unitsLeft)) * args.unit;
}

// Starts bringing the warp's elements of x to shared memory, 16 bytes a copy.
__device__ __forceinline__ void loadRows(Arguments const& args, uint32_t shared, int32_t begin, int32_t end)
{
    char const* x = static_cast<char const*>(args.x) + static_cast<int64_t>(begin) * kSTEP * 2;
#pragma unroll 1
    for (int32_t row = 0; row < args.rows; ++row)
    {
#pragma unroll 1
        for (int32_t piece = threadIdx.x % 32; piece < (end - begin) * 2; piece += 32)
            copyAsync16(shared + piece * 16, x + piece * 16, true);
        shared += args.xStride;
        x += static_cast<int64_t>(args.k) * 2;
    }
}

// x · prequant in place, rounded, once the rows are there.
template <typename T>
__device__ __forceinline__ void scaleRows(Arguments const& args, char* rows, int32_t begin, int32_t end)
{
    auto const* const factors = static_cast<uint32_t const*>(args.prequant) + begin * (kSTEP / 2);
#pragma unroll 1
    for (int32_t pair = threadIdx.x % 32; pair < (end - begin) * (kSTEP / 2); pair += 32)
    {
        float2 const factor = unpack<T>(__ldg(factors + pair));
#pragma unroll 1
        for (int32_t row = 0; row < args.rows; ++row)
        {
            auto* const at = reinterpret_cast<uint32_t*>(rows + row * args.xStride) + pair;
            float2 const value = unpack<T>(*at);
            *at = pack<T>(value.x * factor.x, value.y * factor.y);
        }
    }
}

__device__ __forceinline__ float4 add(float4 a, float4 b) { return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }

// Bias, activation and rounding of 4 neighbouring columns.
template <typename T>
__device__ __forceinline__ void finish(Arguments const& args, float4 value, int64_t row, int32_t n)
{
    if (args.bias != nullptr)
    {
        uint2 const bias = __ldg(reinterpret_cast<uint2 const*>(static_cast<T const*>(args.bias) + n));
        float2 const low = unpack<T>(bias.x);
        float2 const high = unpack<T>(bias.y);
        value = add(value, make_float4(low.x, low.y, high.x, high.y));
    }
    if (args.curve.any)
        value = make_float4(activate(value.x, args.curve), activate(value.y, args.curve), activate(value.z, args.curve), activate(value.w, args.curve));
    *reinterpret_cast<uint2*>(static_cast<T*>(args.y) + row * args.n + n) = make_uint2(pack<T>(value.x, value.y), pack<T>(value.z, value.w));
}

// Everything that a block's warps have of its columns, as [warp][row][vector].
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
__device__ __forceinline__ void reduceInCluster(Arguments const& args, Held const& held, Inbox& inbox, float4* gathered, int32_t column)
{
    int32_t const share = kVECTORS / args.splits;
    int32_t const mine = blockIdx.y;
    Inbox::ready();
#pragma unroll 1
    for (int32_t i = threadIdx.x; i < held.rows * kVECTORS; i += kWARPS * 32)
    {
        int32_t const owner = i % kVECTORS / share;
        int32_t const at = (mine * held.rows + i / kVECTORS) * share + i % kVECTORS - owner * share;
        inbox.send(gathered + at, owner, held.sum(i));
    }
    if (static_cast<int32_t>(threadIdx.x) >= held.rows * share)
        return;
    inbox.wait();
#pragma unroll 1
    for (int32_t i = threadIdx.x; i < held.rows * share; i += kWARPS * 32)
    {
        int32_t const n = column + (mine * share + i % share) * 4;
        if (n >= args.n)
            continue;
        float4 value = gathered[i];
        for (int32_t s = 1; s < args.splits; ++s)
            value = add(value, gathered[s * held.rows * share + i]);
        finish<T>(args, value, i / share, n);
    }
}

template <typename T>
__device__ __forceinline__ void reduceInMemory(Arguments const& args, Held const& held, int32_t column)
{
    auto* const all = reinterpret_cast<float4*>(args.partials) + static_cast<int64_t>(blockIdx.x) * args.splits * (kROWS * kVECTORS);
    if (args.splits > 1)
    {
#pragma unroll 1
        for (int32_t i = threadIdx.x; i < held.rows * kVECTORS; i += kWARPS * 32)
            __stcg(all + blockIdx.y * (kROWS * kVECTORS) + i, held.sum(i));
        if (!arrivesLast(args.counters + blockIdx.x, args.splits))
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
        finish<T>(args, value, i / kVECTORS, n);
    }
}

// kMOST: 1 row, or up to 8.
template <typename T, int32_t kBITS, int32_t kMOST>
__global__ void __launch_bounds__(kWARPS * 32, kRESIDENT) skinnyKernel(Arguments const args)
{
    using L = Layout<kBITS>;
    constexpr int32_t kDEPTH = kSTAGES<kBITS>;
    extern __shared__ __align__(128) char shared[];
    // Apart from the FIFOs: neighbours send their sums while this block's totals are still read there.
    __shared__ float4 gathered[kMOST * kVECTORS];
    __shared__ Inbox inbox;
    int32_t const rows = kMOST == 1 ? 1 : args.rows;
    int32_t const warp = threadIdx.x / 32;
    int32_t const g = threadIdx.x % 32 / 4;
    int32_t const t = threadIdx.x % 4;
    int32_t const column = blockIdx.x * kCOLUMNS;
    int32_t const part = blockIdx.y * kWARPS + warp;
    int32_t const begin = partBegin(args, part);
    int32_t const end = partBegin(args, part + 1);
    uint32_t const fifo = sharedAddress(shared) + warp * L::kFIFO_BYTES;
    char* const xRows = shared + kWARPS * L::kFIFO_BYTES + warp * args.xBytes;

    Stream<kBITS> stream(args, fifo, column, begin, end);
    // With the first step's copies.
    loadRows(args, sharedAddress(xRows), begin, end);
#pragma unroll 1
    for (int32_t i = 0; i < kDEPTH; ++i)
        stream.next(i * L::kSTEP_BYTES);
    if (args.clustered)
    {
        if (threadIdx.x == 0)
            inbox.open(rows * kVECTORS * 16);
        __syncwarp();
        Inbox::started();
    }
    if (args.prequant != nullptr)
    {
        copyWait<kDEPTH - 1>();
        __syncwarp();
        scaleRows<T>(args, xRows, begin, end);
    }

    float total[kFRAGMENTS][4] = {};
    float sum[kFRAGMENTS][4] = {};
    auto const first = static_cast<uint32_t>(begin);
    auto group = static_cast<int32_t>(args.groupInverse == 0 ? first : __umulhi(first, args.groupInverse));
    char const* xLane = xRows + g * args.xStride + t * 4;
    for (int32_t step = begin, stage = 0; step < end; ++group)
    {
        int64_t const row = static_cast<int64_t>(group) * args.n + column;
        uint32_t scale[kFRAGMENTS];
        loadScales<kBITS>(scale, static_cast<uint16_t const*>(args.scale) + row, args.n - column);
        float ones[4] = {};
        int32_t const groupEnd = min(end, (group + 1) * args.groupSteps);
        for (; step < groupEnd; ++step)
        {
            copyWait<kDEPTH - 1>();
            __syncwarp();
            uint32_t b0 = 0;
            uint32_t b1 = 0;
            if (g < rows)
            {
                b0 = *reinterpret_cast<uint32_t const*>(xLane);
                b1 = *reinterpret_cast<uint32_t const*>(xLane + 16);
            }
            xLane += kSTEP * 2;
            multiply<T, kBITS>(sum, ones, fifo + stage, b0, b1);
            __syncwarp();
            stream.next(stage);
            stage = stage + L::kSTEP_BYTES == L::kFIFO_BYTES ? 0 : stage + L::kSTEP_BYTES;
        }
        if (args.zero != nullptr)
            addZeros<T, kBITS>(total, ones, static_cast<uint16_t const*>(args.zero) + row, args.n - column);
        closeGroup<T, kBITS, kMOST>(total, sum, ones, scale);
    }
    copyWait<0>();
    __syncthreads();

    // The FIFOs are done with: they take each warp's totals as [warp][row][column].
    auto* const partial = reinterpret_cast<float*>(shared) + (warp * rows + 2 * t) * kCOLUMNS;
#pragma unroll
    for (int32_t f = 0; f < kFRAGMENTS; ++f)
#pragma unroll
        for (int32_t i = 0; i < (kMOST == 1 ? 1 : 2); ++i)
            if (2 * t + i < rows)
                *reinterpret_cast<float2*>(partial + i * kCOLUMNS + L::column(f, g)) = make_float2(total[f][i], total[f][i + 2]);
    __syncthreads();
    Held const held{reinterpret_cast<float4 const*>(shared), rows};
    if (args.clustered)
        reduceInCluster<T>(args, held, inbox, gathered, column);
    else
        reduceInMemory<T>(args, held, column);
}
} // namespace mmtrt::weightOnlyMatmul
