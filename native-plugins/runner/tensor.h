// Element types by the names that config.json has, shapes, and views of memory that somebody else owns.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace mmtrt::runner
{
enum class Dtype
{
    kFLOAT32,
    kFLOAT16,
    kBFLOAT16,
    kINT8,
    kINT32,
    kINT64,
    kFLOAT8,
};

using Shape = std::vector<int64_t>;

// Throws Failure RUN050 for a name that no input or output has.
Dtype dtypeOf(std::string const& name);
char const* nameOf(Dtype dtype) noexcept;
int64_t bytesOf(Dtype dtype) noexcept;
// Elements. Throws Failure RUN050 for a negative size, or more elements than 2^40.
int64_t elementsOf(Shape const& shape);
std::string show(Shape const& shape);

// Memory of an engine's device; row-major and dense.
struct View
{
    void* data{nullptr};
    Dtype dtype{Dtype::kFLOAT32};
    Shape shape;

    int64_t bytes() const { return elementsOf(shape) * bytesOf(dtype); }
};

// Floats as the bytes of a float type, rounded to nearest, ties to even.
std::vector<char> encodeFloats(float const* values, size_t count, Dtype dtype);
std::vector<float> decodeFloats(char const* bytes, size_t count, Dtype dtype);
} // namespace mmtrt::runner
