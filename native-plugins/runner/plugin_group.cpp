#include "plugin_group.h"
#include "library.h"
#include "problem.h"
#include <array>

namespace mmtrt::runner
{
namespace
{
// Of common/group.h.
struct Share
{
    std::array<unsigned char, 256> bytes;
};
constexpr int32_t kGROUP = 0;
} // namespace

void joinPluginGroup(std::string const& plugins, RankPlace const& place, Links& host)
{
    if (plugins.empty() || place.tpSize == 1)
        return;
    Library const library({plugins}, "the plugin library", "mmtrt plugins build, or --plugins FILE");
    auto const open = library.find<int32_t (*)(int32_t, int32_t, int32_t, Share*)>("mmtrt_group_open");
    auto const connect = library.find<int32_t (*)(int32_t, Share const*)>("mmtrt_group_connect");
    if (open == nullptr || connect == nullptr)
        return;
    auto const check = [&](int32_t status)
    {
        if (status == 0)
            return;
        auto const last = library.find<char const* (*)()>("mmtrt_last_error");
        throw Failure({"RUN059", "rank " + std::to_string(place.rank) + " cannot join the others: " + (last == nullptr ? "no reason given" : last()), plugins,
            "ranks read one another's memory for their sums, which takes GPUs of one machine that see each other",
            "check nvidia-smi topo -m, or build with --nccl_plugin disable"});
    };
    Share own{};
    check(open(kGROUP, place.tpRank(), place.tpSize, &own));
    std::vector<Share> stage(static_cast<size_t>(place.tpSize));
    host.allGather(&own, stage.data(), sizeof(own));
    check(connect(kGROUP, stage.data()));
}
} // namespace mmtrt::runner
