// Every plugin of the library as an ONNX Runtime custom op of domain `mmtrt`, for the CUDA provider. A registered custom op wins
// over the model-local function of the same name, so the same .onnx runs with these kernels.
#include "guard.h"
#include "onnxruntime_kernel.h"
#include <algorithm>

namespace mmtrt::ort
{
namespace
{
// Functions of this version are all that is used, so that older runtimes load the library.
constexpr uint32_t kAPI_VERSION = 20;

ONNXTensorElementDataType elementType(int32_t dtype) noexcept
{
    switch (dtype)
    {
    case MMTRT_FLOAT32: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    case MMTRT_FLOAT16: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    case MMTRT_BFLOAT16: return ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
    case MMTRT_INT8: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
    case MMTRT_INT4: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT4;
    case MMTRT_INT32: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
    case MMTRT_INT64: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    case MMTRT_FLOAT8: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN;
    default: return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    }
}

Op const& self(OrtCustomOp const* op) noexcept { return *static_cast<Op const*>(op); }

OrtStatus* failure(OrtApi const& api, char const* text) noexcept { return api.CreateStatus(ORT_FAIL, text); }

OrtStatus* ORT_API_CALL createKernel(OrtCustomOp const* op, OrtApi const* api, OrtKernelInfo const* info, void** kernel) noexcept
{
    return guard(
        [&]() -> OrtStatus*
        {
            *kernel = new Kernel(self(op), *api, info);
            return nullptr;
        },
        [&](char const* text) { return failure(*api, text); });
}

OrtStatus* ORT_API_CALL computeKernel(void* kernel, OrtKernelContext* context) noexcept
{
    auto& mine = *static_cast<Kernel*>(kernel);
    return guard(
        [&]() -> OrtStatus*
        {
            mine.compute(context);
            return nullptr;
        },
        [&](char const* text) { return failure(mine.api, text); });
}

OrtCustomOpInputOutputCharacteristic characteristic(MmtrtTensorFacts const& facts) noexcept
{
    return facts.optional != 0 ? INPUT_OUTPUT_OPTIONAL : INPUT_OUTPUT_REQUIRED;
}

void fill(Op& op, MmtrtPluginFacts const& facts, std::vector<int32_t> dtypes)
{
    op.facts = &facts;
    op.dtypes = std::move(dtypes);
    op.version = kAPI_VERSION;
    op.CreateKernelV2 = createKernel;
    op.KernelComputeV2 = computeKernel;
    op.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    op.GetName = [](OrtCustomOp const* o) { return self(o).facts->name; };
    op.GetExecutionProviderType = [](OrtCustomOp const*) { return "CUDAExecutionProvider"; };
    op.GetInputTypeCount = [](OrtCustomOp const* o) { return static_cast<size_t>(self(o).facts->nbInputs); };
    op.GetOutputTypeCount = [](OrtCustomOp const* o) { return static_cast<size_t>(self(o).facts->nbOutputs); };
    op.GetInputType = [](OrtCustomOp const* o, size_t i) { return elementType(self(o).dtypes[i]); };
    op.GetOutputType = [](OrtCustomOp const* o, size_t i) { return elementType(self(o).dtypes[self(o).facts->nbInputs + i]); };
    op.GetInputCharacteristic = [](OrtCustomOp const* o, size_t i) { return characteristic(self(o).facts->inputs[i]); };
    op.GetOutputCharacteristic = [](OrtCustomOp const* o, size_t i) { return characteristic(self(o).facts->outputs[i]); };
    op.GetInputMemoryType = [](OrtCustomOp const*, size_t) { return OrtMemTypeDefault; };
    op.GetStartVersion = [](OrtCustomOp const*) { return 1; };
    op.GetEndVersion = [](OrtCustomOp const*) { return INT32_MAX; };
}

// Every choice of a dtype for each type variable, as the dtypes of all inputs and outputs.
void combinations(MmtrtPluginFacts const& facts, std::vector<int32_t> dtypes, std::vector<std::vector<int32_t>>& all)
{
    auto const at = static_cast<int32_t>(dtypes.size());
    if (at == facts.nbInputs + facts.nbOutputs)
    {
        all.push_back(std::move(dtypes));
        return;
    }
    auto const factsAt = [&](int32_t i) -> MmtrtTensorFacts const&
    { return i < facts.nbInputs ? facts.inputs[i] : facts.outputs[i - facts.nbInputs]; };
    for (int32_t dtype = 0; dtype < 32; ++dtype)
    {
        bool allowed = ((factsAt(at).dtypes >> dtype) & 1U) != 0;
        for (int32_t i = 0; i < at; ++i)
            allowed = allowed && (factsAt(at).group < 0 || factsAt(i).group != factsAt(at).group || dtypes[i] == dtype);
        if (!allowed)
            continue;
        auto next = dtypes;
        next.push_back(dtype);
        combinations(facts, std::move(next), all);
    }
}

std::vector<std::unique_ptr<Op>> makeOps()
{
    std::vector<std::unique_ptr<Op>> ops;
    int32_t count = 0;
    auto const* const table = mmtrt_plugins(&count);
    for (int32_t i = 0; i < count; ++i)
    {
        if (std::max(table[i].nbInputs, table[i].nbOutputs) > kMAX_TENSORS)
            throw Failure(std::string(table[i].name) + " has more tensors than this adapter passes on");
        std::vector<std::vector<int32_t>> all;
        combinations(table[i], {}, all);
        for (auto& dtypes : all)
        {
            ops.push_back(std::make_unique<Op>());
            fill(*ops.back(), table[i], std::move(dtypes));
        }
    }
    return ops;
}

// One for all sessions of the process, which keep pointers into it: it and its operators stay until the end.
OrtCustomOpDomain* domain(OrtApi const& api)
{
    static OrtCustomOpDomain* const made = [&api]
    {
        static std::vector<std::unique_ptr<Op>> const ops = makeOps();
        OrtCustomOpDomain* created = nullptr;
        check(api, api.CreateCustomOpDomain("mmtrt", &created));
        for (auto const& op : ops)
            check(api, api.CustomOpDomain_Add(created, op.get()));
        return created;
    }();
    return made;
}
} // namespace
} // namespace mmtrt::ort

extern "C" MMTRT_API OrtStatus* ORT_API_CALL RegisterCustomOps(OrtSessionOptions* options, OrtApiBase const* base)
{
    auto const* const api = base->GetApi(mmtrt::ort::kAPI_VERSION);
    if (api == nullptr)
        return nullptr;
    return mmtrt::guard(
        [&]() -> OrtStatus*
        {
            mmtrt::ort::check(*api, api->AddCustomOpDomain(options, mmtrt::ort::domain(*api)));
            return nullptr;
        },
        [&](char const* text) { return mmtrt::ort::failure(*api, text); });
}
