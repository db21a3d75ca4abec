#include "tensor_map.h"
#include <dlfcn.h>

namespace mmtrt
{
namespace
{
using Encode = decltype(&cuTensorMapEncodeTiled);

// Of the driver that the CUDA runtime has loaded; this library is not linked with it, since hosts without a GPU load it too.
Encode encode() noexcept
{
    static Encode const function = []() noexcept -> Encode
    {
        void* const driver = dlopen("libcuda.so.1", RTLD_NOW);
        return driver == nullptr ? nullptr : reinterpret_cast<Encode>(dlsym(driver, "cuTensorMapEncodeTiled"));
    }();
    return function;
}
} // namespace

bool describeMatrix(CUtensorMap& map, Matrix const& matrix) noexcept
{
    if (encode() == nullptr)
        return false;
    cuuint64_t const sizes[2] = {static_cast<cuuint64_t>(matrix.columns), static_cast<cuuint64_t>(matrix.rows)};
    cuuint64_t const rowBytes[1] = {sizes[0] * static_cast<cuuint64_t>(matrix.elementBytes)};
    cuuint32_t const box[2] = {static_cast<cuuint32_t>(matrix.boxColumns), static_cast<cuuint32_t>(matrix.boxRows)};
    cuuint32_t const steps[2] = {1, 1};
    auto const type = matrix.elementBytes == 1 ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_UINT16;
    auto const swizzle = !matrix.exchanged                                ? CU_TENSOR_MAP_SWIZZLE_NONE
        : matrix.boxColumns * matrix.elementBytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                                          : CU_TENSOR_MAP_SWIZZLE_128B;
    return encode()(&map, type, 2, const_cast<void*>(matrix.data), sizes, rowBytes, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
               CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)
        == CUDA_SUCCESS;
}
} // namespace mmtrt
