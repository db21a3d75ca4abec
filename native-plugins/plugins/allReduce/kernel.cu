// One launch over peer memory: each block copies its part of x into this rank's buffer, tells the same block of every other rank, waits
// for theirs and adds all parts in the order of the ranks. Nothing is awaited at the end: a buffer's half is written again two
// messages later, and by then every rank has begun the message between, so it is done with this one.
// Code for SM 80 serves 86 and 89.
#include "allReduce.gen.h"
#include "error.h"
#include "peers.h"
#include "quantize.cuh"

namespace mmtrt::allReduce
{
namespace
{
constexpr int32_t kTHREADS = 512;

__device__ __forceinline__ uint32_t* flag(char* buffer, int32_t rank, int32_t block)
{
    return reinterpret_cast<uint32_t*>(buffer + (rank * kBLOCKS + block) * kFLAG_BYTES);
}

template <typename T>
__device__ __forceinline__ void addTo(float (&sum)[16 / sizeof(T)], uint4 value)
{
    if constexpr (sizeof(T) == 4)
    {
        sum[0] += __uint_as_float(value.x);
        sum[1] += __uint_as_float(value.y);
        sum[2] += __uint_as_float(value.z);
        sum[3] += __uint_as_float(value.w);
    }
    else
    {
        float parts[8];
        unpack8<T>(parts, value);
#pragma unroll
        for (int32_t i = 0; i < 8; ++i)
            sum[i] += parts[i];
    }
}

template <typename T>
__device__ __forceinline__ uint4 rounded(float const (&sum)[16 / sizeof(T)])
{
    if constexpr (sizeof(T) == 4)
        return make_uint4(__float_as_uint(sum[0]), __float_as_uint(sum[1]), __float_as_uint(sum[2]), __float_as_uint(sum[3]));
    else
        return pack8<T>(sum);
}

template <typename T>
__global__ void __launch_bounds__(kTHREADS) oneShotKernel(uint4 const* x, uint4* y, int32_t vectors, Peers const peers)
{
    char* const own = peers.buffers[peers.rank];
    auto* const count = flag(own, MMTRT_MOST_RANKS, blockIdx.x);
    uint32_t const message = *count + 1;
    int64_t const half = kCONTROL_BYTES + (message & 1U) * kHALF_BYTES;
    int32_t const each = (vectors + kBLOCKS - 1) / kBLOCKS;
    int32_t const begin = min(vectors, static_cast<int32_t>(blockIdx.x) * each);
    int32_t const end = min(vectors, begin + each);
    auto* const mine = reinterpret_cast<uint4*>(own + half);
    for (int32_t i = begin + threadIdx.x; i < end; i += kTHREADS)
        mine[i] = x[i];
    __threadfence_system();
    __syncthreads();
    auto const other = static_cast<int32_t>(threadIdx.x);
    if (other < peers.size && other != peers.rank)
    {
        asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(flag(peers.buffers[other], peers.rank, blockIdx.x)), "r"(message)
            : "memory");
        uint32_t seen;
        do
            asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(seen) : "l"(flag(own, other, blockIdx.x)) : "memory");
        // A rank that is ahead has the next number there already; numbers may wrap.
        while (static_cast<int32_t>(seen - message) < 0);
    }
    if (threadIdx.x == 0)
        *count = message;
    __syncthreads();
    for (int32_t i = begin + threadIdx.x; i < end; i += kTHREADS)
    {
        uint4 parts[MMTRT_MOST_RANKS];
#pragma unroll
        for (int32_t rank = 0; rank < MMTRT_MOST_RANKS; ++rank)
            if (rank < peers.size)
                parts[rank] = __ldcv(reinterpret_cast<uint4 const*>(peers.buffers[rank] + half) + i);
        float sum[16 / sizeof(T)] = {};
#pragma unroll
        for (int32_t rank = 0; rank < MMTRT_MOST_RANKS; ++rank)
            if (rank < peers.size)
                addTo<T>(sum, parts[rank]);
        y[i] = rounded<T>(sum);
    }
}

template <typename T>
int32_t launch(MmtrtCall const& call, Peers const& peers, int64_t bytes) noexcept
{
    oneShotKernel<T><<<kBLOCKS, kTHREADS, 0, static_cast<cudaStream_t>(call.stream)>>>(static_cast<uint4 const*>(call.inputs[kX].data),
        static_cast<uint4*>(call.outputs[kY].data), static_cast<int32_t>(bytes / 16), peers);
    return checked(kNAME, cudaGetLastError());
}
} // namespace

int64_t workspaceBytes(MmtrtCall const&, Sizes const&, Attributes const&) noexcept
{
    return 0;
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    if (sizes.lead == 0)
        return MMTRT_OK;
    auto const* const peers = peersOf(attributes.group);
    if (peers == nullptr)
        return refused(
            kNAME, "this device has not joined the group: mmtrt_group_open and mmtrt_group_connect come before the first run");
    int32_t const dtype = call.inputs[kX].dtype;
    int64_t const bytes = sizes.lead * (dtype == MMTRT_FLOAT32 ? 4 : 2);
    // A copy is of 16 bytes.
    if (bytes > kHALF_BYTES || bytes % 16 != 0)
        return sumByNccl(kNAME, attributes.group, call.inputs[kX].data, call.outputs[kY].data, sizes.lead, dtype,
            static_cast<cudaStream_t>(call.stream));
    if (dtype == MMTRT_FLOAT32)
        return launch<float>(call, *peers, bytes);
    return dtype == MMTRT_FLOAT16 ? launch<half>(call, *peers, bytes) : launch<bfloat16>(call, *peers, bytes);
}
} // namespace mmtrt::allReduce
