// The conversation with the Node side: one request at a time, in order.
#pragma once
#include "crew.h"
#include "inbox.h"
#include "session.h"
#include <memory>
#include <optional>

namespace mmtrt::runner
{
// Part of the greeting; another number on the other side is refused there.
constexpr int32_t kPROTOCOL = 2;

class Server
{
public:
    Server(int in, int out)
        : mInbox(in)
        , mWriter(out)
    {
    }

    // Until the other side closes. Gives the process's exit code.
    int32_t serve();

private:
    void handle(Frame const& frame);
    void fatal(Problem const& problem);
    void open(Frame const& frame);
    void startCrew(RankPlace const& place, Json const& header);
    Json ranks();
    void constants(Frame const& frame);
    void generate(Frame const& frame);
    void share(Frame const& frame, GenerateRequest& request);
    Course courseFor(int64_t id, size_t items);
    SearchHooks hooksFor(int64_t id, bool watched, std::vector<double>& stepMs);
    void poll(int64_t id, std::vector<bool>& ended);
    std::vector<bool> ask(int64_t id, int32_t item, std::vector<std::vector<int32_t>> const& answers);
    void send(Json::Object message);

    Inbox mInbox;
    FrameWriter mWriter;
    // The other ranks, of a model of several; they outlive what this one has of it.
    std::unique_ptr<Crew> mCrew;
    std::unique_ptr<Session> mSession;
};
} // namespace mmtrt::runner
