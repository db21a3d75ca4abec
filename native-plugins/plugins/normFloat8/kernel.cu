// Code for SM 80 serves 86.
#include "float8.cuh"
#include "norm.cuh"
#include "normFloat8.gen.h"

namespace mmtrt::normFloat8
{
int64_t workspaceBytes(MmtrtCall const&, Sizes const&, Attributes const&) noexcept
{
    return 0;
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    norm::Places const places{kBETA, kRESIDUAL, kSCALE};
    return attributes.rms != 0 ? norm::run<true, Float8Code>(kNAME, call, places, {sizes.lead, sizes.H}, attributes.eps)
                               : norm::run<false, Float8Code>(kNAME, call, places, {sizes.lead, sizes.H}, attributes.eps);
}
} // namespace mmtrt::normFloat8
