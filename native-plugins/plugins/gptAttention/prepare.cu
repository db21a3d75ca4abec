// Code for SM 80 serves 86.
#include "error.h"
#include "float8.cuh"
#include "gptAttention.gen.h"
#include "launch.cuh"
#include "layer.cuh"
#include <algorithm>

namespace mmtrt::gptAttention
{
namespace
{
constexpr int32_t kTHREADS = 256;
// Copies of 16 bytes that a thread makes.
constexpr int32_t kCOPIES = 8;

// Blocks of the three jobs, in the order of their numbers.
struct Work
{
    Preparation preparation;
    // Blocks of all tokens, and of each: few tokens are shared out, so that a thread has one copy to make.
    int32_t tokenBlocks;
    int32_t blocksPerToken;
    int32_t maskBlocks;
    int32_t copyBlocks;
    // Units of 16 bytes in a row of the past and of the present, and blocks for each row.
    int64_t pastUnits;
    int64_t presentUnits;
    int32_t blocksPerRow;
};

// 8 elements e to e + 7 of a head: (x₁, x₂) → (x₁·cos − x₂·sin, x₂·cos + x₁·sin) for i and i + rotated; elements beyond
// 2 × rotated stay.
template <typename T>
__device__ __forceinline__ uint4 rotate(T const* head, T const* cosine, T const* sine, int32_t e, int32_t rotated)
{
    uint4 own = *reinterpret_cast<uint4 const*>(head + e);
    if (e >= 2 * rotated)
        return own;
    bool const first = e < rotated;
    int32_t const i = first ? e : e - rotated;
    uint4 const other = *reinterpret_cast<uint4 const*>(head + (first ? e + rotated : i));
    uint4 const c = *reinterpret_cast<uint4 const*>(cosine + i);
    uint4 const s = *reinterpret_cast<uint4 const*>(sine + i);
    auto* const x = reinterpret_cast<uint32_t*>(&own);
    auto const* const partner = reinterpret_cast<uint32_t const*>(&other);
#pragma unroll
    for (int32_t j = 0; j < 4; ++j)
    {
        float2 const a = unpack<T>(x[j]);
        float2 const b = unpack<T>(partner[j]);
        float2 const cs = unpack<T>(reinterpret_cast<uint32_t const*>(&c)[j]);
        float2 const sn = unpack<T>(reinterpret_cast<uint32_t const*>(&s)[j]);
        float const sign = first ? -1.F : 1.F;
        x[j] = pack<T>(a.x * cs.x + sign * (b.x * sn.x), a.y * cs.y + sign * (b.y * sn.y));
    }
    return own;
}

template <Codes kCODES>
__device__ __forceinline__ uint32_t encode(float x, float scale)
{
    // The division, and not a product with the inverse: QuantizeLinear's.
    float const scaled = __fdiv_rn(x, scale);
    if constexpr (kCODES == Codes::kINT8)
        return static_cast<uint32_t>(min(max(__float2int_rn(scaled), -128), 127)) & 0xffU;
    else
        return toFloat8(scaled);
}

template <typename T, Codes kCODES>
__device__ __forceinline__ void store(void* cache, int64_t element, uint4 value, float scale)
{
    if constexpr (kCODES == Codes::kNONE)
        *reinterpret_cast<uint4*>(static_cast<T*>(cache) + element) = value;
    else
    {
        uint32_t codes[2] = {};
#pragma unroll
        for (int32_t j = 0; j < 4; ++j)
        {
            float2 const pair = unpack<T>(reinterpret_cast<uint32_t const*>(&value)[j]);
            codes[j / 2] |= (encode<kCODES>(pair.x, scale) | encode<kCODES>(pair.y, scale) << 8) << (j % 2 * 16);
        }
        *reinterpret_cast<uint2*>(static_cast<uint8_t*>(cache) + element) = make_uint2(codes[0], codes[1]);
    }
}

template <typename T, Codes kCODES>
__device__ __forceinline__ void writeToken(Layer const& layer, Work const& work, int32_t block)
{
    Preparation const& p = work.preparation;
    int32_t const token = block / work.blocksPerToken;
    int32_t const sequence = token / layer.seq;
    int32_t const column = pastOf(layer, sequence) + token % layer.seq;
    int32_t const chunks = layer.headDim / 8;
    int64_t const row = static_cast<int64_t>(token);
    auto const* const from = static_cast<T const*>(layer.qkv) + row * layer.qkvStride;
    auto* const queries = static_cast<T*>(p.queries) + row * layer.heads * layer.headDim;
    auto const* const cosine = static_cast<T const*>(p.cosine) + row * p.rotated;
    auto const* const sine = static_cast<T const*>(p.sine) + row * p.rotated;
    float const scale = kCODES == Codes::kNONE ? 1.F : *layer.codeScale;
    bool const rotates = p.cosine != nullptr;
    int32_t const begin = p.queries != nullptr ? 0 : layer.heads * chunks;
    // What a full cache cannot hold is not written.
    int32_t const end = column < layer.held ? (layer.heads + 2 * layer.kvHeads) * chunks : layer.heads * chunks;
    int32_t const mine = block % work.blocksPerToken * kTHREADS + static_cast<int32_t>(threadIdx.x);
    for (int32_t i = begin + mine; i < end; i += work.blocksPerToken * kTHREADS)
    {
        int32_t const head = i / chunks;
        int32_t const e = i % chunks * 8;
        bool const isValue = head >= layer.heads + layer.kvHeads;
        T const* const source = from + head * layer.headDim;
        uint4 const value = rotates && !isValue ? rotate<T>(source, cosine, sine, e, p.rotated) : *reinterpret_cast<uint4 const*>(source + e);
        if (head < layer.heads)
        {
            *reinterpret_cast<uint4*>(queries + head * layer.headDim + e) = value;
            continue;
        }
        int32_t const kvHead = head - layer.heads - (isValue ? layer.kvHeads : 0);
        int64_t const element = rowOf(layer, sequence, kvHead, column) * layer.headDim + e;
        store<T, kCODES>(isValue ? layer.values : layer.keys, element, value, scale);
    }
}

__device__ __forceinline__ void maskBits(Layer const& layer, Preparation const& p, int32_t block)
{
    int64_t const word = static_cast<int64_t>(block) * (kTHREADS / 32) + threadIdx.x / 32;
    if (word >= static_cast<int64_t>(layer.batch) * layer.bitWords)
        return;
    int64_t const sequence = word / layer.bitWords;
    int32_t const column = static_cast<int32_t>(word % layer.bitWords) * 32 + static_cast<int32_t>(threadIdx.x % 32);
    bool const token = column < layer.capacity && p.mask[sequence * layer.capacity + column] != 0;
    uint32_t const bits = __ballot_sync(kFULL_WARP, token);
    if (threadIdx.x % 32 == 0)
        p.tokenBits[word] = bits;
}

__device__ __forceinline__ void copyPast(Layer const& layer, Work const& work, int32_t block)
{
    int32_t const row = block / work.blocksPerRow;
    int32_t const rows = layer.batch * layer.kvHeads;
    bool const isValue = row >= rows;
    int64_t const at = isValue ? row - rows : row;
    auto const* const from = static_cast<uint4 const*>(isValue ? work.preparation.pastValue : work.preparation.pastKey) + at * work.pastUnits;
    auto* const to = static_cast<uint4*>(isValue ? layer.values : layer.keys) + at * work.presentUnits;
    int64_t const first = static_cast<int64_t>(block % work.blocksPerRow) * kTHREADS * kCOPIES + threadIdx.x;
    uint4 held[kCOPIES];
#pragma unroll
    for (int32_t i = 0; i < kCOPIES; ++i)
        if (first + i * kTHREADS < work.pastUnits)
            held[i] = from[first + i * kTHREADS];
#pragma unroll
    for (int32_t i = 0; i < kCOPIES; ++i)
        if (first + i * kTHREADS < work.pastUnits)
            to[first + i * kTHREADS] = held[i];
}

template <typename T, Codes kCODES>
__global__ void __launch_bounds__(kTHREADS) prepareKernel(Layer const layer, Work const work)
{
    letNextKernelBegin();
    auto const block = static_cast<int32_t>(blockIdx.x);
    if (block < work.tokenBlocks)
        writeToken<T, kCODES>(layer, work, block);
    else if (block < work.tokenBlocks + work.maskBlocks)
        maskBits(layer, work.preparation, block - work.tokenBlocks);
    else
        copyPast(layer, work, block - work.tokenBlocks - work.maskBlocks);
}
} // namespace

int32_t prepare(Layer const& layer, Preparation const& preparation, bool half, cudaStream_t stream) noexcept
{
    Work work{};
    work.preparation = preparation;
    int64_t const tokens = static_cast<int64_t>(layer.batch) * layer.seq;
    int64_t const words = preparation.mask == nullptr ? 0 : static_cast<int64_t>(layer.batch) * layer.bitWords;
    int64_t const maskBlocks = (words + kTHREADS / 32 - 1) / (kTHREADS / 32);
    int64_t const elementBytes = layer.codes == Codes::kNONE ? 2 : 1;
    // In place there is no past elsewhere.
    int64_t const copied = preparation.pastKey == nullptr ? 0 : layer.past;
    work.pastUnits = copied * layer.headDim * elementBytes / 16;
    work.presentUnits = static_cast<int64_t>(layer.capacity) * layer.headDim * elementBytes / 16;
    int64_t const perRow = (work.pastUnits + kTHREADS * kCOPIES - 1) / (kTHREADS * kCOPIES);
    int64_t const copyBlocks = perRow * 2 * layer.batch * layer.kvHeads;
    int64_t const copies = static_cast<int64_t>(layer.heads + 2 * layer.kvHeads) * layer.headDim / 8;
    bool const few = tokens <= multiprocessors();
    work.blocksPerToken = few ? static_cast<int32_t>((copies + kTHREADS - 1) / kTHREADS) : 1;
    int64_t const tokenBlocks = tokens * work.blocksPerToken;
    int64_t const blocks = tokenBlocks + maskBlocks + copyBlocks;
    if (blocks > INT32_MAX)
        return refused(kNAME, "more tokens than a launch has blocks for");
    work.tokenBlocks = static_cast<int32_t>(tokenBlocks);
    work.maskBlocks = static_cast<int32_t>(maskBlocks);
    work.copyBlocks = static_cast<int32_t>(copyBlocks);
    work.blocksPerRow = static_cast<int32_t>(std::max<int64_t>(perRow, 1));
    auto const codes = layer.codes;
    auto* const kernel = half ? (codes == Codes::kNONE      ? prepareKernel<mmtrt::half, Codes::kNONE>
                                    : codes == Codes::kINT8 ? prepareKernel<mmtrt::half, Codes::kINT8>
                                                            : prepareKernel<mmtrt::half, Codes::kFP8>)
                              : (codes == Codes::kNONE      ? prepareKernel<bfloat16, Codes::kNONE>
                                    : codes == Codes::kINT8 ? prepareKernel<bfloat16, Codes::kINT8>
                                                            : prepareKernel<bfloat16, Codes::kFP8>);
    kernel<<<static_cast<uint32_t>(blocks), kTHREADS, 0, stream>>>(layer, work);
    return checked(kNAME, cudaGetLastError());
}
} // namespace mmtrt::gptAttention
