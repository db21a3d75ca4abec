// An engine directory ready to answer: vision encoder, encoder, decoder, cache and adapters on one device.
#pragma once
#include "advice.h"
#include "device_argmax.h"
#include "links.h"
#include "model.h"
#include "request.h"
#include "search.h"
#include <functional>
#include <map>
#include <memory>

namespace mmtrt::runner
{
struct GenerateResult
{
    std::vector<Generated> answers;
    double visualMs{0};
    double prefillMs{0};
};

class Session
{
public:
    // One rank of a model; `memory` is what all ranks share, null where there is one. Throws Failure RUN052 to RUN054, RUN056, RUN057 or
    // RUN059.
    Session(OpenRequest open, RankPlace const& place, std::shared_ptr<SharedMemory> memory);

    // Facts of libraries, device and memory, for the message `ready`.
    Json::Object describe() const;
    std::string const& device() const noexcept { return mDevice->facts().name; }
    // Bytes by use, with the most so far.
    Json memory() const;

    // Adapters: inputs of the decoder that are the same in every call. `name@2` is of the tensor-parallel rank 2 alone.
    void setConstant(Sent const& sent, char const* bytes);
    GenerateResult generate(GenerateRequest const& request, SearchHooks const& hooks, Course const& course);
    // The same of a rank that does not search: `obey` does the next thing with what is decoded, until it gives false.
    void follow(GenerateRequest const& request, Course const& course, std::function<bool(Decoding&)> const& obey);

private:
    void openLinks(std::shared_ptr<SharedMemory> memory);
    std::unique_ptr<Decoding> begin(GenerateRequest const& request, Course const& course, GenerateResult& result);
    void checkRoom(CacheRoom const& room, RequestRoom const& asked) const;
    [[noreturn]] void noCache(Problem problem, RequestRoom const& asked) const;
    void checkIo(PlannedEngine const& planned, Engine const& engine) const;
    Engine* engine(char const* name) const noexcept;

    Features encodeImages(GenerateRequest const& request);
    void gatherFeatures(Features& features, int64_t images, int64_t imageBytes);
    void toTableDtype(Features& features);
    Attended attend(GenerateRequest const& request, Features const* features);
    View encodePrompts(GenerateRequest const& request, Features const* features, Attended& attended, Buffer& memory);
    void runEncoder(Engine& encoder, View const& encoded);
    View imageRows(size_t rows, Features const* features, Attended& attended);
    void crossKeys(View const& encoded, Attended& attended);

    OpenRequest mOpen;
    RankPlace mPlace;
    std::unique_ptr<Device> mDevice;
    // Between the hosts, and between the devices, which are the same on the CPU; none for one rank.
    std::unique_ptr<Links> mHostLinks, mDeviceLinks;
    Links* mLinks{nullptr};
    std::unique_ptr<EngineFactory> mFactory;
    std::map<std::string, std::unique_ptr<Engine>> mEngines;
    std::map<std::string, Buffer> mConstants;
    // Visual features of the batch under way.
    Features mFeatures;
    std::unique_ptr<DeviceArgmax> mArgmax;
    int64_t mEngineBytes{0};
    HostInput mEncoderIds, mEncoderMask, mTableVocab, mTasks;
};
} // namespace mmtrt::runner
