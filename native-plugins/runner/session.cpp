#include "session.h"
#include "clock.h"
#include "problem.h"
#include "resident.h"
#include <algorithm>

namespace mmtrt::runner
{
Session::Session(OpenRequest open)
    : mOpen(std::move(open))
{
    mDevice = mOpen.cuda ? openCuda(mOpen.deviceIndex, mOpen.cudaRuntimes) : openHost();
    int64_t const before = mDevice->isHost() ? -residentBytes() : mDevice->freeBytes();
    mFactory = mOpen.runtime == RuntimeKind::kTENSORRT ? openTensorRt(*mDevice, mOpen.libraries) : openOnnxRuntime(*mDevice, mOpen.libraries);
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
        {"features", account(Use::kFEATURES)}, {"adapters", account(Use::kADAPTERS)}, {"io", account(Use::kIO)},
        {"device_total_bytes", mDevice->facts().totalBytes}, {"device_free_bytes", mDevice->freeBytes()}, {"host_resident_bytes", residentBytes()}};
}

void Session::setConstant(Sent const& sent, char const* bytes)
{
    auto const& io = engine("llm")->find(sent.name);
    if (!io.isInput || io.dtype != sent.dtype || io.shape.size() != sent.shape.size())
        refuseMessage(sent.name + " is sent as " + nameOf(sent.dtype) + " " + show(sent.shape));
    mConstants[sent.name] = Buffer(*mDevice, static_cast<int64_t>(sent.bytes), Use::kADAPTERS);
    auto& memory = mConstants[sent.name];
    mDevice->upload(memory.data(), bytes, static_cast<int64_t>(sent.bytes));
    engine("llm")->bind(sent.name, {memory.data(), sent.dtype, sent.shape});
}

GenerateResult Session::generate(GenerateRequest const& request, SearchHooks const& hooks)
{
    GenerateResult result;
    auto const rows = static_cast<int32_t>(request.prompts.size());
    std::vector<bool> ended(static_cast<size_t>(rows));
    auto const mayStop = [&] { hooks.poll(ended); };
    Features features;
    bool const sees = !request.pixelShape.empty();
    if (sees)
    {
        Clock const clock;
        features = encodeImages(request);
        mDevice->wait();
        result.visualMs = clock.milliseconds();
    }
    mayStop();
    Clock const clock;
    Features const* const table = sees ? &features : nullptr;
    Attended attended = attend(request, table);
    std::vector<std::vector<int32_t>> begins(request.prompts);
    if (mOpen.startToken)
        begins.assign(begins.size(), {*mOpen.startToken});
    size_t longest = 0;
    for (auto const& prompt : begins)
        longest = std::max(longest, prompt.size());
    // The last token is never cached.
    CacheRoom const room{static_cast<int64_t>(longest) + request.options.maxNewTokens - 1, int64_t{rows} * request.options.numBeams};
    Decoding decoding(*mDevice, *engine("llm"), mOpen.decoder, rows, room, mOpen.startToken ? nullptr : table, std::move(attended), mayStop);
    decoding.append(begins);
    mDevice->wait();
    result.prefillMs = clock.milliseconds();
    auto const search = request.options.numBeams > 1 ? searchBeams : searchTokens;
    SearchHooks own = hooks;
    own.likeliest = [this](Decoding const& of, std::vector<int32_t>& tokens) { return mArgmax->tokens(of, tokens); };
    result.answers = search(*mDevice, decoding, request.seen, request.options, own);
    return result;
}
} // namespace mmtrt::runner
