// Memory and the order of work on it: the host's, or a GPU's with one stream. All work of a session is in that order.
#pragma once
#include "problem.h"
#include "tensor.h"
#include <array>
#include <map>
#include <memory>
#include <set>

namespace mmtrt::runner
{
// What memory is for, in the account that a user gets.
enum class Use
{
    kCACHE,
    kFEATURES,
    kADAPTERS,
    kIO,
};
constexpr size_t kUSES = 4;

struct DeviceFacts
{
    // `cpu`, or the GPU's name.
    std::string name;
    // Compute capability as 90 for 9.0; 0 for the host.
    int32_t sm{0};
    // As CUDA counts them; 0 for the host.
    int32_t index{0};
    int64_t totalBytes{0};
};

class Device
{
public:
    virtual ~Device() = default;

    virtual bool isHost() const noexcept = 0;
    virtual DeviceFacts const& facts() const noexcept = 0;
    // A cudaStream_t; null on the host.
    virtual void* stream() const noexcept = 0;
    virtual int64_t freeBytes() const noexcept = 0;

    virtual void upload(void* to, void const* from, int64_t bytes) = 0;
    // Waits for all work before it.
    virtual void download(void* to, void const* from, int64_t bytes) = 0;
    virtual void copy(void* to, void const* from, int64_t bytes) = 0;
    // `rows` pieces of `bytes` whose beginnings are a pitch apart.
    virtual void copyRows(void* to, int64_t toPitch, void const* from, int64_t fromPitch, int64_t bytes, int64_t rows) = 0;
    virtual void zero(void* to, int64_t bytes) = 0;
    virtual void wait() = 0;

    // From now on memory that is given up waits for the next who asks for about as much: what is asked for alike lies in the same places, which
    // recorded steps need, and a GPU is not stopped for it.
    void keepMemory() noexcept { mKeeps = true; }
    // Gives all that waits back to the system.
    void releaseKept() noexcept;
    // Of memory that waits.
    int64_t keptBytes() const noexcept { return mKeptBytes; }

    // Bytes in use now, and the most there have been at once.
    int64_t used(Use use) const noexcept { return mUsed[static_cast<size_t>(use)]; }
    int64_t peak(Use use) const noexcept { return mPeak[static_cast<size_t>(use)]; }

protected:
    friend class Buffer;
    // Null where there is not as much.
    virtual void* allocate(int64_t bytes) noexcept = 0;
    virtual void release(void* data) noexcept = 0;

private:
    int64_t roomFor(int64_t bytes) const noexcept;
    void* take(int64_t bytes) noexcept;
    void giveBack(void* data, int64_t bytes) noexcept;

    bool mKeeps{false};
    int64_t mKeptBytes{0};
    // By size; of several the one that lies first, so that the order in which they were given up makes no difference.
    std::map<int64_t, std::set<void*>> mKept;
    std::array<int64_t, kUSES> mUsed{};
    std::array<int64_t, kUSES> mPeak{};
};

// A device has not as much memory as was asked for.
class OutOfMemory : public Failure
{
public:
    OutOfMemory(Use use, Problem problem)
        : Failure(std::move(problem))
        , mUse(use)
    {
    }
    Use use() const noexcept { return mUse; }

private:
    Use mUse;
};

// The problem that so many bytes are.
Problem noRoom(Device const& device, int64_t bytes, Use use);

std::unique_ptr<Device> openHost();
// Throws Failure RUN052 without a CUDA runtime, RUN057 without such a GPU.
std::unique_ptr<Device> openCuda(int32_t index, std::vector<std::string> const& runtimes);

// Owned memory of a device, at least one byte of it: no runtime takes a null pointer for a tensor without elements.
class Buffer
{
public:
    Buffer() = default;
    // Throws OutOfMemory, RUN054, where the device has not as much.
    Buffer(Device& device, int64_t bytes, Use use);
    Buffer(Buffer&& other) noexcept { swap(other); }
    Buffer& operator=(Buffer&& other) noexcept
    {
        swap(other);
        return *this;
    }
    ~Buffer();

    void* data() const noexcept { return mData; }
    int64_t bytes() const noexcept { return mBytes; }
    // A larger one in its place where it holds less; what was in it is gone then. Room for half as much again, so that a size
    // that grows by one is not paid for each time.
    void need(Device& device, int64_t bytes, Use use);

private:
    void swap(Buffer& other) noexcept
    {
        std::swap(mDevice, other.mDevice);
        std::swap(mData, other.mData);
        std::swap(mBytes, other.mBytes);
        std::swap(mUse, other.mUse);
    }

    Device* mDevice{nullptr};
    void* mData{nullptr};
    int64_t mBytes{0};
    Use mUse{Use::kIO};
};
} // namespace mmtrt::runner
