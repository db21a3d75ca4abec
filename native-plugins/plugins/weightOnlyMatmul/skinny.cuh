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
// A warp has a FIFO of cp.async and rows of x of its own, so the warps of a block meet only to reduce. Of blocks that share
// columns the last to arrive at a counter adds what all left in the workspace.
#pragma once
#include "skinny_reduce.cuh"
#include "skinny_weights.cuh"

namespace mmtrt::weightOnlyMatmul
{
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

// kMOST: 1 row, or up to 8.
template <typename T, int32_t kBITS, int32_t kMOST>
__global__ void __launch_bounds__(kWARPS * 32, kRESIDENT) skinnyKernel(Arguments const args)
{
    using L = Layout<kBITS>;
    constexpr int32_t kDEPTH = kSTAGES<kBITS>;
    extern __shared__ __align__(128) char shared[];
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
    reduceBlocks<T>(args, held, column);
}
} // namespace mmtrt::weightOnlyMatmul
