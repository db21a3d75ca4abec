// Two launches for a float x: its codes go to the workspace, then the product. One for codes.
// Code for SM 80 serves 86 and 89.
#include "matmul_nt.cuh"
#include "quantize.cuh"
#include "smoothQuantMatmul.gen.h"

namespace mmtrt::smoothQuantMatmul
{
namespace
{
constexpr int32_t kQUANTIZE_THREADS = 256;
// Below it a token counts as zeros.
constexpr float kLEAST_SCALE = 1e-6F;

// One block a token. `inputScale` null: the token's largest value becomes 127, and what a code stands for is written to `scales`.
template <typename T>
__global__ void __launch_bounds__(kQUANTIZE_THREADS)
    quantizeKernel(uint4 const* x, float4 const* smoother, float const* inputScale, uint2* codes, float* scales, int32_t vectors)
{
    int64_t const row = static_cast<int64_t>(blockIdx.x) * vectors;
    auto const smooth = [&](float(&to)[8], int32_t v)
    {
        unpack8<T>(to, __ldg(x + row + v));
        if (smoother == nullptr)
            return;
        float const* const by = reinterpret_cast<float const*>(smoother + 2 * v);
#pragma unroll
        for (int32_t i = 0; i < 8; ++i)
            to[i] /= __ldg(by + i);
    };
    float factor = 0.F;
    if (inputScale != nullptr)
        factor = *inputScale;
    else
    {
        float largest = 0.F;
        for (int32_t v = threadIdx.x; v < vectors; v += kQUANTIZE_THREADS)
        {
            float values[8];
            smooth(values, v);
#pragma unroll
            for (float const value : values)
                largest = fmaxf(largest, fabsf(value));
        }
        float const scale = fmaxf(overBlock<kQUANTIZE_THREADS, 0>(largest, Larger{}) / 127.F, kLEAST_SCALE);
        factor = 1.F / scale;
        if (threadIdx.x == 0)
            scales[blockIdx.x] = scale;
    }
    // The second reading comes from L1 or L2.
    for (int32_t v = threadIdx.x; v < vectors; v += kQUANTIZE_THREADS)
    {
        float values[8];
        smooth(values, v);
#pragma unroll
        for (float& value : values)
            value *= factor;
        codes[row + v] = codesOf<Int8Code>(values);
    }
}

template <typename T>
struct Finish
{
    static constexpr bool kGATED = false;
    T* y;
    float const* channel;
    float const* actScale;
    float const* tokens;
    T const* bias;
    int32_t n;
    bool perChannel;

    __device__ __forceinline__ void operator()(float low, float high, int32_t row, int32_t column) const
    {
        float scale = actScale == nullptr ? 1.F : __ldg(actScale);
        if (tokens != nullptr)
            scale *= __ldg(tokens + row);
        float2 const of =
            perChannel ? __ldg(reinterpret_cast<float2 const*>(channel + column)) : make_float2(__ldg(channel), __ldg(channel));
        float2 add = make_float2(0.F, 0.F);
        if (bias != nullptr)
            add = unpack<T>(__ldg(reinterpret_cast<uint32_t const*>(bias + column)));
        *reinterpret_cast<uint32_t*>(y + static_cast<int64_t>(row) * n + column)
            = pack<T>(low * (scale * of.x) + add.x, high * (scale * of.y) + add.y);
    }
};

int64_t roundUp(int64_t value) noexcept { return (value + 255) / 256 * 256; }
bool isCodes(MmtrtCall const& call) noexcept { return call.inputs[kX].dtype == MMTRT_INT8; }
int64_t codesBytes(MmtrtCall const& call, Sizes const& sizes) noexcept { return isCodes(call) ? 0 : roundUp(sizes.lead * sizes.K); }
int64_t scalesBytes(MmtrtCall const& call, Sizes const& sizes) noexcept { return isCodes(call) ? 0 : roundUp(sizes.lead * 4); }

template <typename V>
V const* input(MmtrtCall const& call, Input index) noexcept
{
    return has(call, index) ? static_cast<V const*>(call.inputs[index].data) : nullptr;
}

int32_t quantize(MmtrtCall const& call, Sizes const& sizes, uint8_t* codes, float* scales, cudaStream_t stream) noexcept
{
    auto const start = [&](auto* kernel)
    {
        kernel<<<static_cast<uint32_t>(sizes.lead), kQUANTIZE_THREADS, 0, stream>>>(input<uint4>(call, kX),
            input<float4>(call, kSMOOTHER), input<float>(call, kINPUT_SCALE), reinterpret_cast<uint2*>(codes), scales,
            static_cast<int32_t>(sizes.K / 8));
        return checked(kNAME, cudaGetLastError());
    };
    return call.inputs[kX].dtype == MMTRT_FLOAT16 ? start(quantizeKernel<half>) : start(quantizeKernel<bfloat16>);
}

template <typename T>
int32_t multiply(
    MmtrtCall const& call, Sizes const& sizes, matmulNt::Arguments const& args, float const* tokens, cudaStream_t stream) noexcept
{
    Finish<T> const finish{static_cast<T*>(call.outputs[kY].data), input<float>(call, kCHANNEL_SCALE), input<float>(call, kACT_SCALE),
        tokens, input<T>(call, kBIAS), static_cast<int32_t>(sizes.N), sizes.C > 1};
    return matmulNt::launch<matmulNt::Int8>(kNAME, args, finish, stream);
}
} // namespace

int64_t workspaceBytes(MmtrtCall const& call, Sizes const& sizes, Attributes const&) noexcept
{
    return codesBytes(call, sizes) + scalesBytes(call, sizes) + matmulNt::workspaceBytes(sizes.lead, sizes.N, sizes.K);
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    if (sizes.lead == 0)
        return MMTRT_OK;
    if (sizes.C != 1 && sizes.C != sizes.N)
        return refused(kNAME, "channel_scale has neither one scale nor one for each output");
    if (isCodes(call) && (has(call, kSMOOTHER) || has(call, kINPUT_SCALE)))
        return refused(kNAME, "smoother and input_scale are for a float x; an INT8 x is codes already");
    if (!isCodes(call) && has(call, kTOKEN_SCALE))
        return refused(kNAME, "token_scale is for an INT8 x; a float x gets its scales here");
    if (call.workspaceBytes < workspaceBytes(call, sizes, attributes))
        return refused(kNAME, "the workspace is smaller than the workspace function says");
    auto work = matmulNt::plan(sizes.lead, sizes.N, sizes.K);
    if (auto const* const reason = matmulNt::limits(sizes.lead, sizes.N, sizes.K, work, kSTATE_BYTES))
        return refused(kNAME, reason);
    auto const stream = static_cast<cudaStream_t>(call.stream);
    auto* const workspace = static_cast<uint8_t*>(call.workspace);
    auto const* codes = static_cast<uint8_t const*>(call.inputs[kX].data);
    float const* tokens = input<float>(call, kTOKEN_SCALE);
    if (!isCodes(call))
    {
        auto* const scales = reinterpret_cast<float*>(workspace + codesBytes(call, sizes));
        if (auto const status = quantize(call, sizes, workspace, scales, stream))
            return status;
        codes = workspace;
        tokens = has(call, kINPUT_SCALE) ? nullptr : scales;
    }
    work.partials = reinterpret_cast<float*>(workspace + codesBytes(call, sizes) + scalesBytes(call, sizes));
    work.counters = static_cast<uint32_t*>(call.state);
    matmulNt::Arguments const args{codes, static_cast<uint8_t const*>(call.inputs[kWEIGHT].data), nullptr,
        static_cast<int32_t>(sizes.lead), static_cast<int32_t>(sizes.N), static_cast<int32_t>(sizes.K), work};
    return call.outputs[kY].dtype == MMTRT_FLOAT16 ? multiply<half>(call, sizes, args, tokens, stream)
                                                   : multiply<bfloat16>(call, sizes, args, tokens, stream);
}
} // namespace mmtrt::smoothQuantMatmul
