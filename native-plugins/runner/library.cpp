#include "library.h"
#include "problem.h"
#include <dlfcn.h>

namespace mmtrt::runner
{
Library::Library(std::vector<std::string> const& candidates, char const* purpose, char const* fix)
    : mFix(fix)
{
    std::string tried;
    std::string reason;
    for (auto const& candidate : candidates)
    {
        mHandle = dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL);
        mFile = candidate;
        if (mHandle != nullptr)
            return;
        char const* const said = dlerror();
        reason = said == nullptr ? "no reason given" : said;
        tried += (tried.empty() ? "" : ", ") + candidate;
    }
    throw Failure({"RUN052", std::string(purpose) + " cannot be loaded from " + tried + ": " + reason, tried,
        "the runner loads it when it starts, as the system's loader finds it", fix});
}

Library::Library(Library&& other) noexcept
    : mHandle(other.mHandle)
    , mFile(std::move(other.mFile))
    , mFix(std::move(other.mFix))
{
    other.mHandle = nullptr;
}

void* Library::symbol(char const* name) const
{
    void* const found = findSymbol(name);
    if (found == nullptr)
        throw Failure({"RUN052", mFile + " has no function " + name, mFile, "it is another library, or too old", mFix});
    return found;
}

void* Library::findSymbol(char const* name) const noexcept { return dlsym(mHandle, name); }
} // namespace mmtrt::runner
