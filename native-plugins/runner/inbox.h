// Frames that have come and wait, read by a thread of its own, so that a request can be taken back while it runs.
#pragma once
#include "frame.h"
#include "problem.h"
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>

namespace mmtrt::runner
{
class Inbox
{
public:
    // Starts the thread. When the other side closes, the process ends within a moment even where its main thread is inside a call
    // that takes long: nobody is there any more to answer to.
    explicit Inbox(int fd);
    Inbox(Inbox const&) = delete;
    Inbox& operator=(Inbox const&) = delete;

    // Waits for the next frame; nothing once the other side has closed. Throws Failure RUN050 for what is no frame.
    std::optional<Frame> next();
    // The next frame if there is one. Throws Cancelled once the other side has closed, Failure RUN050 for what is no frame.
    std::optional<Frame> poll();

private:
    void read(int fd);
    std::optional<Frame> take();

    std::mutex mMutex;
    std::condition_variable mArrived;
    std::deque<Frame> mFrames;
    bool mClosed{false};
    std::optional<Problem> mRefused;
};
} // namespace mmtrt::runner
