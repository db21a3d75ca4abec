// Two launches. x · aᵀ: a block makes 16 tokens × 16 of the rank, its warps share k. Then h · bᵀ + base. Fragments come straight from
// memory, 16 bytes a lane: which k a tensor-core product calls by which number is free as long as both operands agree, so a lane's
// 8 neighbours serve as its shares of two products.
// Code for SM 80 serves 86 and 89.
#include "device.cuh"
#include "error.h"
#include "lora.gen.h"

namespace mmtrt::lora
{
namespace
{
constexpr int32_t kWARPS = 8;
constexpr int32_t kTOKENS = 16;
constexpr int32_t kRANKS = 16;
// Of the second product: 16 of each warp.
constexpr int32_t kCOLUMNS = 16 * kWARPS;
constexpr int32_t kSTEP = 32;

struct Arguments
{
    void const* base;
    void const* x;
    void const* a;
    void const* b;
    int32_t const* task;
    // x · aᵀ, [batch, seq, rank].
    void* inner;
    void* y;
    int32_t seq;
    int32_t k;
    int32_t n;
    int32_t adapters;
    int32_t rank;
};

// This lane's 16 bytes of a row, or zeros past its end.
template <typename T>
__device__ __forceinline__ uint4 piece(T const* row, int32_t from, int32_t width, bool inside)
{
    int32_t const at = from + threadIdx.x % 4 * 8;
    return inside && at < width ? __ldg(reinterpret_cast<uint4 const*>(row + at)) : uint4{};
}

// sum[16 × 16] += low and high rows of the first · rows of the second, over [begin, end) in steps of 32.
template <typename T>
__device__ __forceinline__ void accumulate(float (&sum)[2][4], T const* first, int32_t firstRows, T const* second, int32_t secondRows,
    int32_t width, int32_t begin, int32_t end)
{
    int32_t const g = threadIdx.x % 32 / 4;
    int64_t const stride = width;
#pragma unroll 4
    for (int32_t k = begin; k < end; k += kSTEP)
    {
        uint4 const low = piece(first + g * stride, k, width, g < firstRows);
        uint4 const high = piece(first + (g + 8) * stride, k, width, g + 8 < firstRows);
        uint32_t const a[2][4] = {{low.x, high.x, low.y, high.y}, {low.z, high.z, low.w, high.w}};
#pragma unroll
        for (int32_t j = 0; j < 2; ++j)
        {
            uint4 const b = piece(second + (g + 8 * j) * stride, k, width, g + 8 * j < secondRows);
            mma<T>(sum[j], a[0], b.x, b.y);
            mma<T>(sum[j], a[1], b.z, b.w);
        }
    }
}

template <typename T>
__global__ void __launch_bounds__(kWARPS * 32) downKernel(Arguments const args)
{
    __shared__ float partial[kWARPS][kTOKENS][kRANKS];
    int32_t const batch = blockIdx.z;
    int32_t const task = args.task[batch];
    if (task < 0 || task >= args.adapters)
        return;
    int32_t const token0 = blockIdx.y * kTOKENS;
    int32_t const rank0 = blockIdx.x * kRANKS;
    int32_t const warp = threadIdx.x / 32;
    auto const* const x = static_cast<T const*>(args.x) + (static_cast<int64_t>(batch) * args.seq + token0) * args.k;
    auto const* const a = static_cast<T const*>(args.a) + (static_cast<int64_t>(task) * args.rank + rank0) * args.k;
    int32_t const share = (args.k + kWARPS * kSTEP - 1) / (kWARPS * kSTEP) * kSTEP;
    float sum[2][4] = {};
    accumulate(sum, x, args.seq - token0, a, args.rank - rank0, args.k, warp * share, min(args.k, (warp + 1) * share));
    int32_t const g = threadIdx.x % 32 / 4;
    int32_t const t = threadIdx.x % 4;
#pragma unroll
    for (int32_t j = 0; j < 2; ++j)
#pragma unroll
        for (int32_t i = 0; i < 4; ++i)
            partial[warp][g + i / 2 * 8][j * 8 + t * 2 + i % 2] = sum[j][i];
    __syncthreads();
    int32_t const token = threadIdx.x / kRANKS;
    int32_t const rank = threadIdx.x % kRANKS;
    if (token0 + token >= args.seq || rank0 + rank >= args.rank)
        return;
    float total = 0.F;
#pragma unroll
    for (int32_t w = 0; w < kWARPS; ++w)
        total += partial[w][token][rank];
    static_cast<T*>(args.inner)[(static_cast<int64_t>(batch) * args.seq + token0 + token) * args.rank + rank0 + rank] =
        fromFloat<T>(total);
}

template <typename T>
__global__ void __launch_bounds__(kWARPS * 32) upKernel(Arguments const args)
{
    int32_t const batch = blockIdx.z;
    int32_t const task = args.task[batch];
    int32_t const token0 = blockIdx.y * kTOKENS;
    int32_t const column0 = blockIdx.x * kCOLUMNS + threadIdx.x / 32 * 16;
    if (column0 >= args.n)
        return;
    int64_t const row0 = static_cast<int64_t>(batch) * args.seq + token0;
    float sum[2][4] = {};
    if (task >= 0 && task < args.adapters)
    {
        auto const* const inner = static_cast<T const*>(args.inner) + row0 * args.rank;
        auto const* const b = static_cast<T const*>(args.b) + (static_cast<int64_t>(task) * args.n + column0) * args.rank;
        accumulate(sum, inner, args.seq - token0, b, args.n - column0, args.rank, 0, args.rank);
    }
    int32_t const g = threadIdx.x % 32 / 4;
    int32_t const t = threadIdx.x % 4;
#pragma unroll
    for (int32_t j = 0; j < 2; ++j)
#pragma unroll
        for (int32_t i = 0; i < 2; ++i)
        {
            int32_t const token = g + i * 8;
            int32_t const column = column0 + j * 8 + t * 2;
            if (token0 + token >= args.seq || column >= args.n)
                continue;
            int64_t const at = (row0 + token) * args.n + column;
            float2 const base = unpack<T>(__ldg(reinterpret_cast<uint32_t const*>(static_cast<T const*>(args.base) + at)));
            *reinterpret_cast<uint32_t*>(static_cast<T*>(args.y) + at) = pack<T>(base.x + sum[j][2 * i], base.y + sum[j][2 * i + 1]);
        }
}

template <typename T>
int32_t launch(Arguments const& args, int64_t batch, cudaStream_t stream) noexcept
{
    auto const tokens = static_cast<uint32_t>((args.seq + kTOKENS - 1) / kTOKENS);
    auto const sequences = static_cast<uint32_t>(batch);
    dim3 const down((args.rank + kRANKS - 1) / kRANKS, tokens, sequences);
    downKernel<T><<<down, kWARPS * 32, 0, stream>>>(args);
    if (auto const status = checked(kNAME, cudaGetLastError()))
        return status;
    dim3 const up((args.n + kCOLUMNS - 1) / kCOLUMNS, tokens, sequences);
    upKernel<T><<<up, kWARPS * 32, 0, stream>>>(args);
    return checked(kNAME, cudaGetLastError());
}
} // namespace

int64_t workspaceBytes(MmtrtCall const&, Sizes const& sizes, Attributes const&) noexcept
{
    return sizes.B * sizes.S * sizes.R * 2;
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    if (sizes.B * sizes.S == 0)
        return MMTRT_OK;
    if (sizes.B > 65535 || sizes.S > 65535LL * kTOKENS || sizes.K > INT32_MAX || sizes.N > INT32_MAX - kCOLUMNS
        || sizes.R > INT32_MAX - kRANKS)
        return refused(kNAME, "more than 65535 sequences, 2^20 tokens of one, or 2^31 inputs or outputs");
    if (call.workspaceBytes < workspaceBytes(call, sizes, attributes))
        return refused(kNAME, "the workspace is smaller than the workspace function says");
    Arguments const args{call.inputs[kBASE].data, call.inputs[kX].data, call.inputs[kA].data, call.inputs[kB].data,
        static_cast<int32_t const*>(call.inputs[kTASK].data), call.workspace, call.outputs[kY].data, static_cast<int32_t>(sizes.S),
        static_cast<int32_t>(sizes.K), static_cast<int32_t>(sizes.N), static_cast<int32_t>(sizes.E), static_cast<int32_t>(sizes.R)};
    auto const stream = static_cast<cudaStream_t>(call.stream);
    return call.inputs[kX].dtype == MMTRT_FLOAT16 ? launch<half>(args, sizes.B, stream) : launch<bfloat16>(args, sizes.B, stream);
}
} // namespace mmtrt::lora
