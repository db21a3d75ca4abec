#include "engine_onnxruntime_collectives.h"
#include "problem.h"
#include <functional>
#include <string>

namespace mmtrt::runner
{
struct CollectiveOps::Op : OrtCustomOp
{
    Links* links{nullptr};
    bool reduces{false};
    bool onHost{false};
    Dtype dtype{Dtype::kFLOAT32};
    ONNXTensorElementDataType type{ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT};
};

namespace
{
constexpr uint32_t kAPI_VERSION = 20;

CollectiveOps::Op const& self(OrtCustomOp const* op) noexcept { return *static_cast<CollectiveOps::Op const*>(op); }

// One node of a session.
struct Kernel
{
    CollectiveOps::Op const& op;
    OrtApi const& api;
    // Ranks that meet in it.
    int64_t ranks;

    void check(OrtStatus* status) const
    {
        if (status == nullptr)
            return;
        std::string const text = api.GetErrorMessage(status);
        api.ReleaseStatus(status);
        throw Failure({"RUN058", text, "DistCollective", "", ""});
    }

    void compute(OrtKernelContext* context) const
    {
        OrtValue const* x = nullptr;
        check(api.KernelContext_GetInput(context, 0, &x));
        OrtTensorTypeAndShapeInfo* info = nullptr;
        check(api.GetTensorTypeAndShape(x, &info));
        size_t axes = 0;
        OrtStatus* const counted = api.GetDimensionsCount(info, &axes);
        Shape shape(axes);
        OrtStatus* const sized = counted != nullptr ? nullptr : api.GetDimensions(info, shape.data(), axes);
        api.ReleaseTensorTypeAndShapeInfo(info);
        check(counted);
        check(sized);
        int64_t const count = elementsOf(shape);
        if (!op.reduces)
            shape.at(0) *= ranks;
        OrtValue* y = nullptr;
        check(api.KernelContext_GetOutput(context, 0, shape.data(), shape.size(), &y));
        void* from = nullptr;
        void* to = nullptr;
        check(api.GetTensorMutableData(const_cast<OrtValue*>(x), &from));
        check(api.GetTensorMutableData(y, &to));
        if (op.reduces)
            op.links->allReduce(from, to, count, op.dtype);
        else
            op.links->allGather(from, to, count * bytesOf(op.dtype));
    }
};

// Nothing may be thrown through ONNX Runtime.
OrtStatus* guarded(OrtApi const& api, std::function<void()> const& work) noexcept
{
    try
    {
        work();
        return nullptr;
    }
    catch (std::exception const& error)
    {
        return api.CreateStatus(ORT_FAIL, error.what());
    }
}

OrtStatus* ORT_API_CALL createKernel(OrtCustomOp const* op, OrtApi const* api, OrtKernelInfo const* info, void** kernel) noexcept
{
    return guarded(*api,
        [&]
        {
            int64_t ranks = 1;
            auto* const made = new Kernel{self(op), *api, ranks};
            OrtStatus* const status = api->KernelInfoGetAttribute_int64(info, "nb_rank", &made->ranks);
            *kernel = made;
            made->check(status);
        });
}

OrtStatus* ORT_API_CALL computeKernel(void* kernel, OrtKernelContext* context) noexcept
{
    auto const& mine = *static_cast<Kernel const*>(kernel);
    return guarded(mine.api, [&] { mine.compute(context); });
}

void fill(CollectiveOps::Op& op)
{
    op.version = kAPI_VERSION;
    op.CreateKernelV2 = createKernel;
    op.KernelComputeV2 = computeKernel;
    op.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    op.GetName = [](OrtCustomOp const*) { return "DistCollective"; };
    op.GetExecutionProviderType
        = [](OrtCustomOp const* o) -> char const* { return self(o).onHost ? "CPUExecutionProvider" : "CUDAExecutionProvider"; };
    op.GetInputTypeCount = [](OrtCustomOp const*) { return size_t{1}; };
    op.GetOutputTypeCount = [](OrtCustomOp const*) { return size_t{1}; };
    op.GetInputType = [](OrtCustomOp const* o, size_t) { return self(o).type; };
    op.GetOutputType = [](OrtCustomOp const* o, size_t) { return self(o).type; };
    op.GetInputCharacteristic = [](OrtCustomOp const*, size_t) { return INPUT_OUTPUT_REQUIRED; };
    op.GetOutputCharacteristic = [](OrtCustomOp const*, size_t) { return INPUT_OUTPUT_REQUIRED; };
    op.GetInputMemoryType = [](OrtCustomOp const*, size_t) { return OrtMemTypeDefault; };
    op.GetStartVersion = [](OrtCustomOp const*) { return 1; };
    op.GetEndVersion = [](OrtCustomOp const*) { return INT32_MAX; };
}
} // namespace

CollectiveOps::CollectiveOps(OrtApi const& api, Links& links, bool onHost, bool reduces)
    : mApi(api)
{
    if (reduces)
        add(domain("mmtrt"), true, onHost, links);
    add(domain("mmtrt.all_gather"), false, onHost, links);
}

CollectiveOps::~CollectiveOps()
{
    for (auto* const domain : mDomains)
        mApi.ReleaseCustomOpDomain(domain);
}

OrtStatus* CollectiveOps::addTo(OrtSessionOptions* options) const
{
    for (auto* const domain : mDomains)
        if (OrtStatus* const status = mApi.AddCustomOpDomain(options, domain); status != nullptr)
            return status;
    return nullptr;
}

OrtCustomOpDomain* CollectiveOps::domain(char const* name)
{
    OrtCustomOpDomain* made = nullptr;
    if (OrtStatus* const status = mApi.CreateCustomOpDomain(name, &made); status != nullptr)
    {
        mApi.ReleaseStatus(status);
        throw std::bad_alloc();
    }
    mDomains.push_back(made);
    return made;
}

void CollectiveOps::add(OrtCustomOpDomain* domain, bool reduces, bool onHost, Links& links)
{
    struct Type
    {
        Dtype dtype;
        ONNXTensorElementDataType type;
    };
    for (auto const& [dtype, type] : {Type{Dtype::kFLOAT32, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}, Type{Dtype::kFLOAT16, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16},
             Type{Dtype::kBFLOAT16, ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16}})
    {
        mOps.push_back(std::make_unique<Op>());
        auto& op = *mOps.back();
        fill(op);
        op.links = &links;
        op.reduces = reduces;
        op.onHost = onHost;
        op.dtype = dtype;
        op.type = type;
        if (OrtStatus* const status = mApi.CustomOpDomain_Add(domain, &op); status != nullptr)
        {
            mApi.ReleaseStatus(status);
            throw std::bad_alloc();
        }
    }
}
} // namespace mmtrt::runner
