// One node of a session: reads its tensors and attributes as the plugin's tables have them, and calls the plugin.
#pragma once
#include "abi.h"
#include "call.h"
#include "stream_state.h"
#include <array>
#include <cuda_runtime_api.h>
#include <cstring>
#include <exception>
#include <memory>
#include <onnxruntime_c_api.h>
#include <string>
#include <vector>

namespace mmtrt::ort
{
constexpr int32_t kMAX_TENSORS = 24;

// Thrown inside guard() alone.
class Failure : public std::exception
{
public:
    explicit Failure(std::string text)
        : mText(std::move(text))
    {
    }
    char const* what() const noexcept override { return mText.c_str(); }

private:
    std::string mText;
};

inline void check(OrtApi const& api, OrtStatus* status)
{
    if (status == nullptr)
        return;
    std::string text = api.GetErrorMessage(status);
    api.ReleaseStatus(status);
    throw Failure(std::move(text));
}

// One operator for one combination of types.
struct Op : OrtCustomOp
{
    MmtrtPluginFacts const* facts{nullptr};
    // MMTRT_… of every input, then output.
    std::vector<int32_t> dtypes;
};

struct Kernel
{
    Kernel(Op const& op, OrtApi const& api, OrtKernelInfo const* info)
        : op(op)
        , api(api)
        , attributes(op.facts->attributesBytes)
        , allocator(nullptr, api.ReleaseAllocator)
    {
        for (int32_t i = 0; i < op.facts->nbAttributes; ++i)
            readAttribute(info, op.facts->attributes[i]);
        OrtAllocator* found = nullptr;
        check(api, api.KernelInfoGetAllocator(info, OrtMemTypeDefault, &found));
        allocator.reset(found);
    }

    void readAttribute(OrtKernelInfo const* info, MmtrtAttributeFacts const& facts)
    {
        char* const to = attributes.data() + facts.offset;
        OrtStatus* status = nullptr;
        if (facts.type == MMTRT_ATTRIBUTE_INT)
        {
            auto wide = static_cast<int64_t>(facts.initial);
            status = api.KernelInfoGetAttribute_int64(info, facts.name, &wide);
            auto const value = static_cast<int32_t>(wide);
            std::memcpy(to, &value, sizeof(value));
        }
        else
        {
            auto value = static_cast<float>(facts.initial);
            status = api.KernelInfoGetAttribute_float(info, facts.name, &value);
            std::memcpy(to, &value, sizeof(value));
        }
        if (facts.required != 0)
            check(api, status);
        else if (status != nullptr)
            api.ReleaseStatus(status);
    }

    void compute(OrtKernelContext* context);
    void launch(OrtKernelContext* context, MmtrtCall& call) const;

    Op const& op;
    OrtApi const& api;
    std::vector<char> attributes;
    // The provider's arena, where the memory of its own operators comes from.
    std::unique_ptr<OrtAllocator, void (*)(OrtAllocator*)> allocator;
    StateUser stateUser;
};

using Tensors = std::array<MmtrtTensor, kMAX_TENSORS>;

struct Shape
{
    std::array<int64_t, MMTRT_MAX_RANK> dims{};
    int32_t rank{0};

    void append(int64_t size)
    {
        if (rank == MMTRT_MAX_RANK)
            throw Failure("an output of more than 8 axes");
        dims[rank++] = size;
    }
};

inline MmtrtTensor tensorOf(OrtApi const& api, OrtValue const* value, int32_t dtype)
{
    MmtrtTensor tensor{};
    tensor.rank = -1;
    tensor.dtype = dtype;
    if (value == nullptr)
        return tensor;
    OrtTensorTypeAndShapeInfo* info = nullptr;
    check(api, api.GetTensorTypeAndShape(value, &info));
    std::unique_ptr<OrtTensorTypeAndShapeInfo, void (*)(OrtTensorTypeAndShapeInfo*)> const owner(info, api.ReleaseTensorTypeAndShapeInfo);
    size_t rank = 0;
    check(api, api.GetDimensionsCount(info, &rank));
    if (rank > MMTRT_MAX_RANK)
        throw Failure("a tensor of more than 8 axes");
    tensor.rank = static_cast<int32_t>(rank);
    check(api, api.GetDimensions(info, tensor.dims, rank));
    void* data = nullptr;
    // The accessor for writing serves for reading as well; the kernels do not write to inputs.
    check(api, api.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
    tensor.data = data;
    return tensor;
}

inline int64_t valueOf(MmtrtTerm const& term, Kernel const& kernel, Tensors const& inputs)
{
    if (term.input == MMTRT_CONSTANT)
        return term.value;
    if (term.input == MMTRT_ATTRIBUTE)
        return intAttribute(*kernel.op.facts, kernel.attributes.data(), term.value);
    auto const& tensor = inputs.at(term.input);
    int64_t const axis = term.value < 0 ? tensor.rank + term.value : term.value;
    if (axis < 0 || axis >= tensor.rank)
        throw Failure("an input has fewer axes than plugin.yaml names");
    return tensor.dims[axis];
}

inline int64_t sizeOf(MmtrtDim const& dim, Kernel const& kernel, Tensors const& inputs)
{
    int64_t const a = valueOf(dim.a, kernel, inputs);
    int64_t const b = valueOf(dim.b, kernel, inputs);
    switch (dim.op)
    {
    case '+': return a + b;
    case '-': return a - b;
    case '*': return a * b;
    case '/': return b == 0 ? throw Failure("a size is divided by 0") : a / b;
    default: return a;
    }
}

// Aliased outputs have their input's shape; the caller makes it in place by binding one buffer to both.
inline Shape outputShape(Kernel const& kernel, Tensors const& inputs, int32_t index)
{
    auto const& facts = *kernel.op.facts;
    auto const& output = facts.outputs[index];
    int32_t const alias = aliasedInput(facts, kernel.attributes.data(), index);
    int32_t const from = alias >= 0 ? alias : output.leadingOf;
    Shape shape;
    if (from >= 0)
    {
        int32_t const axes = inputs[from].rank - (alias >= 0 ? 0 : facts.inputs[from].rank);
        for (int32_t j = 0; j < axes; ++j)
            shape.append(inputs[from].dims[j]);
    }
    for (int32_t j = 0; j < output.rank && alias < 0; ++j)
        shape.append(sizeOf(output.dims[j], kernel, inputs));
    return shape;
}

inline void Kernel::compute(OrtKernelContext* context)
{
    auto const& facts = *op.facts;
    size_t count = 0;
    check(api, api.KernelContext_GetInputCount(context, &count));
    if (static_cast<int32_t>(count) > facts.nbInputs)
        throw Failure("more inputs than plugin.yaml names");
    // On the stack: a step of a large decoder calls this hundreds of times.
    Tensors inputs;
    Tensors outputs;
    for (size_t i = 0; i < count; ++i)
    {
        OrtValue const* value = nullptr;
        check(api, api.KernelContext_GetInput(context, i, &value));
        inputs[i] = tensorOf(api, value, op.dtypes[i]);
        dropLeftOut(inputs[i], facts.inputs[i]);
    }
    for (int32_t i = 0; i < facts.nbOutputs; ++i)
    {
        Shape const shape = outputShape(*this, inputs, i);
        OrtValue* value = nullptr;
        check(api, api.KernelContext_GetOutput(context, i, shape.dims.data(), shape.rank, &value));
        outputs[i] = tensorOf(api, value, op.dtypes[facts.nbInputs + i]);
    }
    MmtrtCall call{};
    call.inputs = inputs.data();
    call.outputs = outputs.data();
    call.nbInputs = static_cast<int32_t>(count);
    call.nbOutputs = facts.nbOutputs;
    call.attributes = attributes.data();
    check(api, api.KernelContext_GetGPUComputeStream(context, &call.stream));
    if (!shareAliased(facts, attributes.data(), inputs.data(), outputs.data(), static_cast<cudaStream_t>(call.stream)))
        throw Failure(std::string(facts.name) + ": a tensor that is updated in place cannot be copied");
    launch(context, call);
}

// Nothing here waits, and after the first call of a stream nothing asks CUDA for memory: calls may be captured into a graph.
inline void Kernel::launch(OrtKernelContext* context, MmtrtCall& call) const
{
    auto const& facts = *op.facts;
    if (facts.stateBytes > 0)
    {
        call.state = stateUser.of(static_cast<cudaStream_t>(call.stream));
        if (call.state == nullptr)
            throw Failure(std::string(facts.name) + ": no device memory for its state");
    }
    call.workspaceBytes = facts.workspace(&call);
    if (call.workspaceBytes < 0)
        throw Failure(mmtrt_last_error());
    // The arena gives freed memory to the same stream alone, so it may go back before the kernel has run.
    auto const giveBack = [this](void* memory) { allocator->Free(allocator.get(), memory); };
    std::unique_ptr<void, decltype(giveBack)> workspace(nullptr, giveBack);
    if (call.workspaceBytes > 0)
    {
        auto const* const where = allocator->Info(allocator.get());
        check(api, api.KernelContext_GetScratchBuffer(context, where, static_cast<size_t>(call.workspaceBytes), &call.workspace));
        workspace.reset(call.workspace);
    }
    if (facts.run(&call) != MMTRT_OK)
        throw Failure(mmtrt_last_error());
}
} // namespace mmtrt::ort
