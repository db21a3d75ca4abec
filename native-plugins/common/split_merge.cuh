// Results over different tokens of the same heads made one: of a block's warps in shared memory, of blocks in global memory.
#pragma once
#include "split_tile.cuh"

namespace mmtrt::split
{
template <int32_t kD>
inline constexpr int32_t kPARTIAL_OF = Layout<int8_t, kD>::kPARTIAL;

// One of several results over different tokens, in shared or global memory: out[8][D], maximum[8], sum[8].
template <bool kCODES, int32_t kD>
__device__ __forceinline__ void store(float* to, State<kD> const& state)
{
    int32_t const g = threadIdx.x % 32 / 4;
    int32_t const t = threadIdx.x % 4;
#pragma unroll
    for (int32_t i = 0; i < 2; ++i)
    {
        float sum = state.sum[i];
#pragma unroll
        for (int32_t other = 4; other < 32; other *= 2)
            sum += __shfl_xor_sync(kFULL_WARP, sum, other);
        int32_t const head = 2 * t + i;
#pragma unroll
        for (int32_t d = 0; d < kD / 16; ++d)
        {
            to[head * kD + d * 16 + (kCODES ? 2 * g : g)] = state.out[d][i];
            to[head * kD + d * 16 + (kCODES ? 2 * g + 1 : g + 8)] = state.out[d][i + 2];
        }
        if (g == 0)
        {
            to[kHEADS * kD + head] = state.maximum[i];
            to[kHEADS * kD + kHEADS + head] = sum;
        }
    }
}

// Merges the block's warps, whose results lie kPARTIAL floats apart in shared memory. `write(head, d, out, maximum, sum)` gets
// each element.
template <int32_t kD, typename Write>
__device__ __forceinline__ void mergeWarps(float const* from, int32_t heads, Write write)
{
    constexpr int32_t kPARTIAL = kPARTIAL_OF<kD>;
    for (int32_t i = threadIdx.x; i < heads * kD; i += kWARPS * 32)
    {
        int32_t const head = i / kD;
        float maximum = kNONE;
#pragma unroll
        for (int32_t w = 0; w < kWARPS; ++w)
            maximum = fmaxf(maximum, from[w * kPARTIAL + kHEADS * kD + head]);
        float out = 0.F;
        float sum = 0.F;
#pragma unroll
        for (int32_t w = 0; w < kWARPS; ++w)
        {
            float const* part = from + w * kPARTIAL;
            float const m = part[kHEADS * kD + head];
            float const factor = m == kNONE ? 0.F : exp2f(m - maximum);
            out += part[i] * factor;
            sum += part[kHEADS * kD + kHEADS + head] * factor;
        }
        write(head, i % kD, out, maximum, sum);
    }
}

// Merges the results of `splits` blocks in global memory, past L1, where other blocks' writes do not show. `scale` is of the
// values' codes.
template <typename T, int32_t kD>
__device__ __forceinline__ void mergeBlocks(T* y, float const* from, int32_t splits, int32_t heads, float scale, float* factors)
{
    constexpr int32_t kPARTIAL = kPARTIAL_OF<kD>;
    static_assert(kMOST_SPLITS == 64, "two results a lane");
    int32_t const lane = threadIdx.x % 32;
    for (int32_t head = threadIdx.x / 32; head < heads; head += kWARPS)
    {
        float m[2];
        float sum[2];
#pragma unroll
        for (int32_t i = 0; i < 2; ++i)
        {
            int32_t const s = lane + 32 * i;
            float const* part = from + s * kPARTIAL + kHEADS * kD + head;
            m[i] = s < splits ? __ldcg(part) : kNONE;
            sum[i] = s < splits ? __ldcg(part + kHEADS) : 0.F;
        }
        float maximum = fmaxf(m[0], m[1]);
#pragma unroll
        for (int32_t other = 1; other < 32; other *= 2)
            maximum = fmaxf(maximum, __shfl_xor_sync(kFULL_WARP, maximum, other));
        float total = 0.F;
#pragma unroll
        for (int32_t i = 0; i < 2; ++i)
        {
            m[i] = m[i] == kNONE ? 0.F : exp2f(m[i] - maximum);
            total += m[i] * sum[i];
        }
#pragma unroll
        for (int32_t other = 1; other < 32; other *= 2)
            total += __shfl_xor_sync(kFULL_WARP, total, other);
        // A sequence without tokens has no average: zeros.
        float const inverse = total > 0.F ? scale / total : 0.F;
        factors[head * kMOST_SPLITS + lane] = m[0] * inverse;
        factors[head * kMOST_SPLITS + lane + 32] = m[1] * inverse;
    }
    __syncthreads();
    for (int32_t i = threadIdx.x * 4; i < heads * kD; i += kWARPS * 32 * 4)
    {
        float const* factor = factors + i / kD * kMOST_SPLITS;
        float4 out{};
#pragma unroll 8
        for (int32_t s = 0; s < splits; ++s)
        {
            float4 const part = __ldcg(reinterpret_cast<float4 const*>(from + s * kPARTIAL + i));
            float const f = factor[s];
            out.x += part.x * f;
            out.y += part.y * f;
            out.z += part.z * f;
            out.w += part.w * f;
        }
        *reinterpret_cast<uint2*>(y + i) = make_uint2(pack<T>(out.x, out.y), pack<T>(out.z, out.w));
    }
}
} // namespace mmtrt::split
