// Drives a library's TensorRT plugins as TensorRT does (creator, format questions, context, shapes, enqueue) with no TensorRT
// behind it, so that the plugin itself is tested on GPUs for which there is no TensorRT here. For harness.py.
#include "abi.h"
#include <NvInferRuntime.h>
#include <cstring>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <string>
#include <vector>

using namespace nvinfer1;

namespace
{
std::string gError;
std::string gLogged;

struct Logger final : ILogger
{
    void log(Severity, AsciiChar const* message) noexcept override { gLogged = message; }
};
struct Finder final : ILoggerFinder
{
    Logger logger;
    ILogger* findLogger() override { return &logger; }
};
Finder gFinder;

DataType typeOf(int32_t dtype)
{
    constexpr DataType kTYPES[] = {DataType::kFLOAT, DataType::kHALF, DataType::kBF16, DataType::kINT8, DataType::kINT4, DataType::kINT32,
        DataType::kINT64, DataType::kFP8};
    return kTYPES[dtype];
}

PluginTensorDesc descOf(MmtrtTensor const& tensor)
{
    PluginTensorDesc desc{};
    desc.dims.nbDims = tensor.rank;
    for (int32_t i = 0; i < tensor.rank; ++i)
        desc.dims.d[i] = tensor.dims[i];
    desc.type = typeOf(tensor.dtype);
    desc.format = TensorFormat::kLINEAR;
    return desc;
}

// A plugin with the call it was asked about.
struct Session
{
    IPluginV3* built{nullptr};
    IPluginV3* attached{nullptr};
    std::vector<PluginTensorDesc> inputs;
    std::vector<PluginTensorDesc> outputs;
    std::vector<void const*> in;
    std::vector<void*> out;
    void* workspace{nullptr};

    ~Session()
    {
        delete attached;
        delete built;
        cudaFree(workspace);
    }
};

bool fail(std::string text)
{
    gError = std::move(text) + (gLogged.empty() ? "" : ": " + gLogged);
    return false;
}

bool create(Session& session, char const* library, char const* name, std::vector<PluginField> const& fields)
{
    void* const handle = dlopen(library, RTLD_NOW);
    auto* const getCreators = handle == nullptr
        ? nullptr
        : reinterpret_cast<IPluginCreatorInterface* const* (*) (int32_t&)>(dlsym(handle, "getCreators"));
    if (getCreators == nullptr)
        return fail("the library has no getCreators");
    reinterpret_cast<void (*)(ILoggerFinder*)>(dlsym(handle, "setLoggerFinder"))(&gFinder);
    int32_t count = 0;
    auto* const* const creators = getCreators(count);
    for (int32_t i = 0; i < count; ++i)
    {
        auto& creator = *static_cast<IPluginCreatorV3One*>(creators[i]);
        if (std::strcmp(creator.getPluginName(), name) != 0)
            continue;
        PluginFieldCollection const collection{static_cast<int32_t>(fields.size()), fields.data()};
        session.built = creator.createPlugin("node", &collection, TensorRTPhase::kBUILD);
        if (session.built == nullptr)
            return fail("the creator gave no plugin");
        // What the engine stores is what the runtime creates it from.
        auto* const first = static_cast<IPluginV3OneRuntime*>(session.built->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
        auto* const again = creator.createPlugin("node", first->getFieldsToSerialize(), TensorRTPhase::kRUNTIME);
        delete session.built;
        session.built = again;
        return again != nullptr || fail("no plugin from its own fields");
    }
    return fail(std::string("no creator of ") + name);
}

bool configure(Session& session)
{
    auto& build = *static_cast<IPluginV3OneBuild*>(session.built->getCapabilityInterface(PluginCapabilityType::kBUILD));
    auto const nbInputs = static_cast<int32_t>(session.inputs.size());
    auto const nbOutputs = static_cast<int32_t>(session.outputs.size());
    std::vector<DynamicPluginTensorDesc> all;
    std::vector<DataType> types;
    for (auto const& desc : session.inputs)
    {
        all.push_back({desc, desc.dims, desc.dims, desc.dims});
        types.push_back(desc.type);
    }
    for (auto const& desc : session.outputs)
        all.push_back({desc, desc.dims, desc.dims, desc.dims});
    for (int32_t i = 0; i < nbInputs + nbOutputs; ++i)
        if (!build.supportsFormatCombination(i, all.data(), nbInputs, nbOutputs))
            return fail("the dtype or format of tensor " + std::to_string(i) + " is not supported");
    std::vector<DataType> given(nbOutputs);
    if (build.getNbOutputs() != nbOutputs || build.getOutputDataTypes(given.data(), nbOutputs, types.data(), nbInputs) != 0)
        return fail("another number of outputs");
    for (int32_t i = 0; i < nbOutputs; ++i)
        if (given[i] != session.outputs[i].type)
            return fail("an output of another dtype than the plugin says");
    gLogged.clear();
    size_t const bytes = build.getWorkspaceSize(all.data(), nbInputs, all.data() + nbInputs, nbOutputs);
    if (!gLogged.empty())
        return fail("no workspace");
    // Poisoned, as the C interface's is in harness.py.
    return bytes == 0 || (cudaMalloc(&session.workspace, bytes) == cudaSuccess && cudaMemset(session.workspace, 255, bytes) == cudaSuccess)
        || fail("no device memory");
}
} // namespace

// By this the library knows whose interfaces it is called with.
extern "C" int32_t getInferLibVersion() noexcept { return NV_TENSORRT_VERSION; }

extern "C" char const* shim_error() { return gError.c_str(); }

// Attributes as fields of FLOAT32 (type 1) or INT32 (type 0).
extern "C" Session* shim_open(char const* library, char const* name, int32_t nbFields, char const* const* names, int32_t const* types,
    void const* const* values, MmtrtTensor const* inputs, int32_t nbInputs, MmtrtTensor const* outputs, int32_t nbOutputs)
{
    gLogged.clear();
    std::vector<PluginField> fields;
    for (int32_t i = 0; i < nbFields; ++i)
        fields.emplace_back(names[i], values[i], types[i] == 0 ? PluginFieldType::kINT32 : PluginFieldType::kFLOAT32, 1);
    auto* const session = new Session;
    for (int32_t i = 0; i < nbInputs; ++i)
    {
        session->inputs.push_back(descOf(inputs[i]));
        session->in.push_back(inputs[i].data);
    }
    for (int32_t i = 0; i < nbOutputs; ++i)
    {
        session->outputs.push_back(descOf(outputs[i]));
        session->out.push_back(outputs[i].data);
    }
    bool ok = create(*session, library, name, fields) && configure(*session);
    if (ok)
    {
        auto* const runtime = static_cast<IPluginV3OneRuntime*>(session->built->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
        session->attached = runtime->attachToContext(nullptr);
        ok = session->attached != nullptr || fail("not attached");
    }
    if (ok)
    {
        auto* const runtime = static_cast<IPluginV3OneRuntime*>(session->attached->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
        ok = runtime->onShapeChange(session->inputs.data(), nbInputs, session->outputs.data(), nbOutputs) == 0 || fail("shapes refused");
    }
    if (ok)
        return session;
    delete session;
    return nullptr;
}

extern "C" int32_t shim_enqueue(Session* session, cudaStream_t stream)
{
    auto* const runtime = static_cast<IPluginV3OneRuntime*>(session->attached->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    int32_t const status = runtime->enqueue(
        session->inputs.data(), session->outputs.data(), session->in.data(), session->out.data(), session->workspace, stream);
    if (status != 0)
        fail("enqueue");
    return status;
}

extern "C" void shim_close(Session* session) { delete session; }
