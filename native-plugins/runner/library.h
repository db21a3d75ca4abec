// A shared library, loaded at run time: the runner links none of CUDA, ONNX Runtime and TensorRT, so one program starts anywhere.
#pragma once
#include <string>
#include <vector>

namespace mmtrt::runner
{
class Library
{
public:
    // Loads the first that can be. Throws Failure RUN052 with what was tried and why the last one failed.
    Library(std::vector<std::string> const& candidates, char const* purpose, char const* fix);
    Library(Library&& other) noexcept;
    Library& operator=(Library&&) = delete;
    // Never closed: what these libraries keep in threads and at exit outlives any order of ours.
    ~Library() = default;

    std::string const& file() const noexcept { return mFile; }

    // Throws Failure RUN052 where the library lacks it.
    template <typename Function>
    Function function(char const* name) const
    {
        return reinterpret_cast<Function>(symbol(name));
    }
    // Null where the library lacks it.
    template <typename Function>
    Function find(char const* name) const noexcept
    {
        return reinterpret_cast<Function>(findSymbol(name));
    }

private:
    void* symbol(char const* name) const;
    void* findSymbol(char const* name) const noexcept;

    void* mHandle{nullptr};
    std::string mFile;
    std::string mFix;
};
} // namespace mmtrt::runner
