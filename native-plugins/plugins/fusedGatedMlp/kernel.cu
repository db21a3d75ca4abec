// Code for SM 80 serves 86 and 89.
#include "activation.cuh"
#include "fusedGatedMlp.gen.h"
#include "matmul_nt.cuh"

namespace mmtrt::fusedGatedMlp
{
namespace
{
constexpr int32_t kTILE = matmulNt::columnsOf<true>();

template <typename T>
struct Finish
{
    static constexpr bool kGATED = true;
    T* y;
    T const* gateBias;
    T const* upBias;
    int32_t n;
    Curve curve;

    static __device__ __forceinline__ float2 pairOf(T const* bias, int32_t column)
    {
        return bias == nullptr ? make_float2(0.F, 0.F) : unpack<T>(__ldg(reinterpret_cast<uint32_t const*>(bias + column)));
    }

    __device__ __forceinline__ void operator()(
        float gateLow, float gateHigh, float upLow, float upHigh, int32_t row, int32_t column) const
    {
        float2 const gate = pairOf(gateBias, column);
        float2 const up = pairOf(upBias, column);
        float low = gateLow + gate.x;
        float high = gateHigh + gate.y;
        if (curve.any)
        {
            low = activate(low, curve);
            high = activate(high, curve);
        }
        low *= upLow + up.x;
        high *= upHigh + up.y;
        *reinterpret_cast<uint32_t*>(y + static_cast<int64_t>(row) * n + column) = pack<T>(low, high);
    }
};

template <typename T>
int32_t multiply(MmtrtCall const& call, matmulNt::Arguments const& args, int32_t activation) noexcept
{
    auto const bias = [&](Input index) { return has(call, index) ? static_cast<T const*>(call.inputs[index].data) : nullptr; };
    Finish<T> const finish{static_cast<T*>(call.outputs[kY].data), bias(kGATE_BIAS), bias(kUP_BIAS), args.n, curveOf(activation)};
    return matmulNt::launch<matmulNt::Float16<T>>(kNAME, args, finish, static_cast<cudaStream_t>(call.stream));
}
} // namespace

int64_t workspaceBytes(MmtrtCall const&, Sizes const& sizes, Attributes const&) noexcept
{
    return matmulNt::workspaceBytes(sizes.lead, sizes.N, sizes.K * 2, kTILE);
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    if (sizes.lead == 0)
        return MMTRT_OK;
    if (call.workspaceBytes < workspaceBytes(call, sizes, attributes))
        return refused(kNAME, "the workspace is smaller than the workspace function says");
    auto work = matmulNt::plan(sizes.lead, sizes.N, sizes.K * 2, kTILE);
    if (auto const* const reason = matmulNt::limits(sizes.lead, sizes.N, sizes.K * 2, work, kSTATE_BYTES))
        return refused(kNAME, reason);
    work.partials = static_cast<float*>(call.workspace);
    work.counters = static_cast<uint32_t*>(call.state);
    matmulNt::Arguments const args{static_cast<uint8_t const*>(call.inputs[kX].data),
        static_cast<uint8_t const*>(call.inputs[kGATE].data), static_cast<uint8_t const*>(call.inputs[kUP].data),
        static_cast<int32_t>(sizes.lead), static_cast<int32_t>(sizes.N), static_cast<int32_t>(sizes.K * 2), work};
    return call.inputs[kX].dtype == MMTRT_FLOAT16 ? multiply<half>(call, args, attributes.activation)
                                                  : multiply<bfloat16>(call, args, attributes.activation);
}
} // namespace mmtrt::fusedGatedMlp
