// RMS and layer norms over the last axis. One block a row; the row stays in registers between its moments and the result, so memory
// is read and written once. What goes in is s = x + residual, rounded to x's type and handed on as the residual of the next layer.
#pragma once
#include "error.h"
#include "quantize.cuh"
#include <type_traits>

namespace mmtrt::norm
{
inline constexpr int32_t kTHREADS = 256;
// Below it a token counts as zeros.
inline constexpr float kLEAST_SCALE = 1e-6F;

struct Arguments
{
    uint4 const* x;
    uint4 const* gamma;
    uint4 const* beta;
    uint4 const* residual;
    void* y;
    uint4* sum;
    // Codes stand for code × scale: one for all, or, where it is null, each row's own, which goes to `rowScales`.
    float const* scale;
    float* rowScales;
    int32_t vectors;
    float eps;
};

// s of one copy of 8 elements, and what is handed on.
template <typename T>
__device__ __forceinline__ uint4 addResidual(uint4 x, uint4 const* residual)
{
    if (residual == nullptr)
        return x;
    float a[8];
    float b[8];
    unpack8<T>(a, x);
    unpack8<T>(b, *residual);
#pragma unroll
    for (int32_t j = 0; j < 8; ++j)
        a[j] += b[j];
    return pack8<T>(a);
}

// The result is of type T where Code is void. kVECTORS: copies of 8 elements that a thread holds.
template <typename T, bool kRMS, typename Code, int32_t kVECTORS>
__global__ void __launch_bounds__(kTHREADS) kernel(Arguments const args)
{
    constexpr bool kCODES = !std::is_void_v<Code>;
    int64_t const row = static_cast<int64_t>(blockIdx.x) * args.vectors;
    uint4 held[kVECTORS] = {};
    float moment = 0.F;
#pragma unroll
    for (int32_t i = 0; i < kVECTORS; ++i)
    {
        int32_t const v = threadIdx.x + i * kTHREADS;
        if (v >= args.vectors)
            continue;
        held[i] = addResidual<T>(args.x[row + v], args.residual == nullptr ? nullptr : args.residual + row + v);
        args.sum[row + v] = held[i];
        float s[8];
        unpack8<T>(s, held[i]);
#pragma unroll
        for (float const value : s)
            moment += kRMS ? value * value : value;
    }
    float const width = static_cast<float>(args.vectors * 8);
    moment = overBlock<kTHREADS, 0>(moment, Add{}) / width;
    float const mean = kRMS ? 0.F : moment;
    if constexpr (!kRMS)
    {
        // About the mean: the difference of two large sums would lose the small one.
        float squares = 0.F;
#pragma unroll
        for (int32_t i = 0; i < kVECTORS; ++i)
        {
            if (static_cast<int32_t>(threadIdx.x) + i * kTHREADS >= args.vectors)
                continue;
            float s[8];
            unpack8<T>(s, held[i]);
#pragma unroll
            for (float const value : s)
                squares += (value - mean) * (value - mean);
        }
        moment = overBlock<kTHREADS, 1>(squares, Add{}) / width;
    }
    float const factor = rsqrtf(moment + args.eps);

    auto const normalized = [&](float(&to)[8], uint4 from, int32_t v)
    {
        float gamma[8];
        float beta[8] = {};
        unpack8<T>(to, from);
        unpack8<T>(gamma, __ldg(args.gamma + v));
        if (args.beta != nullptr)
            unpack8<T>(beta, __ldg(args.beta + v));
#pragma unroll
        for (int32_t j = 0; j < 8; ++j)
        {
            float value = (to[j] - mean) * factor;
            // Rounded before gamma, as the models with RMS norms do.
            if constexpr (kRMS)
                value = toFloat(fromFloat<T>(value));
            to[j] = value * gamma[j] + beta[j];
            if constexpr (kCODES)
                to[j] = toFloat(fromFloat<T>(to[j]));
        }
    };
    float inverse = 0.F;
    if constexpr (kCODES)
    {
        float scale = 0.F;
        if (args.scale != nullptr)
            scale = *args.scale;
        else
        {
            float largest = 0.F;
#pragma unroll
            for (int32_t i = 0; i < kVECTORS; ++i)
            {
                int32_t const v = threadIdx.x + i * kTHREADS;
                if (v >= args.vectors)
                    continue;
                float y[8];
                normalized(y, held[i], v);
#pragma unroll
                for (float const value : y)
                    largest = fmaxf(largest, fabsf(value));
            }
            scale = fmaxf(overBlock<kTHREADS, 2>(largest, Larger{}) / Code::kMOST, kLEAST_SCALE);
        }
        if (threadIdx.x == 0)
            args.rowScales[blockIdx.x] = scale;
        inverse = 1.F / scale;
    }
#pragma unroll
    for (int32_t i = 0; i < kVECTORS; ++i)
    {
        int32_t const v = threadIdx.x + i * kTHREADS;
        if (v >= args.vectors)
            continue;
        float y[8];
        normalized(y, held[i], v);
        if constexpr (kCODES)
        {
#pragma unroll
            for (float& value : y)
                value *= inverse;
            static_cast<uint2*>(args.y)[row + v] = codesOf<Code>(y);
        }
        else
            static_cast<uint4*>(args.y)[row + v] = pack8<T>(y);
    }
}

template <typename T, bool kRMS, typename Code>
int32_t launch(char const* plugin, Arguments const& args, int64_t rows, cudaStream_t stream) noexcept
{
    auto const start = [&](auto* function)
    {
        function<<<static_cast<uint32_t>(rows), kTHREADS, 0, stream>>>(args);
        return checked(plugin, cudaGetLastError());
    };
    if (args.vectors <= kTHREADS)
        return start(kernel<T, kRMS, Code, 1>);
    if (args.vectors <= 2 * kTHREADS)
        return start(kernel<T, kRMS, Code, 2>);
    return args.vectors <= 4 * kTHREADS ? start(kernel<T, kRMS, Code, 4>) : start(kernel<T, kRMS, Code, 8>);
}

// Which inputs a plugin has them as, -1 for none. x and gamma are always the first two; outputs are y, the sum, and scales of codes.
struct Places
{
    int32_t beta;
    int32_t residual;
    int32_t scale;
};

struct Rows
{
    int64_t count;
    // 8 to 16384 elements of a half type.
    int64_t width;
};

template <bool kRMS, typename Code = void>
int32_t run(char const* plugin, MmtrtCall const& call, Places const& places, Rows const& rows, float eps) noexcept
{
    if (rows.count == 0)
        return MMTRT_OK;
    if (rows.count > INT32_MAX)
        return refused(plugin, "more than 2^31 rows");
    auto const input = [&](int32_t place) -> void const*
    { return place >= 0 && place < call.nbInputs && call.inputs[place].rank >= 0 ? call.inputs[place].data : nullptr; };
    if (kRMS && input(places.beta) != nullptr)
        return refused(plugin, "an RMS norm has no beta");
    Arguments args{};
    args.x = static_cast<uint4 const*>(input(0));
    args.gamma = static_cast<uint4 const*>(input(1));
    args.beta = static_cast<uint4 const*>(input(places.beta));
    args.residual = static_cast<uint4 const*>(input(places.residual));
    args.scale = static_cast<float const*>(input(places.scale));
    args.y = call.outputs[0].data;
    args.sum = static_cast<uint4*>(call.outputs[1].data);
    args.rowScales = std::is_void_v<Code> ? nullptr : static_cast<float*>(call.outputs[2].data);
    args.vectors = static_cast<int32_t>(rows.width / 8);
    args.eps = eps;
    auto const stream = static_cast<cudaStream_t>(call.stream);
    return call.inputs[0].dtype == MMTRT_FLOAT16 ? launch<half, kRMS, Code>(plugin, args, rows.count, stream)
                                                 : launch<bfloat16, kRMS, Code>(plugin, args, rows.count, stream);
}
} // namespace mmtrt::norm
