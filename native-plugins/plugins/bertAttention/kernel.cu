// A block has 64 queries of a head, 16 of each warp, and passes over the keys 64 at a time: scores by mma.sync, softmax in registers with
// a running maximum, and the probabilities, rounded to the values' type, are at once operand A of the second product. Keys and values
// of the next 64 are copied meanwhile. Widths that are no multiple of 16 are filled up with zeros in shared memory.
// Code for SM 80 serves 86 and 89.
#include "bertAttention.gen.h"
#include "device.cuh"
#include "error.h"

namespace mmtrt::bertAttention
{
namespace
{
constexpr int32_t kWARPS = 4;
constexpr int32_t kTHREADS = kWARPS * 32;
constexpr int32_t kQUERIES = 16 * kWARPS;
constexpr int32_t kKEYS = 64;
constexpr float kLOG2_E = 1.4426950408889634F;

struct Arguments
{
    void const* q;
    void const* k;
    void const* v;
    void const* bias;
    int32_t const* lengths;
    int32_t const* segments;
    void* y;
    int32_t seq;
    int32_t keys;
    int32_t width;
    int32_t headDim;
    int32_t segmentEnds;
    bool biasOfBatch;
    // × log2(e).
    float scale;
};

// 16 bytes more than a multiple of 32: the 8 rows of an ldmatrix are in different banks.
template <int32_t kDIM>
constexpr int32_t kSTRIDE = kDIM * 2 + 16;

// Up to 64 rows of a head from `row0` on to shared memory.
template <int32_t kDIM, typename T>
__device__ __forceinline__ void copyRows(uint32_t to, T const* from, int32_t row0, int32_t rows, int32_t width, int32_t headDim)
{
    constexpr int32_t kPIECES = kDIM / 8;
    for (int32_t i = threadIdx.x; i < kKEYS * kPIECES; i += kTHREADS)
    {
        int32_t const row = i / kPIECES;
        int32_t const piece = i % kPIECES;
        bool const inside = row0 + row < rows && piece * 8 < headDim;
        copyAsync16(
            to + row * kSTRIDE<kDIM> + piece * 16, from + (inside ? static_cast<int64_t>(row0 + row) * width + piece * 8 : 0), inside);
    }
}

// Keys that a query sees: [x, y).
__device__ __forceinline__ int2 visible(Arguments const& args, int32_t batch, int32_t query)
{
    int2 range = make_int2(0, args.keys);
    if (args.lengths != nullptr)
        range.y = min(args.keys, max(0, args.lengths[batch]));
    if (args.segments == nullptr)
        return range;
    // The last segment that begins at or before the query.
    int32_t low = 0;
    int32_t high = args.segmentEnds - 1;
    while (high - low > 1)
    {
        int32_t const middle = (low + high) / 2;
        if (args.segments[middle] <= query)
            low = middle;
        else
            high = middle;
    }
    int32_t const begin = args.segments[low];
    int32_t const end = min(args.segments[low + 1], range.y);
    return query < begin || query >= end ? make_int2(0, 0) : make_int2(begin, end);
}

template <typename T, int32_t kDIM>
__global__ void __launch_bounds__(kTHREADS) attentionKernel(Arguments const args)
{
    constexpr int32_t kTILE = kKEYS * kSTRIDE<kDIM>;
    constexpr int32_t kSTEPS = kDIM / 16;
    extern __shared__ __align__(16) char shared[];
    // Two tiles of keys and two of values, in whose place the queries are until they are in registers.
    uint32_t const keys = sharedAddress(shared);
    uint32_t const values = keys + 2 * kTILE;
    __shared__ int32_t bounds[2];
    int32_t const lane = threadIdx.x % 32;
    int32_t const g = lane / 4;
    int32_t const t = lane % 4;
    int32_t const batch = blockIdx.z;
    int32_t const head = blockIdx.y;
    int32_t const query0 = blockIdx.x * kQUERIES;
    int32_t const row0 = threadIdx.x / 32 * 16;
    auto const* const q = static_cast<T const*>(args.q) + static_cast<int64_t>(batch) * args.seq * args.width + head * args.headDim;
    int64_t const firstKey = static_cast<int64_t>(batch) * args.keys * args.width + head * args.headDim;
    auto const* const k = static_cast<T const*>(args.k) + firstKey;
    auto const* const v = static_cast<T const*>(args.v) + firstKey;

    if (threadIdx.x == 0)
    {
        bounds[0] = args.keys;
        bounds[1] = 0;
    }
    copyRows<kDIM>(values, q, query0, args.seq, args.width, args.headDim);
    copyCommit();
    int2 range[2];
#pragma unroll
    for (int32_t i = 0; i < 2; ++i)
    {
        int32_t const query = query0 + row0 + g + 8 * i;
        range[i] = query < args.seq ? visible(args, batch, query) : make_int2(0, 0);
    }
    copyWait<0>();
    __syncthreads();
#pragma unroll
    for (int32_t i = 0; i < 2; ++i)
        if (t == 0 && range[i].x < range[i].y)
        {
            atomicMin(&bounds[0], range[i].x);
            atomicMax(&bounds[1], range[i].y);
        }
    uint32_t query[kSTEPS][4];
#pragma unroll
    for (int32_t step = 0; step < kSTEPS; ++step)
        loadMatrix(query[step], values + (row0 + lane % 16) * kSTRIDE<kDIM> + (step * 2 + lane / 16) * 16);
    __syncthreads();
    int32_t const begin = bounds[0] / kKEYS * kKEYS;
    int32_t const end = bounds[1];

    auto const fetch = [&](int32_t key, int32_t stage)
    {
        if (key < end)
        {
            // Zeros past the end: what lies there may be NaN, which a probability of 0 would not undo.
            copyRows<kDIM>(keys + stage * kTILE, k, key, end, args.width, args.headDim);
            copyRows<kDIM>(values + stage * kTILE, v, key, end, args.width, args.headDim);
        }
        copyCommit();
    };
    fetch(begin, 0);
    float output[kDIM / 8][4] = {};
    float largest[2] = {-INFINITY, -INFINITY};
    float total[2] = {};
    int64_t const biasRows = (static_cast<int64_t>(args.biasOfBatch ? batch : 0) * gridDim.y + head) * args.seq;
    for (int32_t key0 = begin, stage = 0; key0 < end; key0 += kKEYS, stage ^= 1)
    {
        fetch(key0 + kKEYS, stage ^ 1);
        copyWait<1>();
        __syncthreads();
        float score[kKEYS / 8][4] = {};
#pragma unroll
        for (int32_t step = 0; step < kSTEPS; ++step)
#pragma unroll
            for (int32_t j = 0; j < kKEYS / 8; j += 2)
            {
                uint32_t b[4];
                int32_t const row = j * 8 + lane / 16 * 8 + lane % 8;
                loadMatrix(b, keys + stage * kTILE + row * kSTRIDE<kDIM> + (step * 2 + lane / 8 % 2) * 16);
                mma<T>(score[j], query[step], b[0], b[1]);
                mma<T>(score[j + 1], query[step], b[2], b[3]);
            }
        float most[2] = {largest[0], largest[1]};
#pragma unroll
        for (int32_t j = 0; j < kKEYS / 8; ++j)
#pragma unroll
            for (int32_t i = 0; i < 4; ++i)
            {
                int32_t const key = key0 + j * 8 + t * 2 + i % 2;
                bool const seen = key >= range[i / 2].x && key < range[i / 2].y;
                float value = score[j][i] * args.scale;
                if (args.bias != nullptr && seen)
                    value += kLOG2_E
                             * toFloat(static_cast<T const*>(args.bias)[(biasRows + query0 + row0 + g + i / 2 * 8) * args.keys + key]);
                score[j][i] = seen ? value : -INFINITY;
                most[i / 2] = fmaxf(most[i / 2], score[j][i]);
            }
        float shrink[2];
#pragma unroll
        for (int32_t i = 0; i < 2; ++i)
        {
            most[i] = fmaxf(most[i], __shfl_xor_sync(kFULL_WARP, most[i], 1));
            most[i] = fmaxf(most[i], __shfl_xor_sync(kFULL_WARP, most[i], 2));
            // A row that has seen no key yet has nothing to shrink; −∞ − −∞ would be NaN.
            shrink[i] = largest[i] == -INFINITY ? 0.F : exp2f(largest[i] - most[i]);
            largest[i] = most[i];
            total[i] *= shrink[i];
        }
#pragma unroll
        for (int32_t d = 0; d < kDIM / 8; ++d)
#pragma unroll
            for (int32_t i = 0; i < 4; ++i)
                output[d][i] *= shrink[i / 2];
        uint32_t probability[kKEYS / 16][4];
#pragma unroll
        for (int32_t j = 0; j < kKEYS / 8; ++j)
#pragma unroll
            for (int32_t i = 0; i < 2; ++i)
            {
                bool const none = largest[i] == -INFINITY;
                uint32_t const pair = none ? 0U : pack<T>(exp2f(score[j][2 * i] - largest[i]), exp2f(score[j][2 * i + 1] - largest[i]));
                // The sum is of what the product takes, so that weights add up to 1.
                float2 const rounded = unpack<T>(pair);
                total[i] += rounded.x + rounded.y;
                probability[j / 2][j % 2 * 2 + i] = pair;
            }
#pragma unroll
        for (int32_t step = 0; step < kKEYS / 16; ++step)
#pragma unroll
            for (int32_t d = 0; d < kDIM / 8; d += 2)
            {
                uint32_t b[4];
                // Keys 0–7 and 8–15 of two times 8 columns.
                int32_t const row = step * 16 + lane % 16;
                loadMatrixTransposed(b, values + stage * kTILE + row * kSTRIDE<kDIM> + (d + lane / 16) * 16);
                mma<T>(output[d], probability[step], b[0], b[1]);
                mma<T>(output[d + 1], probability[step], b[2], b[3]);
            }
        __syncthreads();
    }
    copyWait<0>();
#pragma unroll
    for (int32_t i = 0; i < 2; ++i)
    {
        total[i] += __shfl_xor_sync(kFULL_WARP, total[i], 1);
        total[i] += __shfl_xor_sync(kFULL_WARP, total[i], 2);
        int32_t const row = query0 + row0 + g + 8 * i;
        if (row >= args.seq)
            continue;
        // A query that sees nothing gets zeros.
        float const inverse = total[i] > 0.F ? 1.F / total[i] : 0.F;
        auto* const y = static_cast<T*>(args.y) + (static_cast<int64_t>(batch) * args.seq + row) * args.width + head * args.headDim;
#pragma unroll
        for (int32_t d = 0; d < kDIM / 8; ++d)
            if (d * 8 < args.headDim)
                *reinterpret_cast<uint32_t*>(y + d * 8 + t * 2) = pack<T>(output[d][2 * i] * inverse, output[d][2 * i + 1] * inverse);
    }
}

template <typename T, int32_t kDIM>
int32_t start(Arguments const& args, dim3 grid, cudaStream_t stream) noexcept
{
    auto* const kernel = attentionKernel<T, kDIM>;
    constexpr int32_t kBYTES = 4 * kKEYS * kSTRIDE<kDIM>;
    if (auto const status = checked(kNAME, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBYTES)))
        return status;
    kernel<<<grid, kTHREADS, kBYTES, stream>>>(args);
    return checked(kNAME, cudaGetLastError());
}

template <typename T>
int32_t launch(Arguments const& args, dim3 grid, cudaStream_t stream) noexcept
{
    switch ((args.headDim + 15) / 16)
    {
    case 1:
    case 2: return start<T, 32>(args, grid, stream);
    case 3:
    case 4: return start<T, 64>(args, grid, stream);
    case 5: return start<T, 80>(args, grid, stream);
    case 6: return start<T, 96>(args, grid, stream);
    default: return start<T, 128>(args, grid, stream);
    }
}
} // namespace

int64_t workspaceBytes(MmtrtCall const&, Sizes const&, Attributes const&) noexcept
{
    return 0;
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    if (sizes.B * sizes.S == 0)
        return MMTRT_OK;
    int64_t const headDim = sizes.W / attributes.num_heads;
    if (headDim > 128 || headDim % 8 != 0)
        return refused(kNAME, "head_dim is a multiple of 8, up to 128");
    if (sizes.B > 65535 || sizes.S > INT32_MAX - kQUERIES || sizes.P > INT32_MAX - 2 * kKEYS)
        return refused(kNAME, "more than 65535 sequences or 2^31 queries or keys");
    if (has(call, kBIAS) && (sizes.NH != attributes.num_heads || (sizes.NB != 1 && sizes.NB != sizes.B)))
        return refused(kNAME, "bias is [1 or batch, num_heads, queries, keys]");
    if (has(call, kSEGMENTS) && (sizes.L < 2 || sizes.S != sizes.P))
        return refused(kNAME, "segments are of queries and keys alike, and have a begin and an end");
    auto const pointer = [&](Input index) -> void const* { return has(call, index) ? call.inputs[index].data : nullptr; };
    Arguments const args{call.inputs[kQ].data, call.inputs[kK].data, call.inputs[kV].data, pointer(kBIAS),
        static_cast<int32_t const*>(pointer(kLENGTHS)), static_cast<int32_t const*>(pointer(kSEGMENTS)), call.outputs[kY].data,
        static_cast<int32_t>(sizes.S), static_cast<int32_t>(sizes.P), static_cast<int32_t>(sizes.W), static_cast<int32_t>(headDim),
        has(call, kSEGMENTS) ? static_cast<int32_t>(sizes.L) : 0, has(call, kBIAS) && sizes.NB == sizes.B && sizes.NB > 1,
        attributes.scale * kLOG2_E};
    dim3 const grid(static_cast<uint32_t>((sizes.S + kQUERIES - 1) / kQUERIES), attributes.num_heads, static_cast<uint32_t>(sizes.B));
    auto const stream = static_cast<cudaStream_t>(call.stream);
    return call.inputs[kQ].dtype == MMTRT_FLOAT16 ? launch<half>(args, grid, stream) : launch<bfloat16>(args, grid, stream);
}
} // namespace mmtrt::bertAttention
