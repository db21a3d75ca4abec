// A file in memory as the system pages it in: engines of many gigabytes are read once, by who copies them to the device.
#pragma once
#include "problem.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace mmtrt::runner
{
class MappedFile
{
public:
    // Throws Failure RUN053.
    explicit MappedFile(std::string const& file)
    {
        int const fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
        struct stat info
        {
        };
        if (fd >= 0 && fstat(fd, &info) == 0 && info.st_size > 0)
        {
            mSize = static_cast<size_t>(info.st_size);
            mData = mmap(nullptr, mSize, PROT_READ, MAP_PRIVATE, fd, 0);
        }
        int const error = errno;
        if (fd >= 0)
            close(fd);
        if (mData == MAP_FAILED)
            throw Failure({"RUN053", file + " cannot be read: " + (info.st_size == 0 && fd >= 0 ? "it is empty" : std::strerror(error)), file,
                "the engine directory is incomplete", "build the engine directory again"});
    }
    MappedFile(MappedFile const&) = delete;
    MappedFile& operator=(MappedFile const&) = delete;
    ~MappedFile() { munmap(mData, mSize); }

    void const* data() const noexcept { return mData; }
    size_t size() const noexcept { return mSize; }

private:
    void* mData{MAP_FAILED};
    size_t mSize{0};
};
} // namespace mmtrt::runner
