#include "normFloat8.gen.h"
#include "norm.cuh"

namespace mmtrt::normFloat8
{
int64_t workspaceBytes(MmtrtCall const&, Sizes const&, Attributes const&) noexcept
{
    return 0;
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    if (attributes.rms != 0 && has(call, kBETA))
        return refused(kNAME, "an RMS norm has no beta");
    norm::Arguments args{};
    args.x = static_cast<uint4 const*>(call.inputs[kX].data);
    args.gamma = static_cast<uint4 const*>(call.inputs[kGAMMA].data);
    args.beta = has(call, kBETA) ? static_cast<uint4 const*>(call.inputs[kBETA].data) : nullptr;
    args.residual = has(call, kRESIDUAL) ? static_cast<uint4 const*>(call.inputs[kRESIDUAL].data) : nullptr;
    args.scale = has(call, kSCALE) ? static_cast<float const*>(call.inputs[kSCALE].data) : nullptr;
    args.y = call.outputs[kCODES].data;
    args.sum = static_cast<uint4*>(call.outputs[kSUM].data);
    args.rowScales = static_cast<float*>(call.outputs[kTOKEN_SCALE].data);
    args.vectors = static_cast<int32_t>(sizes.H / 8);
    args.eps = attributes.eps;
    bool const isHalf = call.inputs[kX].dtype == MMTRT_FLOAT16;
    return attributes.rms != 0 ? norm::run<true, norm::Result::kFLOAT8>(kNAME, args, isHalf, sizes.lead, call.stream)
                               : norm::run<false, norm::Result::kFLOAT8>(kNAME, args, isHalf, sizes.lead, call.stream);
}
} // namespace mmtrt::normFloat8
