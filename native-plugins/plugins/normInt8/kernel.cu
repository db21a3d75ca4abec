// Code for SM 80 serves 86 and 89.
#include "norm.cuh"
#include "normInt8.gen.h"

namespace mmtrt::normInt8
{
int64_t workspaceBytes(MmtrtCall const&, Sizes const&, Attributes const&) noexcept
{
    return 0;
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    norm::Places const places{kBETA, kRESIDUAL, kSCALE};
    return attributes.rms != 0 ? norm::run<true, Int8Code>(kNAME, call, places, {sizes.lead, sizes.H}, attributes.eps)
                               : norm::run<false, Int8Code>(kNAME, call, places, {sizes.lead, sizes.H}, attributes.eps);
}
} // namespace mmtrt::normInt8
