#include "cublaslt.h"
#include "gemm.gen.h"
#include "matmul_nt.cuh"
#include "skinny.cuh"
#include <algorithm>

namespace mmtrt::gemm
{
namespace
{
template <typename T>
T const* biasOf(MmtrtCall const& call) noexcept
{
    return has(call, kBIAS) ? static_cast<T const*>(call.inputs[kBIAS].data) : nullptr;
}

// --- Up to 8 rows ---

template <typename T>
int32_t runSkinny(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    auto const tiles = static_cast<int32_t>((sizes.N + kCOLUMNS - 1) / kCOLUMNS);
    int32_t const places = multiprocessors() * kRESIDENT;
    constexpr int64_t kROUND = int64_t{kBLOCK_STEP} * kDEPTH;
    SkinnyArguments const args{call.inputs[kX].data, call.inputs[kWEIGHT].data, biasOf<T>(call), call.outputs[kY].data,
        static_cast<int32_t>(sizes.lead), static_cast<int32_t>(sizes.K), static_cast<int32_t>(sizes.N), tiles, static_cast<int32_t>((sizes.K + kROUND - 1) / kROUND),
        curveOf(attributes.activation)};
    return checked(kNAME,
        launchBeside(skinnyKernel<T>, dim3(static_cast<uint32_t>(std::min(tiles, places))), kWARPS * 32, 0,
            static_cast<cudaStream_t>(call.stream), args));
}

// --- More rows, by cuBLASLt ---

template <typename T>
__global__ void activateKernel(T* y, int64_t count, Curve const curve)
{
    for (int64_t i = blockIdx.x * 256LL + threadIdx.x; i < count; i += gridDim.x * 256LL)
        y[i] = fromFloat<T>(activate(toFloat(y[i]), curve));
}

// False: nothing was started.
template <typename T>
bool runCublas(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes, int32_t& status) noexcept
{
    // It has GELU and ReLU; the others take a launch of their own, on the rounded product.
    bool const apart = attributes.activation == 2 || attributes.activation == 3;
    Product const product{call.inputs[kX].data, call.inputs[kWEIGHT].data, biasOf<T>(call), call.outputs[kY].data, sizes.lead, sizes.K,
        sizes.N, IsHalf<T>::value, apart ? 0 : attributes.activation};
    auto const stream = static_cast<cudaStream_t>(call.stream);
    if (!cublasProduct(product, call.workspace, std::min(call.workspaceBytes, kCUBLAS_BYTES), stream))
        return false;
    status = MMTRT_OK;
    if (apart)
    {
        int64_t const count = sizes.lead * sizes.N;
        auto const blocks = static_cast<uint32_t>(std::min<int64_t>((count + 255) / 256, multiprocessors() * 16LL));
        activateKernel<T><<<blocks, 256, 0, stream>>>(static_cast<T*>(call.outputs[kY].data), count, curveOf(attributes.activation));
        status = checked(kNAME, cudaGetLastError());
    }
    return true;
}

// --- More rows without it ---

template <typename T>
struct Finish
{
    static constexpr bool kGATED = false;
    T* y;
    T const* bias;
    int32_t n;
    Curve curve;

    __device__ __forceinline__ float finished(float value, int32_t column) const
    {
        float const sum = bias == nullptr ? value : value + toFloat(bias[column]);
        return curve.any ? activate(sum, curve) : sum;
    }
    // n may be odd: rows then begin at odd elements, and the last column has no neighbour.
    __device__ __forceinline__ void operator()(float low, float high, int32_t row, int32_t column) const
    {
        T* const to = y + static_cast<int64_t>(row) * n + column;
        bool const both = column + 1 < n;
        low = finished(low, column);
        if (both)
            high = finished(high, column + 1);
        if (n % 2 == 0)
        {
            *reinterpret_cast<uint32_t*>(to) = pack<T>(low, high);
            return;
        }
        to[0] = fromFloat<T>(low);
        if (both)
            to[1] = fromFloat<T>(high);
    }
};

template <typename T>
int32_t runTiles(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    auto work = matmulNt::plan(sizes.lead, sizes.N, sizes.K * 2);
    if (auto const* const reason = matmulNt::limits(sizes.lead, sizes.N, sizes.K * 2, work, kSTATE_BYTES))
        return refused(kNAME, reason);
    work.partials = static_cast<float*>(call.workspace);
    work.counters = static_cast<uint32_t*>(call.state);
    matmulNt::Arguments const args{static_cast<uint8_t const*>(call.inputs[kX].data),
        static_cast<uint8_t const*>(call.inputs[kWEIGHT].data), nullptr, static_cast<int32_t>(sizes.lead),
        static_cast<int32_t>(sizes.N), static_cast<int32_t>(sizes.K * 2), work};
    Finish<T> const finish{static_cast<T*>(call.outputs[kY].data), biasOf<T>(call), args.n, curveOf(attributes.activation)};
    return matmulNt::launch<matmulNt::Float16<T>>(kNAME, args, finish, static_cast<cudaStream_t>(call.stream));
}

// Whenever there are more rows: cuBLASLt may have no way for their sizes.
int64_t tilesBytes(Sizes const& sizes) noexcept { return matmulNt::workspaceBytes(sizes.lead, sizes.N, sizes.K * 2); }

template <typename T>
int32_t runRows(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    if (sizes.lead <= kMOST_ROWS)
        return runSkinny<T>(call, sizes, attributes);
    int32_t status = MMTRT_OK;
    return runCublas<T>(call, sizes, attributes, status) ? status : runTiles<T>(call, sizes, attributes);
}
} // namespace

int64_t workspaceBytes(MmtrtCall const&, Sizes const& sizes, Attributes const&) noexcept
{
    if (sizes.lead <= kMOST_ROWS)
        return 0;
    return std::max(cublasServes() ? kCUBLAS_BYTES : 0, tilesBytes(sizes));
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    if (sizes.lead == 0)
        return MMTRT_OK;
    if (sizes.lead > INT32_MAX - 128 || sizes.N > INT32_MAX - 128 || sizes.K > INT32_MAX / 4)
        return refused(kNAME, "more than 2^31 rows or columns, or more than 2^29 of k");
    // cuBLASLt makes do with what there is: an engine may come from a machine that had none.
    if (sizes.lead > kMOST_ROWS && call.workspaceBytes < tilesBytes(sizes))
        return refused(kNAME, "the workspace is smaller than the workspace function says");
    return call.inputs[kX].dtype == MMTRT_FLOAT16 ? runRows<half>(call, sizes, attributes) : runRows<bfloat16>(call, sizes, attributes);
}
} // namespace mmtrt::gemm
