// Code for SM 80 serves 86 and 89.
#include "layerNorm.gen.h"
#include "norm.cuh"

namespace mmtrt::layerNorm
{
int64_t workspaceBytes(MmtrtCall const&, Sizes const&, Attributes const&) noexcept
{
    return 0;
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    return norm::run<false>(kNAME, call, {kBETA, kRESIDUAL, -1}, {sizes.lead, sizes.H}, attributes.eps);
}
} // namespace mmtrt::layerNorm
