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
    norm::Arguments args{};
    args.x = static_cast<uint4 const*>(call.inputs[kX].data);
    args.gamma = static_cast<uint4 const*>(call.inputs[kGAMMA].data);
    args.beta = has(call, kBETA) ? static_cast<uint4 const*>(call.inputs[kBETA].data) : nullptr;
    args.residual = has(call, kRESIDUAL) ? static_cast<uint4 const*>(call.inputs[kRESIDUAL].data) : nullptr;
    args.y = call.outputs[kY].data;
    args.sum = static_cast<uint4*>(call.outputs[kSUM].data);
    args.vectors = static_cast<int32_t>(sizes.H / 8);
    args.eps = attributes.eps;
    bool const isHalf = call.inputs[kX].dtype == MMTRT_FLOAT16;
    return norm::run<false, norm::Result::kFLOAT>(kNAME, args, isHalf, sizes.lead, call.stream);
}
} // namespace mmtrt::layerNorm
