// DistCollective as operators of ONNX Runtime: what the ranks of a stage add up and gather goes over Links in the middle of a graph. A
// registered operator wins over the model-local function of its name, which stands for one rank alone.
#pragma once
#include "links.h"
#include <memory>
#include <onnxruntime_c_api.h>
#include <vector>

namespace mmtrt::runner
{
class CollectiveOps
{
public:
    // For graphs on the device that `links` are of. With `reduces` false only gathers: another library has the domain of sums.
    CollectiveOps(OrtApi const& api, Links& links, bool onHost, bool reduces);
    CollectiveOps(CollectiveOps const&) = delete;
    CollectiveOps& operator=(CollectiveOps const&) = delete;
    // After all sessions that use it.
    ~CollectiveOps();

    // Null, or what went wrong.
    OrtStatus* addTo(OrtSessionOptions* options) const;

    struct Op;

private:
    OrtCustomOpDomain* domain(char const* name);
    void add(OrtCustomOpDomain* domain, bool reduces, bool onHost, Links& links);

    OrtApi const& mApi;
    std::vector<std::unique_ptr<Op>> mOps;
    std::vector<OrtCustomOpDomain*> mDomains;
};
} // namespace mmtrt::runner
