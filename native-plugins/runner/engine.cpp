#include "engine.h"
#include "problem.h"

namespace mmtrt::runner
{
bool Engine::has(std::string const& name) const noexcept
{
    for (auto const& value : io())
        if (value.name == name)
            return true;
    return false;
}

IoFacts const& Engine::find(std::string const& name) const
{
    for (auto const& value : io())
        if (value.name == name)
            return value;
    throw Failure({"RUN057", "the engine has no input or output " + name, name, "it was built by another version of mmtrt, or from another graph",
        "build the engine again"});
}
} // namespace mmtrt::runner
