#include "device.h"
#include "problem.h"
#include "resident.h"
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
// Amounts that are looked up before they are asked for: the system promises more than it has, and ends whoever uses it.
constexpr int64_t kLARGE = int64_t{256} << 20;
// Kept memory comes in steps of this, so that prompts of about the same length find the same.
constexpr int64_t kSTEP = int64_t{1} << 18;
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

    Host(Host const&) = delete;
    Host& operator=(Host const&) = delete;
    ~Host() override { releaseKept(); }

    bool isHost() const noexcept override { return true; }
    DeviceFacts const& facts() const noexcept override { return mFacts; }
    void* stream() const noexcept override { return nullptr; }
    int64_t freeBytes() const noexcept override { return availableBytes(); }
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
        if (bytes >= kLARGE && bytes > availableBytes())
            return nullptr;
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

int64_t Device::roomFor(int64_t bytes) const noexcept { return mKeeps ? (bytes + kSTEP - 1) / kSTEP * kSTEP : bytes; }

void* Device::take(int64_t bytes) noexcept
{
    int64_t const room = roomFor(bytes);
    auto const kept = mKept.find(room);
    if (kept != mKept.end())
    {
        void* const data = *kept->second.begin();
        kept->second.erase(kept->second.begin());
        if (kept->second.empty())
            mKept.erase(kept);
        mKeptBytes -= room;
        return data;
    }
    void* const data = allocate(room);
    if (data != nullptr || mKeptBytes == 0)
        return data;
    releaseKept();
    return allocate(room);
}

void Device::giveBack(void* data, int64_t bytes) noexcept
{
    int64_t const room = roomFor(bytes);
    if (!mKeeps)
    {
        release(data);
        return;
    }
    mKept[room].insert(data);
    mKeptBytes += room;
}

void Device::releaseKept() noexcept
{
    for (auto const& [bytes, all] : mKept)
        for (void* const data : all)
            release(data);
    mKept.clear();
    mKeptBytes = 0;
}

std::unique_ptr<Device> openHost() { return std::make_unique<Host>(); }

Problem noRoom(Device const& device, int64_t bytes, Use use)
{
    auto const index = static_cast<size_t>(use);
    return {"RUN054",
        gibibytes(bytes) + " for " + kUSE_NAMES[index] + " cannot be had on " + device.facts().name + ": " + gibibytes(device.freeBytes()) + " of "
            + gibibytes(device.facts().totalBytes) + " are free, " + gibibytes(device.used(use)) + " are in use for them",
        device.facts().name, "weights, keys and values, and what a step computes lie in the device's memory together", kFIXES[index]};
}

Buffer::Buffer(Device& device, int64_t bytes, Use use)
    : mDevice(&device)
    , mBytes(std::max<int64_t>(1, bytes))
    , mUse(use)
{
    mData = device.take(mBytes);
    auto const index = static_cast<size_t>(use);
    if (mData == nullptr)
    {
        mDevice = nullptr;
        throw OutOfMemory(use, noRoom(device, bytes, use));
    }
    device.mUsed[index] += mBytes;
    device.mPeak[index] = std::max(device.mPeak[index], device.mUsed[index]);
}

Buffer::~Buffer()
{
    if (mDevice == nullptr)
        return;
    mDevice->giveBack(mData, mBytes);
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
