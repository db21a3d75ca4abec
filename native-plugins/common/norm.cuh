// RMS and layer norms over the last axis. One block a row; the row stays in registers between its moments and the result, so memory
// is read and written once. What goes in is s = x + residual, rounded to x's type and handed on as the residual of the next layer.
#pragma once
#include "error.h"
#include "quantize.cuh"

namespace mmtrt::norm
{
inline constexpr int32_t kTHREADS = 256;
// Below it a token counts as zeros.
inline constexpr float kLEAST_SCALE = 1e-6F;

enum class Result
{
    // x's type.
    kFLOAT,
    kINT8,
    kFLOAT8,
};

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

// kVECTORS: copies of 8 elements that a thread holds.
template <typename T, bool kRMS, Result kRESULT, int32_t kVECTORS>
__global__ void __launch_bounds__(kTHREADS) kernel(Arguments const args)
{
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
            if constexpr (kRESULT != Result::kFLOAT)
                to[j] = toFloat(fromFloat<T>(to[j]));
        }
    };
    float inverse = 0.F;
    if constexpr (kRESULT != Result::kFLOAT)
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
            constexpr float kMOST_CODE = kRESULT == Result::kINT8 ? 127.F : 448.F;
            scale = fmaxf(overBlock<kTHREADS, 2>(largest, Larger{}) / kMOST_CODE, kLEAST_SCALE);
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
        if constexpr (kRESULT == Result::kFLOAT)
            static_cast<uint4*>(args.y)[row + v] = pack8<T>(y);
        else
        {
#pragma unroll
            for (float& value : y)
                value *= inverse;
            static_cast<uint2*>(args.y)[row + v] = codesOf<kRESULT == Result::kFLOAT8>(y);
        }
    }
}

template <typename T, bool kRMS, Result kRESULT>
int32_t launch(char const* plugin, Arguments const& args, int64_t rows, cudaStream_t stream) noexcept
{
    auto const start = [&](auto* function)
    {
        function<<<static_cast<uint32_t>(rows), kTHREADS, 0, stream>>>(args);
        return checked(plugin, cudaGetLastError());
    };
    if (args.vectors <= kTHREADS)
        return start(kernel<T, kRMS, kRESULT, 1>);
    if (args.vectors <= 2 * kTHREADS)
        return start(kernel<T, kRMS, kRESULT, 2>);
    return args.vectors <= 4 * kTHREADS ? start(kernel<T, kRMS, kRESULT, 4>) : start(kernel<T, kRMS, kRESULT, 8>);
}

// Rows of 8 to 16384 elements of a half type.
template <bool kRMS, Result kRESULT>
int32_t run(char const* plugin, Arguments const& args, bool isHalf, int64_t rows, void* stream) noexcept
{
    if (rows == 0)
        return MMTRT_OK;
    if (rows > INT32_MAX)
        return refused(plugin, "more than 2^31 rows");
    auto const on = static_cast<cudaStream_t>(stream);
    return isHalf ? launch<half, kRMS, kRESULT>(plugin, args, rows, on) : launch<bfloat16, kRMS, kRESULT>(plugin, args, rows, on);
}
} // namespace mmtrt::norm
