// What this program was compiled from and with.
#pragma once
#include <string>
#include <vector>

namespace mmtrt::runner
{
// Of mmtrt, by the compiler's command line.
#if !defined(MMTRT_VERSION)
#define MMTRT_VERSION "0.0.0"
#endif
constexpr char const* kVERSION = MMTRT_VERSION;

// Kinds of engines that it can open.
inline std::vector<std::string> engineKinds()
{
    std::vector<std::string> kinds;
#if defined(MMTRT_WITH_ONNXRUNTIME)
    kinds.emplace_back("onnxruntime");
#endif
#if defined(MMTRT_WITH_TENSORRT)
    kinds.emplace_back("tensorrt");
#endif
    return kinds;
}
} // namespace mmtrt::runner
