#pragma once
#include <cstdint>
#include <cstdio>
#include <unistd.h>

namespace mmtrt::runner
{
// Memory of this process that is in RAM; 0 where the system does not say.
inline int64_t residentBytes() noexcept
{
    std::FILE* const file = std::fopen("/proc/self/statm", "r");
    long long total = 0;
    long long resident = 0;
    if (file == nullptr)
        return 0;
    int const read = std::fscanf(file, "%lld %lld", &total, &resident);
    std::fclose(file);
    return read == 2 ? resident * sysconf(_SC_PAGESIZE) : 0;
}
} // namespace mmtrt::runner
