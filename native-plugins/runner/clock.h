#pragma once
#include <chrono>

namespace mmtrt::runner
{
// Milliseconds since it was made.
class Clock
{
public:
    double milliseconds() const noexcept { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - mStart).count(); }

private:
    std::chrono::steady_clock::time_point mStart{std::chrono::steady_clock::now()};
};
} // namespace mmtrt::runner
