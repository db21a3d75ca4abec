#include "check.h"
#include <cinttypes>

namespace mmtrt
{
void Binder::tensor(MmtrtTensor const& tensor, MmtrtTensorFacts const& facts) noexcept
{
    if (!mOk)
        return;
    bool const rightRank = facts.leading ? tensor.rank >= facts.rank : tensor.rank == facts.rank;
    if (!rightRank || tensor.rank > MMTRT_MAX_RANK)
    {
        mOk = false;
        failed(MMTRT_REFUSED, "%s: %s has rank %d, needed is %s%d", mPlugin, facts.name, tensor.rank,
            facts.leading ? "at least " : "", facts.rank);
        return;
    }
    bool allowed = tensor.dtype >= 0 && tensor.dtype < 32 && ((facts.dtypes >> tensor.dtype) & 1U) != 0;
    if (allowed && facts.group >= 0)
    {
        auto& group = mGroups[facts.group];
        allowed = group < 0 || group == tensor.dtype;
        group = tensor.dtype;
    }
    for (int32_t i = 0; i < tensor.rank; ++i)
        allowed = allowed && tensor.dims[i] >= 0;
    if (!allowed)
    {
        mOk = false;
        failed(MMTRT_REFUSED, "%s: %s has dtype %d, which plugin.yaml does not allow there, or a negative size", mPlugin,
            facts.name, tensor.dtype);
    }
}

void Binder::tensors(
    MmtrtTensorFacts const* inputs, int32_t nbInputs, MmtrtTensorFacts const* outputs, int32_t nbOutputs) noexcept
{
    for (int32_t i = 0; mOk && i < nbInputs; ++i)
    {
        bool const present = i < mCall.nbInputs && mCall.inputs[i].rank >= 0;
        if (present)
            tensor(mCall.inputs[i], inputs[i]);
        else if (!inputs[i].optional)
        {
            mOk = false;
            failed(MMTRT_REFUSED, "%s: the input %s is missing", mPlugin, inputs[i].name);
        }
    }
    if (mOk && (mCall.nbInputs > nbInputs || mCall.nbOutputs != nbOutputs))
    {
        mOk = false;
        failed(MMTRT_REFUSED, "%s: %d inputs and %d outputs; it has %d and %d", mPlugin, mCall.nbInputs, mCall.nbOutputs,
            nbInputs, nbOutputs);
    }
    for (int32_t i = 0; mOk && i < nbOutputs; ++i)
        tensor(mCall.outputs[i], outputs[i]);
}

void Binder::attributes(MmtrtAttributeFacts const* facts, int32_t count) noexcept
{
    for (int32_t i = 0; mOk && i < count; ++i)
    {
        auto const* at = static_cast<char const*>(mCall.attributes) + facts[i].offset;
        double const value = facts[i].type == MMTRT_ATTRIBUTE_INT ? *reinterpret_cast<int32_t const*>(at)
                                                                  : *reinterpret_cast<float const*>(at);
        // NaN is outside too.
        if (value >= facts[i].minimum && value <= facts[i].maximum)
            continue;
        mOk = false;
        failed(MMTRT_REFUSED, "%s: %s is %g, allowed is %g to %g", mPlugin, facts[i].name, value, facts[i].minimum, facts[i].maximum);
    }
}

void Binder::size(int32_t index, int32_t axis, int64_t& value, char const* name) noexcept
{
    if (skip(index))
        return;
    auto const& tensor = mCall.inputs[index];
    int64_t const seen = tensor.dims[axis < 0 ? tensor.rank + axis : axis];
    if (value < 0)
        value = seen;
    else if (value != seen)
    {
        mOk = false;
        failed(MMTRT_REFUSED, "%s: %s is %" PRId64 " in input %d and %" PRId64 " before it", mPlugin, name, seen, index, value);
    }
}

void Binder::fixed(int32_t index, int32_t axis, int64_t expected) noexcept
{
    int64_t value = expected;
    size(index, axis, value, "a fixed size");
}

void Binder::lead(int32_t index, int32_t named, int64_t& value) noexcept
{
    if (skip(index))
        return;
    auto const& tensor = mCall.inputs[index];
    int64_t product = 1;
    for (int32_t i = 0; i < tensor.rank - named; ++i)
        product *= tensor.dims[i];
    if (mHasLead && value != product)
    {
        mOk = false;
        failed(MMTRT_REFUSED, "%s: %" PRId64 " rows in input %d and %" PRId64 " before it", mPlugin, product, index, value);
    }
    mHasLead = true;
    value = product;
}
} // namespace mmtrt
