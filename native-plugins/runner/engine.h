// One engine: a serialized TensorRT engine, or an ONNX graph in ONNX Runtime. Whoever runs it owns all inputs and outputs, in the
// memory of the engine's device, so that a cache can be updated in place and nothing is copied between steps.
#pragma once
#include "device.h"
#include "library.h"
#include "links.h"
#include <memory>
#include <string>
#include <vector>

namespace mmtrt::runner
{
struct IoFacts
{
    std::string name;
    bool isInput{false};
    Dtype dtype{Dtype::kFLOAT32};
    // -1 where the size depends on the request.
    Shape shape;
};

// Which of an engine's optimization profiles a call is for; ONNX Runtime has none.
enum class Phase
{
    kCONTEXT,
    kGENERATION,
};

class Engine
{
public:
    virtual ~Engine() = default;

    virtual std::vector<IoFacts> const& io() const noexcept = 0;
    // What an input or output is in the calls from now on; an output's shape is the one that the call will give it.
    virtual void bind(std::string const& name, View const& view) = 0;
    // Puts a call on the device's stream. Throws Failure RUN054 or RUN058.
    virtual void run(Phase phase) = 0;
    // Decode steps that were recorded so far.
    virtual size_t recordings() const noexcept { return 0; }

    bool has(std::string const& name) const noexcept;
    // Throws Failure RUN057 where there is none.
    IoFacts const& find(std::string const& name) const;
};

// How an engine of a directory is opened.
struct EngineRequest
{
    // `visual`, `encoder`, `cross` or `llm`.
    std::string name;
    std::string file;
    // Profiles in the order of the engine's, by name.
    std::vector<std::string> profiles;
    int32_t threads{0};
    // Quantized operators stay apart (ONNX Runtime fuses E4M3 wrongly).
    bool keepsQuantizedApart{false};
    // Steps are recorded once and replayed; wants inputs and outputs that stay where they are.
    bool recordsSteps{false};
    // Other ranks compute at the same time, on the same cores where the device is the host.
    bool oneOfMany{false};
};

// Makes engines of one kind.
class EngineFactory
{
public:
    virtual ~EngineFactory() = default;
    // Name and version of the library behind it.
    virtual std::string describe() const = 0;
    // Throws Failure RUN053 where it refuses the file.
    virtual std::unique_ptr<Engine> open(EngineRequest const& request) = 0;
};

// Where the libraries are that engines need.
struct EngineLibraries
{
    // Of ONNX Runtime or of TensorRT; tried in order.
    std::vector<std::string> runtime;
    // mmtrt's own operations; empty for none.
    std::string plugins;
};

// `links` to the other ranks are null where there are none. Throws Failure RUN052 where the library is missing, RUN056 where the runner was
// compiled without this kind.
std::unique_ptr<EngineFactory> openOnnxRuntime(Device& device, EngineLibraries const& libraries, Links* links);
std::unique_ptr<EngineFactory> openTensorRt(Device& device, EngineLibraries const& libraries, Links* links);
} // namespace mmtrt::runner
