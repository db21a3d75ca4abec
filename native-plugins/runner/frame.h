// Frames on standard input and output: "MTR1", the header's bytes (u32), the payload's bytes (u64), both little endian, then a
// header in JSON and the payload. A header with `tensors: [{ name, dtype, shape }]` is followed by their bytes, one after the
// other, and any other by none.
#pragma once
#include "json.h"
#include "tensor.h"
#include <mutex>
#include <optional>

namespace mmtrt::runner
{
// A tensor as it came.
struct Sent
{
    std::string name;
    Dtype dtype{Dtype::kFLOAT32};
    Shape shape;
    // Where it lies in the payload.
    size_t offset{0};
    size_t bytes{0};
};

struct Frame
{
    Json header;
    std::vector<Sent> tensors;
    std::vector<char> payload;

    std::string kind() const { return header.get("kind").text("kind"); }
};

// Reads whole frames from a file descriptor. Nothing is allocated for what was only announced: a payload must be what the
// header's tensors take, and memory grows as bytes come.
class FrameReader
{
public:
    explicit FrameReader(int fd) noexcept
        : mFd(fd)
    {
    }

    // Nothing where the other side has closed, between two frames. Throws Failure RUN050.
    std::optional<Frame> next();

private:
    // Bytes read: fewer than asked for at the end of the stream alone.
    size_t read(char* to, size_t count);
    std::vector<char> readAll(uint64_t count);

    int mFd;
};

// Writes from any thread, a frame at a time.
class FrameWriter
{
public:
    explicit FrameWriter(int fd) noexcept
        : mFd(fd)
    {
    }

    // False where nobody reads any more. A header that comes with bytes lists them as its `tensors`.
    bool write(Json::Object header, char const* payload = nullptr, size_t bytes = 0);

private:
    bool writeAll(char const* bytes, size_t count) const;

    int mFd;
    std::mutex mMutex;
};
} // namespace mmtrt::runner
