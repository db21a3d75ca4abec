#include "follower.h"
#include "inbox.h"
#include "problem_json.h"
#include "session.h"
#include <csignal>
#include <new>
#include <sys/prctl.h>
#include <unistd.h>

namespace mmtrt::runner
{
namespace
{
class Follower
{
public:
    Follower(int socket, int memory)
        : mInbox(socket)
        , mWriter(socket)
        , mMemoryFd(memory)
    {
    }

    void serve()
    {
        while (auto const frame = mInbox.next())
        {
            auto const kind = frame->kind();
            if (kind == "open")
                open(*frame);
            else if (kind == "constants")
                constants(*frame);
            else if (kind == "generate")
                generate(*frame);
            // What else comes is about a request that this rank has left already.
        }
    }

    void tell(Problem const& problem) { mWriter.write({{"kind", "problem"}, {"problems", Json::Array{problemJson(problem)}}}); }

private:
    void open(Frame const& frame)
    {
        auto const place = readPlace(frame.header);
        auto memory = std::make_shared<SharedMemory>(mMemoryFd, SharedMemory::bytesFor(place));
        mSession = std::make_unique<Session>(readOpen(frame.header, place.rank), place, std::move(memory));
        Json::Object message{{"kind", "ready"}, {"pid", getpid()}};
        for (auto& member : mSession->describe())
            message.push_back(std::move(member));
        mWriter.write(std::move(message));
    }

    void constants(Frame const& frame)
    {
        for (auto const& tensor : frame.tensors)
            session().setConstant(tensor, frame.payload.data() + tensor.offset);
        mWriter.write({{"kind", "kept"}});
    }

    void generate(Frame const& frame)
    {
        auto const request = readRequest(frame);
        Course course;
        course.mayGoOn = [this]
        {
            auto const next = mInbox.next();
            if (!next || next->kind() != "go")
                throw Cancelled();
        };
        try
        {
            session().follow(request, course, [this](Decoding& decoding) { return obey(decoding); });
        }
        catch (Cancelled const&)
        {
            // The leader has told why; what comes next is another request.
        }
    }

    // Does the next thing that the leader does; false at the request's end.
    bool obey(Decoding& decoding)
    {
        auto const frame = mInbox.next();
        if (!frame || frame->kind() == "end")
            return false;
        if (frame->kind() == "step")
            decoding.step(int32List(frame->header.get("tokens"), "a token id", 0, INT32_MAX));
        else if (frame->kind() == "select")
            decoding.select(int32List(frame->header.get("rows"), "a row", 0, decoding.rows() - 1));
        else
            refuseMessage("a rank is told " + frame->kind().substr(0, 40) + " within a request");
        return true;
    }

    Session& session()
    {
        if (mSession == nullptr)
            refuseMessage("a rank is asked before it is opened");
        return *mSession;
    }

    Inbox mInbox;
    FrameWriter mWriter;
    int mMemoryFd;
    std::unique_ptr<Session> mSession;
};
} // namespace

int32_t follow(int socket, int memory)
{
    // A rank alone is of no use to anybody, even where it is inside a call that takes long.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // Not given back: the thread that reads may still hold its inbox when the process ends.
    auto* const follower = new Follower(socket, memory);
    try
    {
        follower->serve();
        return 0;
    }
    catch (Failure const& failure)
    {
        follower->tell(failure.problem());
    }
    catch (std::bad_alloc const&)
    {
        follower->tell(kNO_HOST_MEMORY);
    }
    return 1;
}
} // namespace mmtrt::runner
