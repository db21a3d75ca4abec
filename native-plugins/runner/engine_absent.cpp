// Kinds of engines that this runner was compiled without, because their headers were not there.
#include "engine.h"
#include "problem.h"

namespace mmtrt::runner
{
namespace
{
[[noreturn, maybe_unused]] void compiledWithout(char const* name, char const* option)
{
    throw Failure({"RUN056", std::string("this runner was compiled without ") + name, "mmtrt-runner",
        "an engine's side of the runner is compiled against its public headers, which were not found",
        std::string("mmtrt plugins build --") + option + " DIR"});
}
} // namespace

#if !defined(MMTRT_WITH_ONNXRUNTIME)
std::unique_ptr<EngineFactory> openOnnxRuntime(Device&, EngineLibraries const&, Links*) { compiledWithout("ONNX Runtime", "onnxruntime_root"); }
#endif

#if !defined(MMTRT_WITH_TENSORRT)
std::unique_ptr<EngineFactory> openTensorRt(Device&, EngineLibraries const&, Links*) { compiledWithout("TensorRT", "tensorrt_root"); }
#endif
} // namespace mmtrt::runner
