// Attention of several queries of each sequence, for every GPU from SM 80 on: mma.sync with ldmatrix, keys and values through
// cp.async, the softmax online.
//
// A block of 4 warps owns 128 queries of one head (64 at head_dim 256) and walks back over tiles of 64 tokens, from those that
// the causal mask cuts. The copy of values runs behind the product with keys, the next keys' behind the product with values;
// two blocks of a multiprocessor fill each other's waits. Blocks with most to read start first, so that the last to start are
// short.
#pragma once
#include "codes.cuh"
#include "error.h"
#include "gptAttention.gen.h"
#include "softmax.cuh"
#include "tile.cuh"

namespace mmtrt::gptAttention
{
template <typename C, int32_t kD>
struct Shape
{
    static constexpr bool kCODES = sizeof(C) == 1;
    static constexpr int32_t kWARPS = 4;
    static constexpr int32_t kTHREADS = kWARPS * 32;
    // Tiles of 16 queries of a warp.
    static constexpr int32_t kM = kD <= 128 ? 2 : 1;
    static constexpr int32_t kQUERIES = kWARPS * kM * 16;
    static constexpr int32_t kTOKENS = 64;
    // An odd number of 16-byte chunks between rows: the 8 rows of an ldmatrix hit different banks.
    static constexpr int32_t kQUERY_PITCH = (kD / 8 | 1) * 16;
    static constexpr int32_t kPITCH = (kD * static_cast<int32_t>(sizeof(C)) / 16 | 1) * 16;
    static constexpr int32_t kTILE_BYTES = kTOKENS * kPITCH;
    static constexpr int32_t kSHARED_BYTES = kQUERIES * kQUERY_PITCH + 2 * kTILE_BYTES;
};

// Codes: their registers have elements 4t to 4t + 3 of 16 where those of T have 2t, 2t + 1, 2t + 8, 2t + 9, so pairs of a query's
// elements change places alike. Pair 2t + j goes to t + 4j.
template <typename C, int32_t kD>
__device__ __forceinline__ void permuteQueries(Layer const& layer, char* shared, int32_t sequence, int32_t head, int32_t first)
{
    using S = Shape<C, kD>;
    constexpr int32_t kPAIRS = kD / 2;
    int64_t const row = static_cast<int64_t>(sequence) * layer.seq + first;
    auto const* const base = static_cast<uint32_t const*>(layer.queries) + (row * layer.queryStride + static_cast<int64_t>(head) * kD) / 2;
    for (int32_t i = threadIdx.x; i < S::kQUERIES * kPAIRS; i += S::kTHREADS)
    {
        int32_t const r = i / kPAIRS;
        int32_t const pair = i % kPAIRS;
        uint32_t const value = first + r < layer.seq ? base[r * layer.queryStride / 2 + pair] : 0U;
        int32_t const to = pair / 8 * 8 + pair % 8 / 2 + pair % 2 * 4;
        *reinterpret_cast<uint32_t*>(shared + r * S::kQUERY_PITCH + to * 4) = value;
    }
}

// score[kM][64 tokens] = Q · Kᵀ.
template <typename T, typename C, int32_t kD>
__device__ __forceinline__ void multiplyKeys(
    float (&score)[Shape<C, kD>::kM][8][4], uint32_t queries, uint32_t keys)
{
    using S = Shape<C, kD>;
    int32_t const lane = threadIdx.x % 32;
    uint32_t const queryRow = queries + (lane % 16) * S::kQUERY_PITCH + lane / 16 * 16;
    // T: tokens 0–7 of two chunks, then tokens 8–15. Codes: one chunk of 32 tokens.
    uint32_t const keyRow = keys + (S::kCODES ? lane : lane % 8 + lane / 16 * 8) * S::kPITCH + (S::kCODES ? 0 : lane / 8 % 2 * 16);
#pragma unroll
    for (int32_t m = 0; m < S::kM; ++m)
#pragma unroll
        for (int32_t j = 0; j < 8; ++j)
#pragma unroll
            for (int32_t i = 0; i < 4; ++i)
                score[m][j][i] = 0.F;
#pragma unroll
    for (int32_t d = 0; d < kD / 16; ++d)
    {
        uint32_t q[S::kM][4];
#pragma unroll
        for (int32_t m = 0; m < S::kM; ++m)
            loadMatrix(q[m], queryRow + m * 16 * S::kQUERY_PITCH + d * 32);
        if constexpr (S::kCODES)
        {
#pragma unroll
            for (int32_t half = 0; half < 2; ++half)
            {
                uint32_t k[4];
                loadMatrix(k, keyRow + half * 32 * S::kPITCH + d * 16);
#pragma unroll
                for (int32_t i = 0; i < 4; ++i)
                {
                    uint32_t const b0 = fromCodes<T, C, Bytes::kFIRST>(k[i]);
                    uint32_t const b1 = fromCodes<T, C, Bytes::kLAST>(k[i]);
#pragma unroll
                    for (int32_t m = 0; m < S::kM; ++m)
                        mma<T>(score[m][half * 4 + i], q[m], b0, b1);
                }
            }
        }
        else
        {
#pragma unroll
            for (int32_t pair = 0; pair < 4; ++pair)
            {
                uint32_t k[4];
                loadMatrix(k, keyRow + pair * 16 * S::kPITCH + d * 32);
#pragma unroll
                for (int32_t m = 0; m < S::kM; ++m)
                {
                    mma<T>(score[m][2 * pair], q[m], k[0], k[1]);
                    mma<T>(score[m][2 * pair + 1], q[m], k[2], k[3]);
                }
            }
        }
    }
}

// out[kM][D] += P · V. With T, out[j] has elements 8j to 8j + 7 of D; with codes, out[2c] has the even and out[2c + 1] the odd
// of 16c to 16c + 15.
template <typename T, typename C, int32_t kD>
__device__ __forceinline__ void multiplyValues(float (&out)[Shape<C, kD>::kM][kD / 8][4],
    float const (&p)[Shape<C, kD>::kM][8][4], uint32_t values)
{
    using S = Shape<C, kD>;
    int32_t const lane = threadIdx.x % 32;
    uint32_t const row = values + (lane % 16) * S::kPITCH;
#pragma unroll
    for (int32_t k = 0; k < 4; ++k)
    {
        uint32_t a[S::kM][4];
#pragma unroll
        for (int32_t m = 0; m < S::kM; ++m)
#pragma unroll
            for (int32_t i = 0; i < 4; ++i)
                a[m][i] = pack<T>(p[m][2 * k + i / 2][i % 2 * 2], p[m][2 * k + i / 2][i % 2 * 2 + 1]);
        constexpr int32_t kSTEP = S::kCODES ? 2 : 1;
#pragma unroll
        for (int32_t c = 0; c < kD / 16; c += kSTEP)
        {
            uint32_t v[4];
            // T: two chunks of 8 elements. Codes: two chunks of 16, the last of an odd number read twice.
            int32_t const chunk = S::kCODES ? min(c + lane / 16, kD / 16 - 1) : 2 * c + lane / 16;
            loadMatrixTransposed(v, row + k * 16 * S::kPITCH + chunk * 16);
#pragma unroll
            for (int32_t i = 0; i < 2; ++i)
            {
                if constexpr (S::kCODES)
                {
                    if (c + i >= kD / 16)
                        break;
                    uint32_t const even0 = fromCodes<T, C, Bytes::kEVEN>(v[2 * i]);
                    uint32_t const even1 = fromCodes<T, C, Bytes::kEVEN>(v[2 * i + 1]);
                    uint32_t const odd0 = fromCodes<T, C, Bytes::kODD>(v[2 * i]);
                    uint32_t const odd1 = fromCodes<T, C, Bytes::kODD>(v[2 * i + 1]);
#pragma unroll
                    for (int32_t m = 0; m < S::kM; ++m)
                    {
                        mma<T>(out[m][2 * (c + i)], a[m], even0, even1);
                        mma<T>(out[m][2 * (c + i) + 1], a[m], odd0, odd1);
                    }
                }
                else
                {
#pragma unroll
                    for (int32_t m = 0; m < S::kM; ++m)
                        mma<T>(out[m][2 * c + i], a[m], v[2 * i], v[2 * i + 1]);
                }
            }
        }
    }
}

template <typename T, typename C, int32_t kD>
__global__ void __launch_bounds__(Shape<C, kD>::kTHREADS, 2) contextKernel(Layer const layer)
{
    using S = Shape<C, kD>;
    extern __shared__ __align__(128) char shared[];
    auto const pairs = static_cast<uint32_t>(layer.batch * layer.heads);
    auto const pair = static_cast<int32_t>(blockIdx.x % pairs);
    int32_t const sequence = pair / layer.heads;
    int32_t const head = pair % layer.heads;
    int32_t const kvHead = head / layer.group;
    int32_t const firstQuery = static_cast<int32_t>(gridDim.x / pairs - 1 - blockIdx.x / pairs) * S::kQUERIES;
    int32_t const past = pastOf(layer, sequence);
    int32_t const total = min(past + layer.seq, layer.held);
    int32_t const warp = threadIdx.x / 32;
    int32_t const lane = threadIdx.x % 32;
    Sight const sight{sequence, past, total, layer.window};
    Source const source{sequence, kvHead, past, total, past + firstQuery};
    int32_t const seenTo = min(past + firstQuery + S::kQUERIES, total);
    int32_t const seenFrom = layer.window > 0 ? max(past + firstQuery - layer.window + 1, 0) : 0;
    int32_t const firstTile = seenFrom / S::kTOKENS;
    uint32_t const queries = sharedAddress(shared);
    uint32_t const keys = queries + S::kQUERIES * S::kQUERY_PITCH;
    uint32_t const values = keys + S::kTILE_BYTES;
    constexpr int32_t kROW_BYTES = kD * static_cast<int32_t>(sizeof(C));
    auto const copyTile = [&](void const* cache, bool isValues, int32_t tile, uint32_t to)
    {
        copyTokens<S::kTOKENS, kROW_BYTES, S::kTHREADS>(layer, source, cache, isValues, tile * S::kTOKENS, threadIdx.x,
            [&](int32_t r, int32_t c) { return to + r * S::kPITCH + c * 16; });
        copyCommit();
    };

    int32_t tile = (seenTo - 1) / S::kTOKENS;
    if constexpr (S::kCODES)
        permuteQueries<C, kD>(layer, shared, sequence, head, firstQuery);
    else
        copyQueries<S::kQUERIES, kROW_BYTES, S::kTHREADS>(layer, sequence, head, firstQuery, threadIdx.x,
            [&](int32_t r, int32_t c) { return queries + r * S::kQUERY_PITCH + c * 16; });
    copyTile(layer.keys, false, tile, keys);

    float codes = 1.F;
    if constexpr (S::kCODES)
        codes = *layer.codeScale * kCODE_FACTOR<T, C>;
    float const scoreScale = layer.scoreScale * codes;
    float const scale = layer.bias == nullptr ? scoreScale : 1.F;
    int32_t const warpQuery = firstQuery + warp * S::kM * 16;
    uint32_t const warpQueries = queries + warp * S::kM * 16 * S::kQUERY_PITCH;
    float out[S::kM][kD / 8][4] = {};
    Running running[S::kM];
    for (; tile >= firstTile; --tile)
    {
        int32_t const first = tile * S::kTOKENS;
        copyWait<0>();
        __syncthreads();
        copyTile(layer.values, true, tile, values);
        float score[S::kM][8][4];
        multiplyKeys<T, C, kD>(score, warpQueries, keys);
        bool const hidden = hides<S::kTOKENS>(layer, sight, first, past + warpQuery, past + warpQuery + S::kM * 16 - 1);
#pragma unroll
        for (int32_t m = 0; m < S::kM; ++m)
        {
            int32_t const query = warpQuery + m * 16 + lane / 4;
            if (layer.bias != nullptr)
                addBias<S::kTOKENS, T>(score[m], layer, head, first, query, total, scoreScale);
            if (hidden)
                hide<S::kTOKENS>(score[m], layer, sight, first, past + query);
            float factor[2];
            advance<S::kTOKENS>(running[m], score[m], factor, scale);
#pragma unroll
            for (int32_t j = 0; j < kD / 8; ++j)
#pragma unroll
                for (int32_t i = 0; i < 4; ++i)
                    out[m][j][i] *= factor[i / 2];
        }
        copyWait<0>();
        __syncthreads();
        if (tile > firstTile)
            copyTile(layer.keys, false, tile - 1, keys);
        multiplyValues<T, C, kD>(out, score, values);
    }
    copyWait<0>();
#pragma unroll
    for (int32_t m = 0; m < S::kM; ++m)
    {
        float const inverse[2] = {inverseOf(running[m].sum[0]) * codes, inverseOf(running[m].sum[1]) * codes};
        writeRows<T, S::kCODES, kD>(layer, out[m], inverse, sequence, head, warpQuery + m * 16);
    }
}

template <typename T, typename C, int32_t kD>
int32_t launchContext(Layer const& layer, cudaStream_t stream) noexcept
{
    using S = Shape<C, kD>;
    auto* const kernel = contextKernel<T, C, kD>;
    if (auto const status
        = checked(kNAME, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kSHARED_BYTES)))
        return status;
    int64_t const tiles = (layer.seq + S::kQUERIES - 1) / S::kQUERIES;
    int64_t const blocks = tiles * layer.batch * layer.heads;
    if (blocks > INT32_MAX)
        return refused(kNAME, "more queries and heads than a launch has blocks for");
    kernel<<<static_cast<uint32_t>(blocks), S::kTHREADS, S::kSHARED_BYTES, stream>>>(layer);
    return checked(kNAME, cudaGetLastError());
}

template <typename T, typename C>
int32_t contextFor(Layer const& layer, cudaStream_t stream) noexcept
{
    switch (layer.headDim)
    {
    case 64: return launchContext<T, C, 64>(layer, stream);
    case 80: return launchContext<T, C, 80>(layer, stream);
    case 96: return launchContext<T, C, 96>(layer, stream);
    case 128: return launchContext<T, C, 128>(layer, stream);
    default: return launchContext<T, C, 256>(layer, stream);
    }
}
} // namespace mmtrt::gptAttention
