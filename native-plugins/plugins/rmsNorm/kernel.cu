// Code for SM 80 serves 86 and 89.
#include "norm.cuh"
#include "rmsNorm.gen.h"

namespace mmtrt::rmsNorm
{
int64_t workspaceBytes(MmtrtCall const&, Sizes const&, Attributes const&) noexcept
{
    return 0;
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    return norm::run<true>(kNAME, call, {-1, kRESIDUAL, -1}, {sizes.lead, sizes.H}, attributes.eps);
}
} // namespace mmtrt::rmsNorm
