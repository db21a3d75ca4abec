// An engine directory ready to answer: vision encoder, encoder, decoder, cache and adapters on one device.
#pragma once
#include "device_argmax.h"
#include "model.h"
#include "search.h"
#include <functional>
#include <map>
#include <memory>

namespace mmtrt::runner
{
struct GenerateRequest
{
    // Ids ≥ vocab_size are rows of the prompt table; for an encoder-decoder without text each is empty.
    std::vector<std::vector<int32_t>> prompts;
    // What counts as seen before an answer: the prompt with its placeholders, or the start token.
    std::vector<std::vector<int32_t>> seen;
    // Each row's adapter; −1 is none.
    std::vector<int32_t> tasks;
    GenerateOptions options;
    // Pixels [images, channels, height, width] in float32; empty shape without images.
    Shape pixelShape;
    float const* pixels{nullptr};
};

struct GenerateResult
{
    std::vector<Generated> answers;
    double visualMs{0};
    double prefillMs{0};
};

class Session
{
public:
    // Throws Failure RUN052, RUN053, RUN054, RUN056 or RUN057.
    explicit Session(OpenRequest open);

    // Facts of libraries, device and memory, for the message `ready`.
    Json::Object describe() const;
    // Bytes by use, with the most so far.
    Json memory() const;

    // Adapters: inputs of the decoder that are the same in every call.
    void setConstant(Sent const& sent, char const* bytes);
    GenerateResult generate(GenerateRequest const& request, SearchHooks const& hooks);

private:
    void checkIo(PlannedEngine const& planned, Engine const& engine) const;
    Engine* engine(char const* name) const noexcept;

    Features encodeImages(GenerateRequest const& request);
    void toTableDtype(Features& features);
    Attended attend(GenerateRequest const& request, Features const* features);
    View encodePrompts(GenerateRequest const& request, Features const* features, Attended& attended, Buffer& memory);
    View imageRows(size_t rows, Features const* features, Attended& attended);
    void crossKeys(View const& encoded, Attended& attended);

    OpenRequest mOpen;
    std::unique_ptr<Device> mDevice;
    std::unique_ptr<EngineFactory> mFactory;
    std::map<std::string, std::unique_ptr<Engine>> mEngines;
    std::map<std::string, Buffer> mConstants;
    std::unique_ptr<DeviceArgmax> mArgmax;
    int64_t mEngineBytes{0};
    HostInput mEncoderIds, mEncoderMask, mTableVocab, mTasks;
};
} // namespace mmtrt::runner
