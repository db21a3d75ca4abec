// Checks a call against plugin.yaml. Used by generated code alone.
#pragma once
#include "abi.h"
#include "error.h"

namespace mmtrt
{
// Of a requirement: a divisor of 0 fails it instead of ending the process.
constexpr int64_t quotient(int64_t a, int64_t b) noexcept { return b == 0 ? -1 : a / b; }
constexpr int64_t remainder(int64_t a, int64_t b) noexcept { return b == 0 ? -1 : a % b; }

// Reads sizes from a call's inputs; the first thing that is wrong stays in mmtrt_last_error().
class Binder
{
public:
    Binder(char const* plugin, MmtrtCall const& call) noexcept
        : mPlugin(plugin)
        , mCall(call)
    {
    }

    bool ok() const noexcept { return mOk; }

    // Counts, ranks and dtypes.
    void tensors(MmtrtTensorFacts const* inputs, int32_t nbInputs, MmtrtTensorFacts const* outputs, int32_t nbOutputs) noexcept;
    void attributes(MmtrtAttributeFacts const* facts, int32_t count) noexcept;
    // Input `index`'s axis `axis` (from the end when negative) has size `value`, which it gives when value is still -1.
    void size(int32_t index, int32_t axis, int64_t& value, char const* name) noexcept;
    void fixed(int32_t index, int32_t axis, int64_t expected) noexcept;
    // The product of the axes before the last `named` ones; the first tensor that has such axes gives it.
    void lead(int32_t index, int32_t named, int64_t& value) noexcept;

private:
    void tensor(MmtrtTensor const& tensor, MmtrtTensorFacts const& facts) noexcept;
    bool skip(int32_t index) const noexcept { return !mOk || index >= mCall.nbInputs || mCall.inputs[index].rank < 0; }

    char const* mPlugin;
    MmtrtCall const& mCall;
    bool mOk{true};
    bool mHasLead{false};
    // Dtypes of the groups so far; -1: none yet.
    int32_t mGroups[8]{-1, -1, -1, -1, -1, -1, -1, -1};
};
} // namespace mmtrt
