// What both adapters do with a plugin's tables before and after a runtime's own objects.
#pragma once
#include "abi.h"
#include <cstring>
#include <cuda_runtime_api.h>

namespace mmtrt
{
// A scalar stands for an optional input that is left out: parsers of TensorRT pass no empty names on.
inline void dropLeftOut(MmtrtTensor& tensor, MmtrtTensorFacts const& facts) noexcept
{
    if (facts.optional != 0 && tensor.rank == 0)
        tensor.rank = -1;
}

// Attribute `index`, which is an integer.
inline int32_t intAttribute(MmtrtPluginFacts const& facts, char const* attributes, int64_t index) noexcept
{
    int32_t value = 0;
    std::memcpy(&value, attributes + facts.attributes[index].offset, sizeof(value));
    return value;
}

// The input whose memory output `index` is, with these attributes; -1 for memory of its own.
inline int32_t aliasedInput(MmtrtPluginFacts const& facts, char const* attributes, int32_t index) noexcept
{
    auto const& output = facts.outputs[index];
    bool const on = output.aliasWhen < 0 || intAttribute(facts, attributes, output.aliasWhen) != 0;
    return on ? output.aliasOf : -1;
}

inline int64_t bytesOf(MmtrtTensor const& tensor) noexcept
{
    static constexpr int32_t kBITS[] = {32, 16, 16, 8, 4, 32, 64, 8};
    int64_t bits = kBITS[tensor.dtype];
    for (int32_t i = 0; i < tensor.rank; ++i)
        bits *= tensor.dims[i];
    return (bits + 7) / 8;
}

// Where a runtime gave an aliased output memory of its own, what is in the input is copied there, and both have that pointer.
inline bool shareAliased(MmtrtPluginFacts const& facts, char const* attributes, MmtrtTensor* inputs, MmtrtTensor const* outputs,
    cudaStream_t stream) noexcept
{
    for (int32_t i = 0; i < facts.nbOutputs; ++i)
    {
        int32_t const from = aliasedInput(facts, attributes, i);
        if (from < 0 || inputs[from].data == outputs[i].data)
            continue;
        auto const bytes = static_cast<size_t>(bytesOf(outputs[i]));
        if (cudaMemcpyAsync(outputs[i].data, inputs[from].data, bytes, cudaMemcpyDeviceToDevice, stream) != cudaSuccess)
            return false;
        inputs[from].data = outputs[i].data;
    }
    return true;
}
} // namespace mmtrt
