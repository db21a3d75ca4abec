// Products by NVIDIA's cuBLASLt, which is looked for at run time: whoever multiplies few rows needs none.
#pragma once
#include <cstdint>
#include <cuda_runtime_api.h>

namespace mmtrt::gemm
{
struct Product
{
    void const* x;
    void const* weight;
    // Null for none.
    void const* bias;
    void* y;
    int64_t rows;
    int64_t k;
    int64_t n;
    bool half;
    // 0, or 1 and 4 as plugin.yaml has them: the others are none of cuBLASLt's.
    int32_t activation;
};

// Workspace that its products may use.
inline constexpr int64_t kCUBLAS_BYTES = 32LL << 20;

// Whether the library is there and takes the current device.
bool cublasServes() noexcept;
// Starts y = activation(x · weightᵀ + bias). False where cuBLASLt has no way for these sizes and types; then nothing was started.
bool cublasProduct(Product const& product, void* workspace, int64_t workspaceBytes, cudaStream_t stream) noexcept;
} // namespace mmtrt::gemm
