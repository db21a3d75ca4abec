#include "inbox.h"
#include <chrono>
#include <cstdlib>
#include <new>
#include <thread>

namespace mmtrt::runner
{
namespace
{
// More frames than that are no conversation.
constexpr size_t kMAX_WAITING = 4096;
// Time for the main thread to end in order.
constexpr std::chrono::seconds kGRACE{2};
constexpr int kABANDONED = 3;
} // namespace

Inbox::Inbox(int fd)
{
    std::thread([this, fd] { read(fd); }).detach();
}

void Inbox::read(int fd)
{
    FrameReader reader(fd);
    std::optional<Problem> refused;
    try
    {
        while (auto frame = reader.next())
        {
            std::lock_guard<std::mutex> const lock(mMutex);
            if (mFrames.size() >= kMAX_WAITING)
                refuseMessage("4096 messages wait");
            mFrames.push_back(std::move(*frame));
            mArrived.notify_one();
        }
    }
    catch (Failure const& failure)
    {
        refused = failure.problem();
    }
    catch (std::bad_alloc const&)
    {
        refused = Problem{"RUN054", "there is no memory for a message", "the runner's standard input", "it is kept whole before it is answered",
            "give fewer images or prompts at once"};
    }
    {
        std::lock_guard<std::mutex> const lock(mMutex);
        mRefused = std::move(refused);
        mClosed = true;
        mArrived.notify_one();
    }
    std::this_thread::sleep_for(kGRACE);
    std::_Exit(kABANDONED);
}

std::optional<Frame> Inbox::take()
{
    if (mFrames.empty())
    {
        if (mRefused)
            throw Failure(*mRefused);
        return std::nullopt;
    }
    Frame frame = std::move(mFrames.front());
    mFrames.pop_front();
    return frame;
}

std::optional<Frame> Inbox::next()
{
    std::unique_lock<std::mutex> lock(mMutex);
    mArrived.wait(lock, [this] { return mClosed || !mFrames.empty(); });
    return take();
}

std::optional<Frame> Inbox::poll()
{
    std::lock_guard<std::mutex> const lock(mMutex);
    if (mClosed && mFrames.empty() && !mRefused)
        throw Cancelled();
    return take();
}
} // namespace mmtrt::runner
