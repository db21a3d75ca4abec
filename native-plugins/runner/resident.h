#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <sys/resource.h>
#include <unistd.h>

namespace mmtrt::runner
{
// Addresses that this process has taken, and how much of them is in RAM; 0 where the system does not say.
struct ProcessBytes
{
    int64_t addresses{0};
    int64_t resident{0};
};

inline ProcessBytes processBytes() noexcept
{
    std::FILE* const file = std::fopen("/proc/self/statm", "r");
    long long total = 0;
    long long resident = 0;
    if (file == nullptr)
        return {};
    int const read = std::fscanf(file, "%lld %lld", &total, &resident);
    std::fclose(file);
    return read == 2 ? ProcessBytes{total * sysconf(_SC_PAGESIZE), resident * sysconf(_SC_PAGESIZE)} : ProcessBytes{};
}

inline int64_t residentBytes() noexcept { return processBytes().resident; }

// What this process may still take: memory that the system could free up for it, within its own limit.
inline int64_t availableBytes() noexcept
{
    int64_t available = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
    if (std::FILE* const file = std::fopen("/proc/meminfo", "r"); file != nullptr)
    {
        char line[128];
        long long kibibytes = 0;
        while (std::fgets(line, sizeof(line), file) != nullptr)
            if (std::sscanf(line, "MemAvailable: %lld kB", &kibibytes) == 1)
                available = kibibytes * 1024;
        std::fclose(file);
    }
    rlimit limit{};
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        available = std::min<int64_t>(available, std::max<int64_t>(0, static_cast<int64_t>(limit.rlim_cur) - processBytes().addresses));
    return available;
}
} // namespace mmtrt::runner
