// Every plugin of the library as TensorRT's IPluginV3: one class that reads what plugin.yaml says from the tables.
#include "abi.h"
#include "call.h"
#include "guard.h"
#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace mmtrt
{
namespace
{
using namespace nvinfer1;

// Outputs that are an input's memory came with TensorRT 10.3; before, enqueue copies.
#if NV_TENSORRT_MAJOR > 10 || NV_TENSORRT_MINOR >= 3
#define MMTRT_HAS_ALIASES 1
using BuildCapability = IPluginV3OneBuildV2;
#else
#define MMTRT_HAS_ALIASES 0
using BuildCapability = IPluginV3OneBuild;
#endif

ILoggerFinder* gFinder{nullptr};

// TensorRT 11 gave ILoggerFinder another base class, so that a finder of another major version cannot be called. All other
// interfaces here are laid out alike from 10.0 to 11.1, and a library built with the headers of one loads in the others.
bool finderFits() noexcept
{
    auto* const version = reinterpret_cast<int32_t (*)()>(dlsym(RTLD_DEFAULT, "getInferLibVersion"));
    return version != nullptr && version() / 10000 == NV_TENSORRT_MAJOR;
}

void log(char const* plugin, char const* text) noexcept
{
    auto* const logger = gFinder != nullptr && finderFits() ? gFinder->findLogger() : nullptr;
    if (logger == nullptr)
    {
        std::fprintf(stderr, "[mmtrt] %s: %s\n", plugin, text);
        return;
    }
    char message[640];
    std::snprintf(message, sizeof(message), "[mmtrt] %s: %s", plugin, text);
    logger->log(ILogger::Severity::kERROR, message);
}

// MMTRT_… of a TensorRT type; -1 where there is none.
int32_t dtypeOf(DataType type) noexcept
{
    switch (type)
    {
    case DataType::kFLOAT: return MMTRT_FLOAT32;
    case DataType::kHALF: return MMTRT_FLOAT16;
    case DataType::kBF16: return MMTRT_BFLOAT16;
    case DataType::kINT8: return MMTRT_INT8;
    case DataType::kINT4: return MMTRT_INT4;
    case DataType::kINT32: return MMTRT_INT32;
    case DataType::kINT64: return MMTRT_INT64;
    case DataType::kFP8: return MMTRT_FLOAT8;
    default: return -1;
    }
}

DataType onlyType(uint32_t dtypes) noexcept
{
    for (auto const type : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16, DataType::kINT8, DataType::kINT4, DataType::kINT32,
             DataType::kINT64, DataType::kFP8})
        if (dtypes == 1U << dtypeOf(type))
            return type;
    return DataType::kFLOAT;
}

MmtrtTensor tensorOf(Dims const& dims, DataType type, void* data) noexcept
{
    MmtrtTensor tensor{};
    tensor.data = data;
    tensor.rank = dims.nbDims;
    tensor.dtype = dtypeOf(type);
    for (int32_t i = 0; i < dims.nbDims && i < MMTRT_MAX_RANK; ++i)
        tensor.dims[i] = dims.d[i];
    return tensor;
}

// `state` bytes of zeros, one for each execution context.
struct State
{
    void* data{nullptr};
    State() = default;
    State(State const&) = delete;
    State& operator=(State const&) = delete;
    ~State() { cudaFree(data); }

    // Leaves `data` null where there is no memory.
    void allocate(int64_t bytes) noexcept
    {
        if (bytes == 0 || cudaMalloc(&data, bytes) != cudaSuccess)
            data = nullptr;
        else if (cudaMemset(data, 0, bytes) != cudaSuccess)
        {
            cudaFree(data);
            data = nullptr;
        }
    }
};

class Plugin final : public IPluginV3, public IPluginV3OneCore, public BuildCapability, public IPluginV3OneRuntime
{
public:
    Plugin(MmtrtPluginFacts const& facts, std::vector<char> attributes)
        : mFacts(facts)
        , mAttributes(std::move(attributes))
    {
    }

    IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override
    {
        switch (type)
        {
        case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
        case PluginCapabilityType::kBUILD: return static_cast<BuildCapability*>(this);
        case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    IPluginV3* clone() noexcept override
    {
        return guarded<IPluginV3*>([&]() -> IPluginV3* { return new Plugin(mFacts, mAttributes); }, nullptr);
    }

    AsciiChar const* getPluginName() const noexcept override { return mFacts.name; }
    AsciiChar const* getPluginVersion() const noexcept override { return mFacts.version; }
    AsciiChar const* getPluginNamespace() const noexcept override { return "mmtrt"; }
    int32_t getNbOutputs() const noexcept override { return mFacts.nbOutputs; }

    int32_t getOutputDataTypes(DataType* outputs, int32_t nbOutputs, DataType const* inputs, int32_t nbInputs) const noexcept override
    {
        for (int32_t i = 0; i < nbOutputs; ++i)
        {
            outputs[i] = onlyType(mFacts.outputs[i].dtypes);
            for (int32_t j = nbInputs - 1; j >= 0; --j)
                if (mFacts.outputs[i].group >= 0 && mFacts.inputs[j].group == mFacts.outputs[i].group)
                    outputs[i] = inputs[j];
        }
        return 0;
    }

    int32_t getOutputShapes(DimsExprs const* inputs, int32_t, DimsExprs const*, int32_t, DimsExprs* outputs, int32_t nbOutputs,
        IExprBuilder& builder) noexcept override
    {
        auto const term = [&](MmtrtTerm const& from) -> IDimensionExpr const*
        {
            if (from.input == MMTRT_CONSTANT)
                return builder.constant(from.value);
            if (from.input == MMTRT_ATTRIBUTE)
                return builder.constant(intAttribute(mFacts, mAttributes.data(), from.value));
            auto const& dims = inputs[from.input];
            return dims.d[from.value < 0 ? dims.nbDims + from.value : from.value];
        };
        for (int32_t i = 0; i < nbOutputs; ++i)
        {
            auto const& facts = mFacts.outputs[i];
            if (int32_t const alias = aliasedInput(mFacts, mAttributes.data(), i); alias >= 0)
            {
                outputs[i] = inputs[alias];
                continue;
            }
            int32_t axis = 0;
            if (facts.leadingOf >= 0)
                for (; axis < inputs[facts.leadingOf].nbDims - mFacts.inputs[facts.leadingOf].rank; ++axis)
                    outputs[i].d[axis] = inputs[facts.leadingOf].d[axis];
            for (int32_t j = 0; j < facts.rank; ++j, ++axis)
            {
                auto const& dim = facts.dims[j];
                auto const* const a = term(dim.a);
                outputs[i].d[axis] = dim.op == 0 ? a : builder.operation(operationOf(dim.op), *a, *term(dim.b));
            }
            outputs[i].nbDims = axis;
        }
        return 0;
    }

#if MMTRT_HAS_ALIASES
    int32_t getAliasedInput(int32_t outputIndex) noexcept override
    {
        return aliasedInput(mFacts, mAttributes.data(), outputIndex);
    }
#endif

    bool supportsFormatCombination(
        int32_t position, DynamicPluginTensorDesc const* inOut, int32_t nbInputs, int32_t) noexcept override
    {
        auto const factsAt = [&](int32_t at) -> MmtrtTensorFacts const&
        { return at < nbInputs ? mFacts.inputs[at] : mFacts.outputs[at - nbInputs]; };
        auto const& here = inOut[position].desc;
        auto const& facts = factsAt(position);
        int32_t const dtype = dtypeOf(here.type);
        if (here.format != TensorFormat::kLINEAR || dtype < 0 || ((facts.dtypes >> dtype) & 1U) == 0)
            return false;
        for (int32_t i = 0; i < position; ++i)
            if (facts.group >= 0 && factsAt(i).group == facts.group && inOut[i].desc.type != here.type)
                return false;
        return true;
    }

    int32_t configurePlugin(
        DynamicPluginTensorDesc const*, int32_t, DynamicPluginTensorDesc const*, int32_t) noexcept override
    {
        return 0;
    }

    size_t getWorkspaceSize(DynamicPluginTensorDesc const* inputs, int32_t nbInputs, DynamicPluginTensorDesc const* outputs,
        int32_t nbOutputs) const noexcept override
    {
        return guarded<size_t>(
            [&]() -> size_t
            {
                mInputs.clear();
                mOutputs.clear();
                for (int32_t i = 0; i < nbInputs; ++i)
                    addInput(inputs[i].max, inputs[i].desc.type);
                for (int32_t i = 0; i < nbOutputs; ++i)
                    mOutputs.push_back(tensorOf(outputs[i].max, outputs[i].desc.type, nullptr));
                auto const call = makeCall();
                int64_t const bytes = mFacts.workspace(&call);
                if (bytes < 0)
                    log(mFacts.name, mmtrt_last_error());
                mWorkspaceBytes = bytes < 0 ? 0 : bytes;
                return static_cast<size_t>(mWorkspaceBytes);
            },
            0);
    }

    int32_t onShapeChange(
        PluginTensorDesc const* inputs, int32_t nbInputs, PluginTensorDesc const* outputs, int32_t nbOutputs) noexcept override
    {
        return guarded<int32_t>(
            [&]
            {
                mInputs.clear();
                mOutputs.clear();
                for (int32_t i = 0; i < nbInputs; ++i)
                    addInput(inputs[i].dims, inputs[i].type);
                for (int32_t i = 0; i < nbOutputs; ++i)
                    mOutputs.push_back(tensorOf(outputs[i].dims, outputs[i].type, nullptr));
                auto const call = makeCall();
                // What TensorRT has reserved is for the largest shapes: at least what these ask for.
                mWorkspaceBytes = mFacts.workspace(&call);
                if (mWorkspaceBytes < 0)
                    log(mFacts.name, mmtrt_last_error());
                return mWorkspaceBytes < 0 ? -1 : 0;
            },
            -1);
    }

    int32_t enqueue(PluginTensorDesc const*, PluginTensorDesc const*, void const* const* inputs, void* const* outputs,
        void* workspace, cudaStream_t stream) noexcept override
    {
        if (mFacts.stateBytes > 0 && mState.data == nullptr)
        {
            log(mFacts.name, "no device memory for its state");
            return -1;
        }
        for (size_t i = 0; i < mInputs.size(); ++i)
            mInputs[i].data = const_cast<void*>(inputs[i]);
        for (size_t i = 0; i < mOutputs.size(); ++i)
            mOutputs[i].data = outputs[i];
        if (!shareAliased(mFacts, mAttributes.data(), mInputs.data(), mOutputs.data(), stream))
        {
            log(mFacts.name, "a tensor that is updated in place cannot be copied");
            return -1;
        }
        auto call = makeCall();
        call.workspace = workspace;
        call.workspaceBytes = mWorkspaceBytes;
        call.state = mState.data;
        call.stream = stream;
        auto const status = mFacts.run(&call);
        if (status != MMTRT_OK)
            log(mFacts.name, mmtrt_last_error());
        return status;
    }

    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override
    {
        return guarded<IPluginV3*>(
            [&]() -> IPluginV3*
            {
                // TensorRT-RTX attaches plugins while it builds, on machines without a GPU too: what is missing is told by enqueue.
                auto attached = std::make_unique<Plugin>(mFacts, mAttributes);
                attached->mState.allocate(mFacts.stateBytes);
                return attached.release();
            },
            nullptr);
    }

    PluginFieldCollection const* getFieldsToSerialize() noexcept override
    {
        return guarded<PluginFieldCollection const*>(
            [&]() -> PluginFieldCollection const*
            {
                mFields.clear();
                for (int32_t i = 0; i < mFacts.nbAttributes; ++i)
                {
                    auto const& facts = mFacts.attributes[i];
                    auto const type = facts.type == MMTRT_ATTRIBUTE_INT ? PluginFieldType::kINT32 : PluginFieldType::kFLOAT32;
                    mFields.emplace_back(facts.name, mAttributes.data() + facts.offset, type, 1);
                }
                mCollection = {static_cast<int32_t>(mFields.size()), mFields.data()};
                return &mCollection;
            },
            nullptr);
    }

private:
    template <typename Value, typename Body>
    Value guarded(Body const& body, Value failure) const noexcept
    {
        return guard(
            [&]() -> Value { return body(); },
            [&](char const* text) -> Value
            {
                log(mFacts.name, text);
                return failure;
            });
    }

    static DimensionOperation operationOf(char op) noexcept
    {
        switch (op)
        {
        case '+': return DimensionOperation::kSUM;
        case '-': return DimensionOperation::kSUB;
        case '*': return DimensionOperation::kPROD;
        default: return DimensionOperation::kFLOOR_DIV;
        }
    }

    void addInput(Dims const& dims, DataType type) const
    {
        mInputs.push_back(tensorOf(dims, type, nullptr));
        dropLeftOut(mInputs.back(), mFacts.inputs[mInputs.size() - 1]);
    }

    MmtrtCall makeCall() const noexcept
    {
        MmtrtCall call{};
        call.inputs = mInputs.data();
        call.outputs = mOutputs.data();
        call.nbInputs = static_cast<int32_t>(mInputs.size());
        call.nbOutputs = static_cast<int32_t>(mOutputs.size());
        call.attributes = mAttributes.data();
        return call;
    }

    MmtrtPluginFacts const& mFacts;
    std::vector<char> mAttributes;
    State mState;
    mutable std::vector<MmtrtTensor> mInputs;
    mutable std::vector<MmtrtTensor> mOutputs;
    mutable int64_t mWorkspaceBytes{0};
    std::vector<PluginField> mFields;
    PluginFieldCollection mCollection{};
};

class Creator final : public IPluginCreatorV3One
{
public:
    explicit Creator(MmtrtPluginFacts const& facts)
        : mFacts(facts)
    {
        for (int32_t i = 0; i < facts.nbAttributes; ++i)
        {
            bool const isInt = facts.attributes[i].type == MMTRT_ATTRIBUTE_INT;
            mFields.emplace_back(facts.attributes[i].name, nullptr, isInt ? PluginFieldType::kINT32 : PluginFieldType::kFLOAT32, 1);
        }
        mCollection = {static_cast<int32_t>(mFields.size()), mFields.data()};
    }

    IPluginV3* createPlugin(AsciiChar const*, PluginFieldCollection const* fields, TensorRTPhase) noexcept override
    {
        return guard(
            [&]() -> IPluginV3*
            {
                std::vector<char> attributes(mFacts.attributesBytes);
                for (int32_t i = 0; i < mFacts.nbAttributes; ++i)
                    if (!set(attributes.data(), mFacts.attributes[i], fields))
                        return nullptr;
                return new Plugin(mFacts, std::move(attributes));
            },
            [&](char const* text) -> IPluginV3*
            {
                log(mFacts.name, text);
                return nullptr;
            });
    }

    PluginFieldCollection const* getFieldNames() noexcept override { return &mCollection; }
    AsciiChar const* getPluginName() const noexcept override { return mFacts.name; }
    AsciiChar const* getPluginVersion() const noexcept override { return mFacts.version; }
    AsciiChar const* getPluginNamespace() const noexcept override { return "mmtrt"; }

private:
    // From the field of its name, or the default. The range is checked with the shapes.
    bool set(char* attributes, MmtrtAttributeFacts const& facts, PluginFieldCollection const* fields) const
    {
        PluginField const* found = nullptr;
        for (int32_t i = 0; fields != nullptr && i < fields->nbFields; ++i)
            if (std::strcmp(fields->fields[i].name, facts.name) == 0)
                found = &fields->fields[i];
        if (found == nullptr && facts.required != 0)
        {
            log(mFacts.name, (std::string("the attribute ") + facts.name + " is missing").c_str());
            return false;
        }
        double value = facts.initial;
        if (found != nullptr && !read(*found, value))
        {
            log(mFacts.name, (std::string("the attribute ") + facts.name + " is no single number").c_str());
            return false;
        }
        if (facts.type == MMTRT_ATTRIBUTE_INT)
        {
            auto const integer = static_cast<int32_t>(value);
            std::memcpy(attributes + facts.offset, &integer, sizeof(integer));
        }
        else
        {
            auto const real = static_cast<float>(value);
            std::memcpy(attributes + facts.offset, &real, sizeof(real));
        }
        return true;
    }

    static bool read(PluginField const& field, double& value) noexcept
    {
        if (field.data == nullptr || field.length != 1)
            return false;
        switch (field.type)
        {
        case PluginFieldType::kINT32: value = *static_cast<int32_t const*>(field.data); return true;
        case PluginFieldType::kINT64: value = static_cast<double>(*static_cast<int64_t const*>(field.data)); return true;
        case PluginFieldType::kFLOAT32: value = *static_cast<float const*>(field.data); return true;
        case PluginFieldType::kFLOAT64: value = *static_cast<double const*>(field.data); return true;
        default: return false;
        }
    }

    MmtrtPluginFacts const& mFacts;
    std::vector<PluginField> mFields;
    PluginFieldCollection mCollection{};
};

// Made at the first call, and there until the process ends: TensorRT keeps the pointers.
std::vector<IPluginCreatorInterface*> const& creators()
{
    static std::vector<std::unique_ptr<Creator>> owners;
    static std::vector<IPluginCreatorInterface*> const all = []
    {
        int32_t count = 0;
        auto const* const table = mmtrt_plugins(&count);
        std::vector<IPluginCreatorInterface*> pointers;
        for (int32_t i = 0; i < count; ++i)
        {
            owners.push_back(std::make_unique<Creator>(table[i]));
            pointers.push_back(owners.back().get());
        }
        return pointers;
    }();
    return all;
}
} // namespace
} // namespace mmtrt

extern "C" MMTRT_API nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count)
{
    return mmtrt::guard(
        [&]() -> nvinfer1::IPluginCreatorInterface* const*
        {
            auto const& all = mmtrt::creators();
            count = static_cast<int32_t>(all.size());
            return all.data();
        },
        [&](char const*) -> nvinfer1::IPluginCreatorInterface* const*
        {
            count = 0;
            return nullptr;
        });
}

extern "C" MMTRT_API void setLoggerFinder(nvinfer1::ILoggerFinder* finder)
{
    mmtrt::gFinder = finder;
}
