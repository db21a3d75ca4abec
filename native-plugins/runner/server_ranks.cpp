// What the server does where the model has several ranks: it starts them, and tells them of requests and of each thing that comes next.
#include "server.h"
#include <cstdlib>
#include <unistd.h>

namespace mmtrt::runner
{
// Every rank is told all there is about the model, and which rank it is.
void Server::startCrew(RankPlace const& place, Json const& header)
{
    mCrew = std::make_unique<Crew>(place,
        [this](Problem const& problem)
        {
            fatal(problem);
            // One may be lost while the others are still being started.
            if (mCrew != nullptr)
                mCrew->kill();
            std::_Exit(1);
        });
    for (int32_t rank = 0; rank < place.ranks(); ++rank)
    {
        Json::Object own = header.object("a message");
        own.emplace_back("rank", rank);
        mCrew->tell(rank, std::move(own), nullptr, 0);
    }
}

// Once all are ready: what each of them is.
Json Server::ranks()
{
    auto const answers = mCrew->answers();
    Json::Array all;
    for (auto const& answer : answers)
        if (answer.isNull())
            all.emplace_back(Json::Object{{"pid", getpid()}, {"device", mSession->device()}, {"memory", mSession->memory()}});
        else
            all.emplace_back(Json::Object{{"pid", answer.get("pid")}, {"device", answer.get("device")}, {"memory", answer.get("memory")}});
    return all;
}

// The request for every rank, each with its share of the pictures; this one keeps its own.
void Server::share(Frame const& frame, GenerateRequest& request)
{
    auto const& place = mCrew->place();
    int64_t const imageBytes = request.images == 0 ? 0 : static_cast<int64_t>(frame.payload.size()) / request.images;
    for (int32_t rank = 0; rank < place.ranks(); ++rank)
    {
        ImageShare const part(request.images, rank, place.ranks());
        Json::Object own;
        for (auto const& [key, value] : frame.header.object("a message"))
            if (key != "tensors" && key != "images")
                own.emplace_back(key, value);
        if (request.images > 0)
        {
            own.emplace_back("images", request.images);
            Json::Array shape{part.count};
            shape.insert(shape.end(), {request.pixelShape[1], request.pixelShape[2], request.pixelShape[3]});
            own.emplace_back("tensors", Json::Array{Json::Object{{"name", "pixels"}, {"dtype", "float32"}, {"shape", std::move(shape)}}});
        }
        mCrew->tell(rank, std::move(own), frame.payload.data() + part.first * imageBytes, static_cast<size_t>(part.count * imageBytes));
    }
    if (request.images == 0)
        return;
    ImageShare const mine(request.images, place.rank, place.ranks());
    request.pixelShape[0] = mine.count;
    request.pixels += mine.first * (imageBytes / static_cast<int64_t>(sizeof(float)));
}

Course Server::courseFor(int64_t id, size_t items)
{
    Course course;
    course.mayGoOn = [this, id, items]
    {
        std::vector<bool> ended(items);
        try
        {
            poll(id, ended);
        }
        catch (Cancelled const&)
        {
            if (mCrew != nullptr)
                mCrew->tell({{"kind", "stop"}});
            throw;
        }
        if (mCrew != nullptr)
            mCrew->tell({{"kind", "go"}});
    };
    if (mCrew == nullptr)
        return course;
    course.steps = [this](std::vector<int32_t> const& tokens) { mCrew->tell({{"kind", "step"}, {"tokens", toJson(tokens)}}); };
    course.selects = [this](std::vector<int32_t> const& rows) { mCrew->tell({{"kind", "select"}, {"rows", toJson(rows)}}); };
    return course;
}
} // namespace mmtrt::runner
