// ONNX graphs in ONNX Runtime, by its C API. The library is loaded at run time: that of the onnxruntime-node package, or one with
// the CUDA provider.
#include "engine.h"
#include "engine_onnxruntime_collectives.h"
#include "problem.h"
#include "recordings.h"
#include <algorithm>
#include <map>
#include <onnxruntime_c_api.h>

namespace mmtrt::runner
{
namespace
{
// Functions of this version are all that is used, so that older libraries load as well.
constexpr uint32_t kAPI_VERSION = 20;
constexpr char const* kFIX = "give the path of ONNX Runtime 1.20 or later: --runtime_library FILE";

ONNXTensorElementDataType elementType(Dtype dtype) noexcept
{
    switch (dtype)
    {
    case Dtype::kFLOAT32: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    case Dtype::kFLOAT16: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    case Dtype::kBFLOAT16: return ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
    case Dtype::kINT8: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
    case Dtype::kINT32: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
    case Dtype::kINT64: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    case Dtype::kFLOAT8: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN;
    }
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

Dtype dtypeOf(ONNXTensorElementDataType type, std::string const& name)
{
    for (auto const dtype : {Dtype::kFLOAT32, Dtype::kFLOAT16, Dtype::kBFLOAT16, Dtype::kINT8, Dtype::kINT32, Dtype::kINT64, Dtype::kFLOAT8})
        if (elementType(dtype) == type)
            return dtype;
    throw Failure({"RUN057", name + " has ONNX element type " + std::to_string(type) + ", which no graph of mmtrt has", name,
        "the graph was made or changed by something else", "build the engine again"});
}

// Of an OrtStatus; the status is released.
std::string messageOf(OrtApi const& api, OrtStatus* status)
{
    std::string text = api.GetErrorMessage(status);
    api.ReleaseStatus(status);
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text.substr(0, 600);
}

bool isOutOfMemory(std::string const& text) noexcept
{
    for (char const* const words : {"out of memory", "Failed to allocate memory", "bad_alloc", "OutOfMemory"})
        if (text.find(words) != std::string::npos)
            return true;
    return false;
}

// What the objects of ONNX Runtime have in common: an API and an owner.
template <typename Object>
class Owned
{
public:
    Owned() = default;
    Owned(Object* object, void (*release)(Object*)) noexcept
        : mObject(object)
        , mRelease(release)
    {
    }
    Owned(Owned&& other) noexcept { swap(other); }
    Owned& operator=(Owned&& other) noexcept
    {
        swap(other);
        return *this;
    }
    ~Owned()
    {
        if (mObject != nullptr)
            mRelease(mObject);
    }
    Object* get() const noexcept { return mObject; }

private:
    void swap(Owned& other) noexcept
    {
        std::swap(mObject, other.mObject);
        std::swap(mRelease, other.mRelease);
    }

    Object* mObject{nullptr};
    void (*mRelease)(Object*){nullptr};
};

// The library with what all sessions share.
struct Runtime
{
    Runtime(Device& device, EngineLibraries const& libraries, Links* links)
        : device(device)
        , library(libraries.runtime, "ONNX Runtime", kFIX)
        , plugins(libraries.plugins)
    {
        auto const base = library.function<OrtApiBase const* (*)()>("OrtGetApiBase")();
        version = base->GetVersionString();
        api = base->GetApi(kAPI_VERSION);
        if (api == nullptr)
            throw Failure({"RUN052", library.file() + " is ONNX Runtime " + version + "; 1.20 or later is needed", library.file(),
                "the runner uses version 20 of its C API", kFIX});
        OrtEnv* made = nullptr;
        check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "mmtrt", &made));
        env = {made, api->ReleaseEnv};
        OrtMemoryInfo* info = nullptr;
        check(device.isHost() ? api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &info)
                              : api->CreateMemoryInfo("Cuda", OrtDeviceAllocator, device.facts().index, OrtMemTypeDefault, &info));
        memory = {info, api->ReleaseMemoryInfo};
        if (links != nullptr)
            collectives = std::make_unique<CollectiveOps>(*api, *links, device.isHost(), plugins.empty() || device.isHost());
    }

    void check(OrtStatus* status) const
    {
        if (status != nullptr)
            throw Failure({"RUN058", "ONNX Runtime: " + messageOf(*api, status), library.file(), "a call of its C API failed",
                "run with --debug, or check that the CUDA libraries fit this ONNX Runtime"});
    }

    Device& device;
    Library library;
    std::string plugins;
    std::string version;
    OrtApi const* api{nullptr};
    Owned<OrtEnv> env;
    Owned<OrtMemoryInfo> memory;
    // There where the model has several ranks.
    std::unique_ptr<CollectiveOps> collectives;
};

class Session final : public Engine
{
public:
    Session(Runtime const& runtime, EngineRequest const& request)
        : mRuntime(runtime)
        , mFile(request.file)
        , mRecordsSteps(request.recordsSteps)
    {
        auto const& api = *runtime.api;
        auto const options = sessionOptions(request);
        OrtSession* session = nullptr;
        if (OrtStatus* const status = api.CreateSession(runtime.env.get(), request.file.c_str(), options.get(), &session); status != nullptr)
        {
            auto const text = messageOf(api, status);
            if (isOutOfMemory(text))
                outOfMemory(text);
            throw Failure({"RUN053", "ONNX Runtime " + runtime.version + " cannot use " + request.file + ": " + text, request.file,
                "the graph is damaged, or has an operator that this ONNX Runtime or the plugin library lacks",
                "build the engine again, or give a newer --runtime_library"});
        }
        mSession = {session, api.ReleaseSession};
        OrtIoBinding* binding = nullptr;
        runtime.check(api.CreateIoBinding(session, &binding));
        mBinding = {binding, api.ReleaseIoBinding};
        mContext = runOptions(Recordings::kNONE);
        mGeneration = runOptions(Recordings::kNONE);
        readIo();
    }

    std::vector<IoFacts> const& io() const noexcept override { return mIo; }

    void bind(std::string const& name, View const& view) override
    {
        auto& bound = mBound[name];
        if (bound.data == view.data && bound.shape == view.shape && bound.data != nullptr)
            return;
        auto const& api = *mRuntime.api;
        OrtValue* value = nullptr;
        mRuntime.check(api.CreateTensorWithDataAsOrtValue(mRuntime.memory.get(), view.data, static_cast<size_t>(view.bytes()), view.shape.data(),
            view.shape.size(), elementType(view.dtype), &value));
        Owned<OrtValue> const owner(value, api.ReleaseValue);
        mRuntime.check(find(name).isInput ? api.BindInput(mBinding.get(), name.c_str(), value) : api.BindOutput(mBinding.get(), name.c_str(), value));
        bound = view;
        if (mRecordsSteps)
            mRecordings.move(name, view);
    }

    void run(Phase phase) override
    {
        if (mRecordsSteps && phase == Phase::kGENERATION)
            replay(mRecordings.current());
        auto const& options = phase == Phase::kGENERATION ? mGeneration : mContext;
        OrtStatus* const status = mRuntime.api->RunWithBinding(mSession.get(), options.get(), mBinding.get());
        if (status == nullptr)
            return;
        auto const text = messageOf(*mRuntime.api, status);
        if (isOutOfMemory(text))
            outOfMemory(text);
        throw Failure({"RUN058", "ONNX Runtime stopped in " + mFile + ": " + text, mFile, "an operator refused its inputs, or the device failed",
            "build the engine again; if that does not help, please report it"});
    }

    size_t recordings() const noexcept override { return mRecordings.count(); }

private:
    void replay(int32_t recording)
    {
        if (recording != mRecording)
            mGeneration = runOptions(recording);
        mRecording = recording;
    }

    Owned<OrtSessionOptions> sessionOptions(EngineRequest const& request) const
    {
        auto const& api = *mRuntime.api;
        OrtSessionOptions* made = nullptr;
        mRuntime.check(api.CreateSessionOptions(&made));
        Owned<OrtSessionOptions> options(made, api.ReleaseSessionOptions);
        mRuntime.check(api.SetSessionGraphOptimizationLevel(made, request.keepsQuantizedApart ? ORT_ENABLE_BASIC : ORT_ENABLE_ALL));
        mRuntime.check(api.SetSessionLogSeverityLevel(made, ORT_LOGGING_LEVEL_ERROR));
        // As the in-process session has it: INT4 and INT8 weights meet INT8 codes of their inputs on the CPU.
        mRuntime.check(api.AddSessionConfigEntry(made, "session.qdq_matmulnbits_accuracy_level", "4"));
        if (request.keepsQuantizedApart)
            mRuntime.check(api.AddSessionConfigEntry(made, "session.disable_quant_qdq", "1"));
        if (request.threads > 0)
            mRuntime.check(api.SetIntraOpNumThreads(made, request.threads));
        if (request.oneOfMany && mRuntime.device.isHost())
            // Threads that look for work take the cores of ranks that have some.
            mRuntime.check(api.AddSessionConfigEntry(made, "session.intra_op.allow_spinning", "0"));
        if (mRuntime.collectives != nullptr)
            mRuntime.check(mRuntime.collectives->addTo(made));
        if (!mRuntime.device.isHost())
            useCuda(made);
        return options;
    }

    // Custom ops are for the CUDA provider: a session of the CPU alone would refuse them.
    void useCuda(OrtSessionOptions* options) const
    {
        auto const& api = *mRuntime.api;
        OrtCUDAProviderOptionsV2* made = nullptr;
        mRuntime.check(api.CreateCUDAProviderOptions(&made));
        Owned<OrtCUDAProviderOptionsV2> const cuda(made, api.ReleaseCUDAProviderOptions);
        auto const index = std::to_string(mRuntime.device.facts().index);
        std::vector<char const*> keys{"device_id", "arena_extend_strategy", "enable_cuda_graph"};
        std::vector<char const*> values{index.c_str(), "kSameAsRequested", mRecordsSteps ? "1" : "0"};
        mRuntime.check(api.UpdateCUDAProviderOptions(made, keys.data(), values.data(), keys.size()));
        mRuntime.check(api.UpdateCUDAProviderOptionsWithValue(made, "user_compute_stream", mRuntime.device.stream()));
        if (OrtStatus* const status = api.SessionOptionsAppendExecutionProvider_CUDA_V2(options, made); status != nullptr)
            throw Failure({"RUN052", "the CUDA provider of " + mRuntime.library.file() + " cannot be used: " + messageOf(api, status),
                mRuntime.library.file(), "it lies beside libonnxruntime and needs CUDA's and cuDNN's libraries of the release it was built with",
                "give the library of PyPI's onnxruntime-gpu with --runtime_library, and put CUDA's libraries on LD_LIBRARY_PATH"});
        if (mRuntime.plugins.empty())
            return;
        if (OrtStatus* const status = api.RegisterCustomOpsLibrary_V2(options, mRuntime.plugins.c_str()); status != nullptr)
            throw Failure({"RUN052", "ONNX Runtime cannot register " + mRuntime.plugins + ": " + messageOf(api, status), mRuntime.plugins,
                "the plugin library has to be built with ONNX Runtime's header, on a machine with this CUDA release",
                "mmtrt plugins build --onnxruntime_root DIR"});
    }

    Owned<OrtRunOptions> runOptions(int32_t recording) const
    {
        auto const& api = *mRuntime.api;
        OrtRunOptions* made = nullptr;
        mRuntime.check(api.CreateRunOptions(&made));
        Owned<OrtRunOptions> options(made, api.ReleaseRunOptions);
        if (mRuntime.device.isHost())
            return options;
        // The device's own stream says when a result is there.
        mRuntime.check(api.AddRunConfigEntry(made, "disable_synchronize_execution_providers", "1"));
        if (mRecordsSteps)
            mRuntime.check(api.AddRunConfigEntry(made, "gpu_graph_id", std::to_string(recording).c_str()));
        return options;
    }

    void readIo()
    {
        auto const& api = *mRuntime.api;
        OrtAllocator* allocator = nullptr;
        mRuntime.check(api.GetAllocatorWithDefaultOptions(&allocator));
        size_t inputs = 0;
        size_t outputs = 0;
        mRuntime.check(api.SessionGetInputCount(mSession.get(), &inputs));
        mRuntime.check(api.SessionGetOutputCount(mSession.get(), &outputs));
        for (size_t i = 0; i < inputs + outputs; ++i)
        {
            bool const isInput = i < inputs;
            size_t const at = isInput ? i : i - inputs;
            char* name = nullptr;
            mRuntime.check((isInput ? api.SessionGetInputName : api.SessionGetOutputName)(mSession.get(), at, allocator, &name));
            IoFacts facts;
            facts.name = name;
            facts.isInput = isInput;
            allocator->Free(allocator, name);
            OrtTypeInfo* type = nullptr;
            mRuntime.check((isInput ? api.SessionGetInputTypeInfo : api.SessionGetOutputTypeInfo)(mSession.get(), at, &type));
            Owned<OrtTypeInfo> const owner(type, api.ReleaseTypeInfo);
            readType(type, facts);
            mIo.push_back(std::move(facts));
        }
    }

    void readType(OrtTypeInfo const* type, IoFacts& facts) const
    {
        auto const& api = *mRuntime.api;
        OrtTensorTypeAndShapeInfo const* info = nullptr;
        mRuntime.check(api.CastTypeInfoToTensorInfo(type, &info));
        ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        if (info != nullptr)
            mRuntime.check(api.GetTensorElementType(info, &element));
        facts.dtype = dtypeOf(element, facts.name);
        size_t rank = 0;
        mRuntime.check(api.GetDimensionsCount(info, &rank));
        facts.shape.resize(rank);
        mRuntime.check(api.GetDimensions(info, facts.shape.data(), rank));
    }

    [[noreturn]] void outOfMemory(std::string const& text) const
    {
        throw Failure({"RUN054", "ONNX Runtime has no memory for " + mFile + " on " + mRuntime.device.facts().name + ": " + text, mFile,
            "weights, keys and values, and what a step computes lie in the device's memory together",
            "lower --batch_size, --num_beams or the prompt's length, or build with quantized weights (--use_weight_only at convert)"});
    }

    Runtime const& mRuntime;
    std::string mFile;
    bool mRecordsSteps;
    // Counted on the CPU as well, where nothing is recorded.
    Recordings mRecordings;
    int32_t mRecording{Recordings::kNONE};
    Owned<OrtSession> mSession;
    Owned<OrtIoBinding> mBinding;
    Owned<OrtRunOptions> mContext;
    Owned<OrtRunOptions> mGeneration;
    std::vector<IoFacts> mIo;
    std::map<std::string, View> mBound;
};

class Factory final : public EngineFactory
{
public:
    Factory(Device& device, EngineLibraries const& libraries, Links* links)
        : mRuntime(device, libraries, links)
    {
    }

    std::string describe() const override { return "ONNX Runtime " + mRuntime.version; }
    std::unique_ptr<Engine> open(EngineRequest const& request) override { return std::make_unique<Session>(mRuntime, request); }

private:
    Runtime mRuntime;
};
} // namespace

std::unique_ptr<EngineFactory> openOnnxRuntime(Device& device, EngineLibraries const& libraries, Links* links)
{
    return std::make_unique<Factory>(device, libraries, links);
}
} // namespace mmtrt::runner
