// How the ranks of a model stay in step: one of them leads, decides what comes next and tells the others before it does it itself. A model
// of one rank asks only whether its request still stands.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

namespace mmtrt::runner
{
struct Course
{
    // Before each piece of a prompt; throws Cancelled, on all ranks at the same place, where the request was taken back.
    std::function<void()> mayGoOn;
    // Before a step with such tokens, and before rows are chosen anew. Of the leader; others are told by these.
    std::function<void(std::vector<int32_t> const& tokens)> steps;
    std::function<void(std::vector<int32_t> const& rows)> selects;
};
} // namespace mmtrt::runner
