// Say here what bounds the kernel and how the work is divided.
#include "device.cuh"
#include "error.h"
#include "myPlugin.gen.h"

namespace mmtrt::myPlugin
{
namespace
{
constexpr int32_t kTHREADS = 256;

template <typename T>
__global__ void __launch_bounds__(kTHREADS) myPluginKernel(uint32_t const* x, uint32_t* y, int64_t pairs, float factor)
{
    int64_t const i = static_cast<int64_t>(blockIdx.x) * kTHREADS + threadIdx.x;
    if (i >= pairs)
        return;
    float2 const value = unpack<T>(x[i]);
    y[i] = pack<T>(value.x * factor, value.y * factor);
}
} // namespace

// Bytes that run() may use between inputs and outputs; only the call's shapes are known here.
int64_t workspaceBytes(MmtrtCall const&, Sizes const&, Attributes const&) noexcept
{
    return 0;
}

// The shapes, types and attributes are as plugin.yaml says. Starts the work on call.stream and returns.
int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    int64_t const pairs = sizes.lead * sizes.H / 2;
    if (pairs == 0)
        return MMTRT_OK;
    auto* const kernel = call.inputs[kX].dtype == MMTRT_FLOAT16 ? myPluginKernel<half> : myPluginKernel<bfloat16>;
    auto const blocks = static_cast<uint32_t>((pairs + kTHREADS - 1) / kTHREADS);
    kernel<<<blocks, kTHREADS, 0, static_cast<cudaStream_t>(call.stream)>>>(static_cast<uint32_t const*>(call.inputs[kX].data),
        static_cast<uint32_t*>(call.outputs[kY].data), pairs, attributes.factor);
    return checked(kNAME, cudaGetLastError());
}
} // namespace mmtrt::myPlugin
