#include "session.h"
#include "clock.h"
#include "plugin_group.h"
#include "problem.h"
#include "resident.h"
#include <algorithm>

namespace mmtrt::runner
{
Session::Session(OpenRequest open, RankPlace const& place, std::shared_ptr<SharedMemory> memory)
    : mOpen(std::move(open))
    , mPlace(place)
{
    mDevice = mOpen.cuda ? openCuda(mOpen.deviceIndex, mOpen.cudaRuntimes) : openHost();
    int64_t const before = mDevice->isHost() ? -residentBytes() : mDevice->freeBytes();
    if (memory != nullptr)
        openLinks(std::move(memory));
    mFactory = mOpen.runtime == RuntimeKind::kTENSORRT ? openTensorRt(*mDevice, mOpen.libraries, mLinks)
                                                       : openOnnxRuntime(*mDevice, mOpen.libraries, mLinks);
    if (mOpen.records)
        mDevice->keepMemory();
    for (auto const& planned : mOpen.engines)
    {
        auto opened = mFactory->open(planned.request);
        checkIo(planned, *opened);
        mEngines[planned.request.name] = std::move(opened);
    }
    if (engine("llm") == nullptr)
        refuseMessage("no engine is called llm");
    mArgmax = std::make_unique<DeviceArgmax>(*mDevice, mOpen.libraries.plugins);
    mEngineBytes = before - (mDevice->isHost() ? -residentBytes() : mDevice->freeBytes());
}

void Session::openLinks(std::shared_ptr<SharedMemory> memory)
{
    mHostLinks = sharedLinks(mPlace, std::move(memory));
    mLinks = mHostLinks.get();
    if (mDevice->isHost())
        return;
    mDeviceLinks = ncclLinks(*mDevice, mPlace, *mHostLinks, mOpen.ncclLibraries);
    mLinks = mDeviceLinks.get();
    joinPluginGroup(mOpen.libraries.plugins, mPlace, *mHostLinks);
}

// An engine of another build would take other numbers for these.
void Session::checkIo(PlannedEngine const& planned, Engine const& engine) const
{
    auto const fail = [&](std::string what)
    {
        throw Failure({"RUN057", std::move(what), planned.request.file, "the engine and the config.json beside it were not written by one build",
            "build the engine directory again"});
    };
    for (auto const& expected : planned.io)
    {
        if (!engine.has(expected.name))
            fail(planned.request.file + " has no " + (expected.isInput ? "input " : "output ") + expected.name);
        auto const& seen = engine.find(expected.name);
        bool fits = seen.isInput == expected.isInput && seen.dtype == expected.dtype && seen.shape.size() == expected.shape.size();
        for (size_t axis = 0; fits && axis < seen.shape.size(); ++axis)
            fits = seen.shape[axis] < 0 || expected.shape[axis] < 0 || seen.shape[axis] == expected.shape[axis];
        if (!fits)
            fail(expected.name + " is " + nameOf(seen.dtype) + " " + show(seen.shape) + "; config.json says " + nameOf(expected.dtype) + " "
                + show(expected.shape));
    }
    for (auto const& seen : engine.io())
        if (std::none_of(planned.io.begin(), planned.io.end(), [&](IoFacts const& one) { return one.name == seen.name; }))
            fail(planned.request.file + " has a value " + seen.name + " that config.json does not list");
}

Engine* Session::engine(char const* name) const noexcept
{
    auto const found = mEngines.find(name);
    return found == mEngines.end() ? nullptr : found->second.get();
}

Json::Object Session::describe() const
{
    auto const& device = mDevice->facts();
    return {{"runtime", mFactory->describe()}, {"device", device.name}, {"sm", device.sm}, {"memory", memory()}};
}

Json Session::memory() const
{
    auto const account = [&](Use use) { return Json(Json::Object{{"bytes", mDevice->used(use)}, {"peak_bytes", mDevice->peak(use)}}); };
    return Json::Object{{"engines", Json::Object{{"bytes", std::max<int64_t>(0, mEngineBytes)}}}, {"kv_cache", account(Use::kCACHE)},
        {"recorded_steps", engine("llm")->recordings()}, {"kept", Json::Object{{"bytes", mDevice->keptBytes()}}}, {"features", account(Use::kFEATURES)}, {"adapters", account(Use::kADAPTERS)}, {"io", account(Use::kIO)},
        {"device_total_bytes", mDevice->facts().totalBytes}, {"device_free_bytes", mDevice->freeBytes()}, {"host_resident_bytes", residentBytes()}};
}

void Session::setConstant(Sent const& sent, char const* bytes)
{
    auto const at = sent.name.rfind('@');
    std::string const name = sent.name.substr(0, at);
    if (at != std::string::npos && sent.name.substr(at + 1) != std::to_string(mPlace.tpRank()))
        return;
    // Of a layer of another pipeline stage.
    if (mPlace.ppSize > 1 && !engine("llm")->has(name))
        return;
    auto const& io = engine("llm")->find(name);
    if (!io.isInput || io.dtype != sent.dtype || io.shape.size() != sent.shape.size())
        refuseMessage(sent.name + " is sent as " + nameOf(sent.dtype) + " " + show(sent.shape));
    mConstants[name] = Buffer(*mDevice, static_cast<int64_t>(sent.bytes), Use::kADAPTERS);
    auto& memory = mConstants[name];
    mDevice->upload(memory.data(), bytes, static_cast<int64_t>(sent.bytes));
    engine("llm")->bind(name, {memory.data(), sent.dtype, sent.shape});
}

// Everything before the first token of an answer is known, which all ranks do alike.
std::unique_ptr<Decoding> Session::begin(GenerateRequest const& request, Course const& course, GenerateResult& result)
{
    auto const rows = static_cast<int32_t>(request.prompts.size());
    mFeatures = Features();
    if (request.images > 0)
    {
        Clock const clock;
        mFeatures = encodeImages(request);
        mDevice->wait();
        result.visualMs = clock.milliseconds();
    }
    course.mayGoOn();
    Clock const clock;
    Features const* const table = request.images > 0 ? &mFeatures : nullptr;
    Attended attended = attend(request, table);
    std::vector<std::vector<int32_t>> begins(request.prompts);
    if (mOpen.startToken)
        begins.assign(begins.size(), {*mOpen.startToken});
    size_t longest = 0;
    for (auto const& prompt : begins)
        longest = std::max(longest, prompt.size());
    // The last token is never cached. Recorded steps have room for every request, so that the next one finds them again.
    int64_t const tokens = static_cast<int64_t>(longest) + request.options.maxNewTokens - 1;
    CacheRoom const room{mOpen.records ? std::max(tokens, mOpen.decoder.mostTokens) : tokens, int64_t{rows} * request.options.numBeams,
        mOpen.records || !mDevice->isHost()};
    RequestRoom const asked{static_cast<int64_t>(longest), rows, request.options.numBeams, request.options.maxNewTokens};
    checkRoom(room, asked);
    try
    {
        auto decoding = std::make_unique<Decoding>(
            *mDevice, *engine("llm"), mOpen.decoder, rows, room, mOpen.startToken ? nullptr : table, std::move(attended), course, mLinks);
        decoding->append(begins);
        mDevice->wait();
        result.prefillMs = clock.milliseconds();
        return decoding;
    }
    catch (OutOfMemory const& failure)
    {
        if (failure.use() != Use::kCACHE)
            throw;
        noCache(failure.problem(), asked);
    }
}

// Before anything is taken: the host promises more than it has, and would be found out many steps later.
void Session::checkRoom(CacheRoom const& room, RequestRoom const& asked) const
{
    // Such a cache grows with its rows, which may end early.
    if (mOpen.decoder.cache == CacheKind::kPAGED && !room.whole)
        return;
    auto const size = cacheSize(*engine("llm"), mOpen.decoder.cache);
    double const tokens = static_cast<double>(size.fixedTokens > 0 ? size.fixedTokens : room.tokens);
    double const bytes = tokens * static_cast<double>(room.rows) * static_cast<double>(size.tokenBytes);
    if (bytes > static_cast<double>(mDevice->freeBytes() + mDevice->keptBytes()))
        noCache(noRoom(*mDevice, static_cast<int64_t>(std::min(bytes, 0x1p62)), Use::kCACHE), asked);
}

void Session::noCache(Problem problem, RequestRoom const& asked) const
{
    problem.fix = cacheAdvice(cacheSize(*engine("llm"), mOpen.decoder.cache), mDevice->freeBytes() + mDevice->keptBytes(), asked);
    throw OutOfMemory(Use::kCACHE, std::move(problem));
}

GenerateResult Session::generate(GenerateRequest const& request, SearchHooks const& hooks, Course const& course)
{
    GenerateResult result;
    auto const decoding = begin(request, course, result);
    auto const search = request.options.numBeams > 1 ? searchBeams : searchTokens;
    SearchHooks own = hooks;
    own.likeliest = [this](Decoding const& of, std::vector<int32_t>& tokens) { return mArgmax->tokens(of, tokens); };
    result.answers = search(*mDevice, *decoding, request.seen, request.options, own);
    return result;
}

void Session::follow(GenerateRequest const& request, Course const& course, std::function<bool(Decoding&)> const& obey)
{
    GenerateResult ignored;
    auto const decoding = begin(request, course, ignored);
    while (obey(*decoding))
        continue;
}
} // namespace mmtrt::runner
