// The sums that the plugin library adds up itself (its operation AllReduce) take a group that its ranks have joined.
#pragma once
#include "links.h"
#include <string>

namespace mmtrt::runner
{
// Joins the ranks of this stage, for engines whose graphs have AllReduce; nothing for a library without it. Throws Failure RUN059.
void joinPluginGroup(std::string const& plugins, RankPlace const& place, Links& host);
} // namespace mmtrt::runner
