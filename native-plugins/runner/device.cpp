#include "device.h"
#include "problem.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace mmtrt::runner
{
namespace
{
constexpr char const* kUSE_NAMES[] = {"keys and values", "visual features", "adapters", "inputs and outputs"};
// What shortens or narrows a request so that it takes less of each.
constexpr char const* kFIXES[] = {
    "lower --batch_size, --num_beams or --max_new_tokens",
    "lower --batch_size or give fewer images",
    "give fewer adapters with --lora_dir",
    "lower --batch_size or --num_beams",
};
// Widest alignment that a CPU kernel asks for.
constexpr size_t kALIGNMENT = 64;

class Host final : public Device
{
public:
    Host()
    {
        mFacts.name = "cpu";
        mFacts.totalBytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
    }

    bool isHost() const noexcept override { return true; }
    DeviceFacts const& facts() const noexcept override { return mFacts; }
    void* stream() const noexcept override { return nullptr; }
    int64_t freeBytes() const noexcept override { return static_cast<int64_t>(sysconf(_SC_AVPHYS_PAGES)) * sysconf(_SC_PAGESIZE); }
    void upload(void* to, void const* from, int64_t bytes) override { copy(to, from, bytes); }
    void download(void* to, void const* from, int64_t bytes) override { copy(to, from, bytes); }
    void copy(void* to, void const* from, int64_t bytes) override { std::memcpy(to, from, static_cast<size_t>(bytes)); }
    void copyRows(void* to, int64_t toPitch, void const* from, int64_t fromPitch, int64_t bytes, int64_t rows) override
    {
        for (int64_t row = 0; row < rows; ++row)
            std::memcpy(static_cast<char*>(to) + row * toPitch, static_cast<char const*>(from) + row * fromPitch, static_cast<size_t>(bytes));
    }
    void zero(void* to, int64_t bytes) override { std::memset(to, 0, static_cast<size_t>(bytes)); }
    void wait() override {}

protected:
    void* allocate(int64_t bytes) noexcept override
    {
        size_t const rounded = (static_cast<size_t>(bytes) + kALIGNMENT - 1) / kALIGNMENT * kALIGNMENT;
        return std::aligned_alloc(kALIGNMENT, rounded);
    }
    void release(void* data) noexcept override { std::free(data); }

private:
    DeviceFacts mFacts;
};

std::string gibibytes(int64_t bytes)
{
    char text[32];
    std::snprintf(text, sizeof(text), bytes < (int64_t{1} << 30) ? "%.1f MiB" : "%.2f GiB",
        static_cast<double>(bytes) / (bytes < (int64_t{1} << 30) ? 1048576.0 : 1073741824.0));
    return text;
}
} // namespace

std::unique_ptr<Device> openHost() { return std::make_unique<Host>(); }

Buffer::Buffer(Device& device, int64_t bytes, Use use)
    : mDevice(&device)
    , mBytes(std::max<int64_t>(1, bytes))
    , mUse(use)
{
    mData = device.allocate(mBytes);
    auto const index = static_cast<size_t>(use);
    if (mData == nullptr)
    {
        mDevice = nullptr;
        throw Failure({"RUN054",
            gibibytes(bytes) + " for " + kUSE_NAMES[index] + " cannot be had on " + device.facts().name + ": " + gibibytes(device.freeBytes()) + " of "
                + gibibytes(device.facts().totalBytes) + " are free, " + gibibytes(device.mUsed[index]) + " are in use for them",
            device.facts().name, "weights, keys and values, and what a step computes lie in the device's memory together", kFIXES[index]});
    }
    device.mUsed[index] += mBytes;
    device.mPeak[index] = std::max(device.mPeak[index], device.mUsed[index]);
}

Buffer::~Buffer()
{
    if (mDevice == nullptr)
        return;
    mDevice->release(mData);
    mDevice->mUsed[static_cast<size_t>(mUse)] -= mBytes;
}

void Buffer::need(Device& device, int64_t bytes, Use use)
{
    if (mData != nullptr && mBytes >= bytes)
        return;
    int64_t const wanted = std::max(bytes, mBytes + mBytes / 2);
    // The old one goes first, so that both need not fit.
    *this = Buffer();
    *this = Buffer(device, wanted, use);
}
} // namespace mmtrt::runner
