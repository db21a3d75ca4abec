// Two launches for a float x: its codes go to the workspace, then the product. One for codes.
// Code for SM 80 serves 86.
#include "float8.cuh"
#include "fp8Matmul.gen.h"
#include "matmul_nt.cuh"

namespace mmtrt::fp8Matmul
{
namespace
{
constexpr int32_t kQUANTIZE_THREADS = 256;

struct Float8
{
    using Sum = float;
    static __device__ __forceinline__ void mma(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1)
    {
        // The host starts nothing of this before SM 89.
#if __CUDA_ARCH__ >= 890
        asm volatile("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
    }
};

template <typename T>
__global__ void __launch_bounds__(kQUANTIZE_THREADS)
    quantizeKernel(uint4 const* x, float const* inputScale, uint2* codes, int64_t vectors)
{
    float const factor = 1.F / *inputScale;
    for (int64_t v = blockIdx.x * static_cast<int64_t>(kQUANTIZE_THREADS) + threadIdx.x; v < vectors;
        v += gridDim.x * static_cast<int64_t>(kQUANTIZE_THREADS))
    {
        float values[8];
        unpack8<T>(values, __ldg(x + v));
#pragma unroll
        for (float& value : values)
            value *= factor;
        codes[v] = codesOf<Float8Code>(values);
    }
}

template <typename T>
struct Finish
{
    static constexpr bool kGATED = false;
    T* y;
    float const* inputScale;
    float const* weightScale;
    T const* bias;
    int32_t n;

    __device__ __forceinline__ void operator()(float low, float high, int32_t row, int32_t column) const
    {
        float const scale = __ldg(inputScale) * __ldg(weightScale);
        float2 add = make_float2(0.F, 0.F);
        if (bias != nullptr)
            add = unpack<T>(__ldg(reinterpret_cast<uint32_t const*>(bias + column)));
        *reinterpret_cast<uint32_t*>(y + static_cast<int64_t>(row) * n + column) = pack<T>(low * scale + add.x, high * scale + add.y);
    }
};

bool isCodes(MmtrtCall const& call) noexcept { return call.inputs[kX].dtype == MMTRT_FLOAT8; }
int64_t codesBytes(MmtrtCall const& call, Sizes const& sizes) noexcept
{
    return isCodes(call) ? 0 : (sizes.lead * sizes.K + 255) / 256 * 256;
}

int32_t quantize(MmtrtCall const& call, Sizes const& sizes, uint8_t* codes, cudaStream_t stream) noexcept
{
    int64_t const vectors = sizes.lead * sizes.K / 8;
    auto const blocks =
        static_cast<uint32_t>(std::min<int64_t>((vectors + kQUANTIZE_THREADS - 1) / kQUANTIZE_THREADS, multiprocessors() * 8LL));
    auto const start = [&](auto* kernel)
    {
        kernel<<<blocks, kQUANTIZE_THREADS, 0, stream>>>(static_cast<uint4 const*>(call.inputs[kX].data),
            static_cast<float const*>(call.inputs[kINPUT_SCALE].data), reinterpret_cast<uint2*>(codes), vectors);
        return checked(kNAME, cudaGetLastError());
    };
    return call.inputs[kX].dtype == MMTRT_FLOAT16 ? start(quantizeKernel<half>) : start(quantizeKernel<bfloat16>);
}

template <typename T>
int32_t multiply(MmtrtCall const& call, Sizes const& sizes, matmulNt::Arguments const& args, cudaStream_t stream) noexcept
{
    Finish<T> const finish{static_cast<T*>(call.outputs[kY].data), static_cast<float const*>(call.inputs[kINPUT_SCALE].data),
        static_cast<float const*>(call.inputs[kWEIGHT_SCALE].data),
        has(call, kBIAS) ? static_cast<T const*>(call.inputs[kBIAS].data) : nullptr, static_cast<int32_t>(sizes.N)};
    return matmulNt::launch<Float8>(kNAME, args, finish, stream);
}
} // namespace

int64_t workspaceBytes(MmtrtCall const& call, Sizes const& sizes, Attributes const&) noexcept
{
    return codesBytes(call, sizes) + matmulNt::workspaceBytes(sizes.lead, sizes.N, sizes.K);
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    if (sizes.lead == 0)
        return MMTRT_OK;
    if (computeCapability() < 89)
        return refused(kNAME, "this GPU has no FP8 tensor cores: SM 89 or later does");
    if (call.workspaceBytes < workspaceBytes(call, sizes, attributes))
        return refused(kNAME, "the workspace is smaller than the workspace function says");
    auto work = matmulNt::plan(sizes.lead, sizes.N, sizes.K);
    if (auto const* const reason = matmulNt::limits(sizes.lead, sizes.N, sizes.K, work, kSTATE_BYTES))
        return refused(kNAME, reason);
    auto const stream = static_cast<cudaStream_t>(call.stream);
    auto* const workspace = static_cast<uint8_t*>(call.workspace);
    auto const* codes = static_cast<uint8_t const*>(call.inputs[kX].data);
    if (!isCodes(call))
    {
        if (auto const status = quantize(call, sizes, workspace, stream))
            return status;
        codes = workspace;
    }
    work.partials = reinterpret_cast<float*>(workspace + codesBytes(call, sizes));
    work.counters = static_cast<uint32_t*>(call.state);
    matmulNt::Arguments const args{codes, static_cast<uint8_t const*>(call.inputs[kWEIGHT].data), nullptr,
        static_cast<int32_t>(sizes.lead), static_cast<int32_t>(sizes.N), static_cast<int32_t>(sizes.K), work};
    return call.outputs[kY].dtype == MMTRT_FLOAT16 ? multiply<half>(call, sizes, args, stream)
                                                   : multiply<bfloat16>(call, sizes, args, stream);
}
} // namespace mmtrt::fp8Matmul
