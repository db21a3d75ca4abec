#include "crew.h"
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace mmtrt::runner
{
namespace
{
constexpr std::chrono::milliseconds kLOOK{5};
// Time for a rank to end once its socket is closed.
constexpr int kLOOKS = 600;

Problem cannotStart(std::string const& what)
{
    return {"RUN059", what + ": " + std::strerror(errno), "mmtrt-runner", "each rank is a process of its own, which the first one starts",
        "check the limits of processes and open files (ulimit -a)"};
}

// Whether the process has ended within a moment; its status is taken then.
bool ended(pid_t process, int& status)
{
    for (int look = 0; look < kLOOKS; ++look)
    {
        if (waitpid(process, &status, WNOHANG) != 0)
            return true;
        std::this_thread::sleep_for(kLOOK);
    }
    return false;
}

// The first problem of a message, with the rank that has it.
Problem problemOf(Json const& header, int32_t rank)
{
    auto const& problems = header.get("problems").list("problems");
    if (problems.empty())
        refuseMessage("a rank reports a problem without saying which");
    auto const part = [&](char const* name) { return problems[0].get(name).text(name); };
    return {part("code"), "rank " + std::to_string(rank) + ": " + part("what"), part("at"), part("why"), part("fix")};
}
} // namespace

Crew::Crew(RankPlace const& leader, std::function<void(Problem const&)> lost)
    : mLeader(leader)
    , mLost(std::move(lost))
{
    int64_t const bytes = SharedMemory::bytesFor(leader);
    int const memoryFd = memfd_create("mmtrt-ranks", MFD_CLOEXEC);
    if (memoryFd < 0 || ftruncate(memoryFd, bytes) != 0)
        throw Failure(cannotStart("the ranks cannot share memory"));
    mMemory = std::make_shared<SharedMemory>(memoryFd, bytes);
    for (int32_t rank = 0; rank < leader.ranks(); ++rank)
    {
        if (rank == leader.rank)
            continue;
        mMembers.push_back(std::make_unique<Member>());
        mMembers.back()->rank = rank;
        try
        {
            start(*mMembers.back(), memoryFd);
        }
        catch (Failure const&)
        {
            kill();
            throw;
        }
    }
    ::close(memoryFd);
    for (auto& member : mMembers)
        member->reader = std::thread([this, one = member.get()] { read(*one); });
}

void Crew::start(Member& member, int memoryFd)
{
    int pair[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        throw Failure(cannotStart("no socket can be had for rank " + std::to_string(member.rank)));
    member.fd = pair[0];
    member.writer = std::make_unique<FrameWriter>(pair[0]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    // Nobody but the leader reads what mmtrt says.
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    // A descriptor that is given its own number stays open in the new program.
    posix_spawn_file_actions_adddup2(&actions, pair[1], pair[1]);
    posix_spawn_file_actions_adddup2(&actions, memoryFd, memoryFd);
    std::string const socket = std::to_string(pair[1]);
    std::string const memory = std::to_string(memoryFd);
    char const* const argv[] = {"mmtrt-runner", "--rank", socket.c_str(), memory.c_str(), nullptr};
    int const status = posix_spawn(&member.process, "/proc/self/exe", &actions, nullptr, const_cast<char* const*>(argv), environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(pair[1]);
    if (status == 0)
        return;
    member.process = 0;
    errno = status;
    throw Failure(cannotStart("the process of rank " + std::to_string(member.rank) + " cannot be started"));
}

Crew::~Crew()
{
    {
        std::lock_guard<std::mutex> const lock(mMutex);
        mDismissed = true;
    }
    // Their input ends, and so do they.
    for (auto& member : mMembers)
        shutdown(member->fd, SHUT_WR);
    for (auto& member : mMembers)
    {
        int status = 0;
        if (member->process > 0 && !ended(member->process, status))
        {
            ::kill(member->process, SIGKILL);
            waitpid(member->process, &status, 0);
        }
        if (member->reader.joinable())
            member->reader.join();
        ::close(member->fd);
    }
}

void Crew::tell(Json::Object const& header)
{
    for (auto& member : mMembers)
        // One that has gone is told of by whoever reads it.
        member->writer->write(header);
}

void Crew::tell(int32_t rank, Json::Object header, char const* payload, size_t bytes)
{
    for (auto& member : mMembers)
        if (member->rank == rank)
            member->writer->write(std::move(header), payload, bytes);
}

Json::Array Crew::answers()
{
    Json::Array all(static_cast<size_t>(mLeader.ranks()));
    std::unique_lock<std::mutex> lock(mMutex);
    for (auto& member : mMembers)
    {
        mArrived.wait(lock, [&] { return !member->said.empty(); });
        all[static_cast<size_t>(member->rank)] = std::move(member->said.front());
        member->said.pop_front();
    }
    return all;
}

void Crew::kill() noexcept
{
    {
        std::lock_guard<std::mutex> const lock(mMutex);
        mDismissed = true;
    }
    for (auto& member : mMembers)
        if (member->process > 0)
            ::kill(member->process, SIGKILL);
    int status = 0;
    for (auto& member : mMembers)
        if (member->process > 0)
            ended(member->process, status);
}

void Crew::read(Member& member)
{
    std::string why;
    try
    {
        FrameReader reader(member.fd);
        while (auto const frame = reader.next())
        {
            if (frame->kind() == "problem")
            {
                mLost(problemOf(frame->header, member.rank));
                return;
            }
            std::lock_guard<std::mutex> const lock(mMutex);
            member.said.push_back(frame->header);
            mArrived.notify_all();
        }
        why = howEnded(member);
    }
    catch (Failure const& failure)
    {
        why = failure.problem().what;
    }
    {
        std::lock_guard<std::mutex> const lock(mMutex);
        if (mDismissed)
            return;
    }
    mLost({"RUN059", "rank " + std::to_string(member.rank) + " of " + std::to_string(mLeader.ranks()) + " " + why, "rank " + std::to_string(member.rank),
        "the ranks compute every layer together: without one of them there is no answer, and the others would wait for ever",
        "run it again; if the kernel ended it for memory, lower --batch_size or --max_new_tokens, or use more ranks"});
}

std::string Crew::howEnded(Member const& member) const
{
    int status = 0;
    {
        // Dismissed ones are waited for by whoever dismisses them.
        std::unique_lock<std::mutex> const lock(mMutex);
        if (mDismissed)
            return "has ended";
    }
    if (!ended(member.process, status))
        return "does not answer";
    if (WIFSIGNALED(status))
        return "was ended by signal " + std::to_string(WTERMSIG(status));
    return "ended with exit code " + std::to_string(WEXITSTATUS(status));
}
} // namespace mmtrt::runner
