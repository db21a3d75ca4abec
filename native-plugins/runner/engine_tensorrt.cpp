// Serialized TensorRT engines, of TensorRT 10 or 11 or TensorRT-RTX: whichever the headers are of. The library is loaded at run time;
// what the headers define inline calls it through virtual functions alone.
#include "engine.h"
#include "mapped_file.h"
#include "problem.h"
#include <NvInferRuntime.h>
#include <algorithm>
#include <map>

namespace mmtrt::runner
{
namespace
{
constexpr char const* kFIX = "give the path of the TensorRT that the engines were built with: --runtime_library FILE";

// What TensorRT said last, for the problem that follows.
class Logger final : public nvinfer1::ILogger
{
public:
    void log(Severity severity, nvinfer1::AsciiChar const* message) noexcept override
    {
        if (severity > Severity::kERROR)
            return;
        try
        {
            mLast = message;
        }
        catch (std::exception const&)
        {
            mLast.clear();
        }
    }
    // ": the words", or nothing.
    std::string said() const { return mLast.empty() ? "" : ": " + mLast.substr(0, 600); }

private:
    std::string mLast;
};

bool isOutOfMemory(std::string const& text) noexcept
{
    return text.find("out of memory") != std::string::npos || text.find("OutOfMemory") != std::string::npos;
}

Dtype dtypeOf(nvinfer1::DataType type, std::string const& name)
{
    switch (type)
    {
    case nvinfer1::DataType::kFLOAT: return Dtype::kFLOAT32;
    case nvinfer1::DataType::kHALF: return Dtype::kFLOAT16;
    case nvinfer1::DataType::kBF16: return Dtype::kBFLOAT16;
    case nvinfer1::DataType::kINT8: return Dtype::kINT8;
    case nvinfer1::DataType::kINT32: return Dtype::kINT32;
    case nvinfer1::DataType::kINT64: return Dtype::kINT64;
    case nvinfer1::DataType::kFP8: return Dtype::kFLOAT8;
    default:
        throw Failure({"RUN057", name + " has TensorRT type " + std::to_string(static_cast<int32_t>(type)) + ", which no engine of mmtrt has", name,
            "the engine was built from another graph", "build the engine directory again"});
    }
}

nvinfer1::Dims dimsOf(Shape const& shape)
{
    nvinfer1::Dims dims{};
    if (shape.size() > nvinfer1::Dims::MAX_DIMS)
        refuseMessage("a tensor has more than 8 axes");
    dims.nbDims = static_cast<int32_t>(shape.size());
    std::copy(shape.begin(), shape.end(), dims.d);
    return dims;
}

struct Runtime
{
    Runtime(Device& device, EngineLibraries const& libraries, Links* links)
        : device(device)
        , links(links)
        , library(libraries.runtime, "TensorRT", kFIX)
        , pluginless(libraries.plugins.empty())
    {
        version = library.function<int32_t (*)()>("getInferLibVersion")();
        // 10.16.0 is 101600, 1.7.1 is 10701 in some releases: the major has functions of its own since 10.
        auto const major = library.find<int32_t (*)()>("getInferLibMajorVersion");
        int32_t const found = major == nullptr ? version / 10000 : major();
        if (found != NV_TENSORRT_MAJOR)
            throw Failure({"RUN052", library.file() + " is of major version " + std::to_string(found) + "; the runner was compiled with headers of "
                    + std::to_string(NV_TENSORRT_MAJOR),
                library.file(), "classes of another major version have other functions in other places",
                "mmtrt plugins build --tensorrt_root with the headers of that TensorRT"});
        auto const create = library.function<void* (*)(void*, int32_t)>("createInferRuntime_INTERNAL");
        runtime.reset(static_cast<nvinfer1::IRuntime*>(create(static_cast<nvinfer1::ILogger*>(&logger), NV_TENSORRT_VERSION)));
        if (runtime == nullptr)
            throw Failure({"RUN052", "TensorRT of " + library.file() + " does not start" + logger.said(), library.file(),
                "it needs a GPU with a driver of its CUDA release, and headers not newer than the library", kFIX});
        if (!libraries.plugins.empty() && runtime->getPluginRegistry().loadLibrary(libraries.plugins.c_str()) == nullptr)
            throw Failure({"RUN052", "TensorRT cannot load the plugins of " + libraries.plugins + logger.said(), libraries.plugins,
                "the plugin library has to be built with TensorRT's headers", "mmtrt plugins build --tensorrt_root DIR"});
    }

    Device& device;
    // To the other ranks; null for one.
    Links* links;
    Library library;
    bool pluginless;
    int32_t version{0};
    Logger logger;
    std::unique_ptr<nvinfer1::IRuntime> runtime;
};

// Which ranks a context's collectives meet; TensorRT has it from 10.16 on. False where it refuses, or has none.
template <typename Context>
auto joins(Context& context, void* communicator, int) -> decltype(context.setCommunicator(communicator))
{
    return context.setCommunicator(communicator);
}
template <typename Context>
bool joins(Context&, void*, int64_t)
{
    return false;
}

// A context for each profile that is used, all with the same memory: one runs at a time.
class Serialized final : public Engine
{
public:
    Serialized(Runtime& runtime, EngineRequest const& request)
        : mRuntime(runtime)
        , mFile(request.file)
        , mProfiles(request.profiles)
    {
        MappedFile const file(request.file);
        mEngine.reset(runtime.runtime->deserializeCudaEngine(file.data(), file.size()));
        if (mEngine == nullptr)
            refuse("TensorRT cannot open " + request.file, "RUN053", "it was built by another release of TensorRT, for another GPU, or with plugins that are not loaded",
                "build the engines on this machine, and give --plugins where they have plugins");
        if (mEngine->getNbOptimizationProfiles() != static_cast<int32_t>(mProfiles.size()))
            refuse(request.file + " has " + std::to_string(mEngine->getNbOptimizationProfiles()) + " profiles; config.json says "
                    + std::to_string(mProfiles.size()),
                "RUN057", "the engine and the config.json beside it were not written by one build", "build the engine directory again");
        readIo();
        mContexts.resize(mProfiles.size());
    }

    std::vector<IoFacts> const& io() const noexcept override { return mIo; }
    void bind(std::string const& name, View const& view) override { mBound[name] = view; }

    void run(Phase phase) override
    {
        auto const profile = profileFor(phase);
        auto& context = contextOf(profile);
        for (auto const& [name, view] : mBound)
            apply(context, name, view);
        if (!context.object->enqueueV3(static_cast<cudaStream_t>(mRuntime.device.stream())))
            refuse("TensorRT stopped in " + mFile, "RUN058", "a kernel or a plugin refused its inputs, or the device failed",
                "run it again; if it fails again, build without plugins to see whether one is the cause");
    }

private:
    struct Context
    {
        std::unique_ptr<nvinfer1::IExecutionContext> object;
        std::map<std::string, View> applied;
    };

    void readIo()
    {
        for (int32_t i = 0; i < mEngine->getNbIOTensors(); ++i)
        {
            IoFacts facts;
            facts.name = mEngine->getIOTensorName(i);
            auto const* const name = facts.name.c_str();
            facts.isInput = mEngine->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
            facts.dtype = dtypeOf(mEngine->getTensorDataType(name), facts.name);
            auto const dims = mEngine->getTensorShape(name);
            facts.shape.assign(dims.d, dims.d + std::max(0, dims.nbDims));
            mIo.push_back(std::move(facts));
        }
    }

    // The first profile of the phase that takes the shapes; a single one serves both.
    size_t profileFor(Phase phase) const
    {
        char const* const wanted = phase == Phase::kGENERATION ? "generation" : "context";
        bool const named = std::any_of(mProfiles.begin(), mProfiles.end(), [&](std::string const& name) { return name.rfind(wanted, 0) == 0; });
        for (size_t i = 0; i < mProfiles.size(); ++i)
            if ((!named || mProfiles[i].rfind(wanted, 0) == 0) && takes(static_cast<int32_t>(i)))
                return i;
        throw Failure({"RUN057", std::string("no ") + wanted + " profile of " + mFile + " takes a call of these sizes", mFile,
            "the engine's profiles are not those of the config.json beside it", "build the engine directory again"});
    }

    bool takes(int32_t profile) const
    {
        for (auto const& [name, view] : mBound)
        {
            if (mEngine->getTensorIOMode(name.c_str()) != nvinfer1::TensorIOMode::kINPUT)
                continue;
            auto const least = mEngine->getProfileShape(name.c_str(), profile, nvinfer1::OptProfileSelector::kMIN);
            auto const most = mEngine->getProfileShape(name.c_str(), profile, nvinfer1::OptProfileSelector::kMAX);
            for (size_t axis = 0; axis < view.shape.size(); ++axis)
                if (least.nbDims == static_cast<int32_t>(view.shape.size()) && (view.shape[axis] < least.d[axis] || view.shape[axis] > most.d[axis]))
                    return false;
        }
        return true;
    }

    Context& contextOf(size_t profile)
    {
        auto& context = mContexts[profile];
        auto const index = static_cast<int32_t>(profile);
        if (context.object == nullptr)
        {
            context.object.reset(mEngine->createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED));
            if (context.object == nullptr || !context.object->setOptimizationProfileAsync(index, static_cast<cudaStream_t>(mRuntime.device.stream())))
                refuse("TensorRT makes no context of " + mFile, "RUN058", "a context has memory of its own beside the weights",
                    "lower --max_batch_size or --max_seq_len of the build");
            // Of plugins that add up themselves no context need know, which those of older releases do not.
            if (mRuntime.links != nullptr && !joins(*context.object, mRuntime.links->communicator(), 0) && mRuntime.pluginless)
                refuse("TensorRT does not let " + mFile + " meet the other ranks", "RUN058", "collectives of an engine take a communicator, which TensorRT has from 10.16 on",
                    "run in TensorRT 10.16 or later, or build with --plugins");
        }
        // All earlier work on the memory is before this call on the one stream.
        int64_t const bytes = mEngine->getDeviceMemorySizeForProfileV2(index);
        mMemory.need(mRuntime.device, bytes, Use::kIO);
        context.object->setDeviceMemoryV2(mMemory.data(), mMemory.bytes());
        return context;
    }

    void apply(Context& context, std::string const& name, View const& view)
    {
        auto& applied = context.applied[name];
        bool const isInput = mEngine->getTensorIOMode(name.c_str()) == nvinfer1::TensorIOMode::kINPUT;
        if (isInput && applied.shape != view.shape && !context.object->setInputShape(name.c_str(), dimsOf(view.shape)))
            refuse(name + " cannot be " + show(view.shape), "RUN058", "the profile takes other sizes", "build the engine directory again");
        if (applied.data != view.data && !context.object->setTensorAddress(name.c_str(), view.data))
            refuse(name + " is not taken where it lies", "RUN058", "TensorRT wants inputs and outputs of an engine by their names", "build the engine directory again");
        applied = view;
    }

    [[noreturn]] void refuse(std::string const& what, char const* code, char const* why, char const* fix) const
    {
        auto const said = mRuntime.logger.said();
        if (isOutOfMemory(said))
            throw Failure({"RUN054", what + said, mFile, "weights, keys and values, and what a step computes lie in the device's memory together",
                "lower --batch_size, --num_beams or the prompt's length, or build with quantized weights (--use_weight_only at convert)"});
        throw Failure({code, what + said, mFile, why, fix});
    }

    Runtime& mRuntime;
    std::string mFile;
    std::vector<std::string> mProfiles;
    std::unique_ptr<nvinfer1::ICudaEngine> mEngine;
    std::vector<IoFacts> mIo;
    std::map<std::string, View> mBound;
    Buffer mMemory;
    std::vector<Context> mContexts;
};

class Factory final : public EngineFactory
{
public:
    Factory(Device& device, EngineLibraries const& libraries, Links* links)
        : mRuntime(device, libraries, links)
    {
    }

    std::string describe() const override { return "TensorRT " + std::to_string(mRuntime.version); }
    std::unique_ptr<Engine> open(EngineRequest const& request) override { return std::make_unique<Serialized>(mRuntime, request); }

private:
    Runtime mRuntime;
};
} // namespace

std::unique_ptr<EngineFactory> openTensorRt(Device& device, EngineLibraries const& libraries, Links* links)
{
    return std::make_unique<Factory>(device, libraries, links);
}
} // namespace mmtrt::runner
