// One block a row; the row stays in registers between the sum of squares and the result, so memory is read and written once.
#include "device.cuh"
#include "error.h"
#include "rmsNorm.gen.h"

namespace mmtrt::rmsNorm
{
namespace
{
constexpr int32_t kTHREADS = 256;

__device__ float blockSum(float value)
{
    __shared__ float sums[kTHREADS / 32];
#pragma unroll
    for (int32_t other = 16; other > 0; other /= 2)
        value += __shfl_xor_sync(kFULL_WARP, value, other);
    if (threadIdx.x % 32 == 0)
        sums[threadIdx.x / 32] = value;
    __syncthreads();
    float total = 0.F;
#pragma unroll
    for (int32_t w = 0; w < kTHREADS / 32; ++w)
        total += sums[w];
    return total;
}

// kVECTORS: copies of 8 elements that a thread holds.
template <typename T, int32_t kVECTORS>
__global__ void __launch_bounds__(kTHREADS)
    rmsNormKernel(uint4 const* x, uint4 const* gamma, uint4 const* residual, uint4* y, uint4* sum, int32_t vectors, float eps)
{
    int64_t const row = static_cast<int64_t>(blockIdx.x) * vectors;
    uint4 held[kVECTORS] = {};
    float squares = 0.F;
#pragma unroll
    for (int32_t i = 0; i < kVECTORS; ++i)
    {
        int32_t const v = threadIdx.x + i * kTHREADS;
        if (v >= vectors)
            continue;
        held[i] = x[row + v];
        auto* pairs = reinterpret_cast<uint32_t*>(&held[i]);
        uint4 other{};
        if (residual != nullptr)
            other = residual[row + v];
        auto const* others = reinterpret_cast<uint32_t const*>(&other);
#pragma unroll
        for (int32_t j = 0; j < 4; ++j)
        {
            float2 s = unpack<T>(pairs[j]);
            if (residual != nullptr)
            {
                float2 const r = unpack<T>(others[j]);
                pairs[j] = pack<T>(s.x + r.x, s.y + r.y);
                s = unpack<T>(pairs[j]);
            }
            squares += s.x * s.x + s.y * s.y;
        }
        sum[row + v] = held[i];
    }
    float const factor = rsqrtf(blockSum(squares) / static_cast<float>(vectors * 8) + eps);
#pragma unroll
    for (int32_t i = 0; i < kVECTORS; ++i)
    {
        int32_t const v = threadIdx.x + i * kTHREADS;
        if (v >= vectors)
            continue;
        uint4 const weights = __ldg(gamma + v);
        auto* pairs = reinterpret_cast<uint32_t*>(&held[i]);
        auto const* factors = reinterpret_cast<uint32_t const*>(&weights);
#pragma unroll
        for (int32_t j = 0; j < 4; ++j)
        {
            float2 const s = unpack<T>(pairs[j]);
            float2 const w = unpack<T>(factors[j]);
            // Rounded before gamma, as the models do.
            float2 const n = unpack<T>(pack<T>(s.x * factor, s.y * factor));
            pairs[j] = pack<T>(n.x * w.x, n.y * w.y);
        }
        y[row + v] = held[i];
    }
}

template <typename T>
int32_t launch(MmtrtCall const& call, Sizes const& sizes, float eps) noexcept
{
    auto const vectors = static_cast<int32_t>(sizes.H / 8);
    auto const* residual = has(call, kRESIDUAL) ? static_cast<uint4 const*>(call.inputs[kRESIDUAL].data) : nullptr;
    auto const start = [&](auto* kernel)
    {
        kernel<<<static_cast<uint32_t>(sizes.lead), kTHREADS, 0, static_cast<cudaStream_t>(call.stream)>>>(
            static_cast<uint4 const*>(call.inputs[kX].data), static_cast<uint4 const*>(call.inputs[kGAMMA].data), residual,
            static_cast<uint4*>(call.outputs[kY].data), static_cast<uint4*>(call.outputs[kSUM].data), vectors, eps);
        return checked(kNAME, cudaGetLastError());
    };
    if (vectors <= kTHREADS)
        return start(rmsNormKernel<T, 1>);
    if (vectors <= 2 * kTHREADS)
        return start(rmsNormKernel<T, 2>);
    return vectors <= 4 * kTHREADS ? start(rmsNormKernel<T, 4>) : start(rmsNormKernel<T, 8>);
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
    if (sizes.lead > INT32_MAX)
        return refused(kNAME, "more than 2^31 rows");
    return call.inputs[kX].dtype == MMTRT_FLOAT16 ? launch<half>(call, sizes, attributes.eps)
                                                  : launch<bfloat16>(call, sizes, attributes.eps);
}
} // namespace mmtrt::rmsNorm
