// The other ranks of a model, a process of this program each, as the rank that leads sees them: started, told what comes next, watched.
#pragma once
#include "frame.h"
#include "links.h"
#include "problem.h"
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <sys/types.h>
#include <thread>
#include <vector>

namespace mmtrt::runner
{
class Crew
{
public:
    // Starts a process for each rank but the one of `leader`. `lost` hears, from another thread, why a rank has ended or failed before it was
    // dismissed; it must end the process, for whoever waits for that rank waits for ever. Throws Failure RUN054 or RUN059.
    Crew(RankPlace const& leader, std::function<void(Problem const&)> lost);
    Crew(Crew const&) = delete;
    Crew& operator=(Crew const&) = delete;
    // Dismisses them, and ends those that do not go.
    ~Crew();

    std::shared_ptr<SharedMemory> const& memory() const noexcept { return mMemory; }
    RankPlace const& place() const noexcept { return mLeader; }

    void tell(Json::Object const& header);
    void tell(int32_t rank, Json::Object header, char const* payload, size_t bytes);
    // The next message of every rank, by rank; null for the leader.
    Json::Array answers();
    // At once, whatever they are doing.
    void kill() noexcept;

private:
    struct Member
    {
        int32_t rank{0};
        pid_t process{0};
        int fd{-1};
        std::unique_ptr<FrameWriter> writer;
        std::thread reader;
        std::deque<Json> said;
    };

    void start(Member& member, int memoryFd);
    void read(Member& member);
    std::string howEnded(Member const& member) const;

    RankPlace mLeader;
    std::function<void(Problem const&)> mLost;
    std::shared_ptr<SharedMemory> mMemory;
    std::vector<std::unique_ptr<Member>> mMembers;
    mutable std::mutex mMutex;
    std::condition_variable mArrived;
    bool mDismissed{false};
};
} // namespace mmtrt::runner
