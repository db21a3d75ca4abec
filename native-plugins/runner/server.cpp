#include "server.h"
#include "problem_json.h"
#include "version.h"
#include <new>
#include <unistd.h>

namespace mmtrt::runner
{
namespace
{
// What goes wrong in one rank's part leaves the others waiting; what the search finds wrong does not.
bool leavesOthersWaiting(Problem const& problem) { return problem.code != "NUM001"; }

Json outputs(std::vector<Generated> const& answers)
{
    Json::Array list;
    for (auto const& answer : answers)
    {
        Json::Object one{{"token_ids", toJson(answer.tokens)}, {"finish_reason", answer.stopped ? "stop" : "length"}};
        if (answer.score)
            one.emplace_back("score", *answer.score);
        list.emplace_back(std::move(one));
    }
    return list;
}

Json numbers(std::vector<double> const& values)
{
    Json::Array list;
    for (double const value : values)
        list.emplace_back(value);
    return list;
}
// The other ranks leave a request when this one does, however it ends.
class Together
{
public:
    explicit Together(Crew* crew) noexcept
        : mCrew(crew)
    {
    }
    Together(Together const&) = delete;
    Together& operator=(Together const&) = delete;
    ~Together()
    {
        if (mCrew != nullptr)
            mCrew->tell({{"kind", "end"}});
    }

private:
    Crew* mCrew;
};
} // namespace

int32_t Server::serve()
{
    try
    {
        Json::Array engines;
        for (auto const& kind : engineKinds())
            engines.emplace_back(kind);
        send({{"kind", "hello"}, {"protocol", kPROTOCOL}, {"version", kVERSION}, {"pid", getpid()}, {"engines", engines}});
        while (auto const frame = mInbox.next())
            handle(*frame);
    }
    catch (Cancelled const&)
    {
        // Whoever asked is gone.
    }
    catch (Failure const& failure)
    {
        fatal(failure.problem());
        if (mCrew != nullptr)
            mCrew->kill();
        return 1;
    }
    mCrew.reset();
    return 0;
}

void Server::fatal(Problem const& problem) { mWriter.write({{"kind", "problem"}, {"fatal", true}, {"problems", Json::Array{problemJson(problem)}}}); }

// What the other side got wrong ends the conversation; what went wrong with a request ends the request.
void Server::handle(Frame const& frame)
{
    auto const kind = frame.kind();
    auto const answer = [&](Problem const& problem)
    {
        Json::Object message{{"kind", "problem"}, {"fatal", false}, {"problems", Json::Array{problemJson(problem)}}};
        if (!frame.header.get("id").isNull())
            message.emplace_back("id", frame.header.get("id"));
        send(std::move(message));
    };
    try
    {
        if (kind == "open")
            open(frame);
        else if (kind == "constants")
            constants(frame);
        else if (kind == "generate")
            generate(frame);
        else if (kind != "end" && kind != "cancel" && kind != "verdict")
            // Those three may come for a request that has just ended.
            refuseMessage("a message is of the kind " + kind.substr(0, 40));
    }
    catch (Failure const& failure)
    {
        if (failure.problem().code == "RUN050" || (mCrew != nullptr && leavesOthersWaiting(failure.problem())))
            throw;
        answer(failure.problem());
    }
    catch (std::bad_alloc const&)
    {
        if (mCrew != nullptr)
            throw Failure(kNO_HOST_MEMORY);
        answer(kNO_HOST_MEMORY);
    }
}

void Server::open(Frame const& frame)
{
    mSession.reset();
    mCrew.reset();
    auto const place = readPlace(frame.header);
    auto request = readOpen(frame.header, place.rank);
    if (place.ranks() > 1)
        startCrew(place, frame.header);
    mSession = std::make_unique<Session>(std::move(request), place, mCrew == nullptr ? nullptr : mCrew->memory());
    Json::Object message{{"kind", "ready"}};
    for (auto& member : mSession->describe())
        message.push_back(std::move(member));
    if (mCrew != nullptr)
        message.emplace_back("ranks", ranks());
    send(std::move(message));
}

void Server::constants(Frame const& frame)
{
    if (mSession == nullptr)
        refuseMessage("constants come before open");
    for (int32_t rank = 0; mCrew != nullptr && rank < mCrew->place().ranks(); ++rank)
        mCrew->tell(rank, frame.header.object("a message"), frame.payload.data(), frame.payload.size());
    for (auto const& tensor : frame.tensors)
        mSession->setConstant(tensor, frame.payload.data() + tensor.offset);
    if (mCrew != nullptr)
        mCrew->answers();
    send({{"kind", "kept"}, {"count", frame.tensors.size()}});
}

void Server::generate(Frame const& frame)
{
    if (mSession == nullptr)
        refuseMessage("a request comes before open");
    int64_t const id = requestId(frame);
    std::vector<double> stepMs;
    try
    {
        auto request = readRequest(frame);
        if (mCrew != nullptr)
            share(frame, request);
        Together const together(mCrew.get());
        auto const hooks = hooksFor(id, frame.header.get("watched").flag("watched"), stepMs);
        auto const result = mSession->generate(request, hooks, courseFor(id, request.prompts.size()));
        send({{"kind", "result"}, {"id", id}, {"outputs", outputs(result.answers)}, {"visual_ms", result.visualMs}, {"prefill_ms", result.prefillMs},
            {"decode_ms", numbers(stepMs)}, {"memory", mSession->memory()}});
    }
    catch (Cancelled const&)
    {
        send({{"kind", "cancelled"}, {"id", id}});
    }
}

SearchHooks Server::hooksFor(int64_t id, bool watched, std::vector<double>& stepMs)
{
    SearchHooks hooks;
    hooks.onStep = [&stepMs](double ms) { stepMs.push_back(ms); };
    hooks.poll = [this, id](std::vector<bool>& ended) { poll(id, ended); };
    hooks.onTokens = [this, id](std::vector<std::pair<int32_t, int32_t>> const& chosen)
    {
        std::vector<int32_t> items;
        std::vector<int32_t> tokens;
        for (auto const& [item, token] : chosen)
        {
            items.push_back(item);
            tokens.push_back(token);
        }
        send({{"kind", "tokens"}, {"id", id}, {"items", toJson(items)}, {"tokens", toJson(tokens)}});
    };
    if (watched)
        hooks.endsAnswer = [this, id](int32_t item, std::vector<std::vector<int32_t>> const& answers) { return ask(id, item, answers); };
    return hooks;
}

// What has come for this request meanwhile.
void Server::poll(int64_t id, std::vector<bool>& ended)
{
    while (auto const frame = mInbox.poll())
    {
        auto const kind = frame->kind();
        if (kind != "cancel" && kind != "end")
            refuseMessage("a message of the kind " + kind.substr(0, 40) + " comes while a request runs");
        if (requestId(*frame) != id)
            continue;
        if (kind == "cancel")
            throw Cancelled();
        ended[static_cast<size_t>(frame->header.get("item").integer("item", 0, static_cast<int64_t>(ended.size()) - 1))] = true;
    }
}

std::vector<bool> Server::ask(int64_t id, int32_t item, std::vector<std::vector<int32_t>> const& answers)
{
    Json::Array list;
    for (auto const& answer : answers)
        list.push_back(toJson(answer));
    send({{"kind", "ask"}, {"id", id}, {"item", item}, {"answers", list}});
    while (auto const frame = mInbox.next())
    {
        auto const kind = frame->kind();
        if (requestId(*frame) != id)
            continue;
        if (kind == "cancel")
            throw Cancelled();
        if (kind != "verdict")
            refuseMessage("a message of the kind " + kind.substr(0, 40) + " comes in place of a verdict");
        auto const& ends = frame->header.get("ends").list("ends");
        if (ends.size() != answers.size())
            refuseMessage("a verdict is about " + std::to_string(ends.size()) + " answers; " + std::to_string(answers.size()) + " were asked about");
        std::vector<bool> verdict;
        for (Json const& one : ends)
            verdict.push_back(one.flag("ends"));
        return verdict;
    }
    throw Cancelled();
}

void Server::send(Json::Object message)
{
    if (!mWriter.write(std::move(message)))
        throw Cancelled();
}
} // namespace mmtrt::runner
