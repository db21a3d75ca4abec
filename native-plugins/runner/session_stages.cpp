// The stages before the decoder: pictures to features, prompts to what an encoder-decoder attends to.
#include "problem.h"
#include "session.h"
#include <algorithm>

namespace mmtrt::runner
{
Features Session::encodeImages(GenerateRequest const& request)
{
    Engine* const visual = engine("visual");
    if (visual == nullptr || request.pixelShape.size() != 4)
        refuseMessage("pixels of the shape " + show(request.pixelShape) + " are sent");
    auto const& input = visual->find("input");
    auto const& output = visual->find("output");
    ImageShare const share(request.images, mPlace.rank, mPlace.ranks());
    for (size_t axis = 1; axis < 4; ++axis)
        if (request.pixelShape[0] != share.count || (input.shape.at(axis) >= 0 && input.shape[axis] != request.pixelShape[axis]))
            refuseMessage("pixels of the shape " + show(request.pixelShape) + " are sent to " + show(input.shape));
    int64_t const perImage = elementsOf({request.pixelShape[1], request.pixelShape[2], request.pixelShape[3]});
    int64_t const featureRows = output.shape.at(1);
    int64_t const hidden = output.shape.at(2);
    int64_t const imageBytes = featureRows * hidden * bytesOf(output.dtype);
    Features features;
    features.view = {nullptr, output.dtype, {share.count * featureRows, hidden}};
    features.memory = Buffer(*mDevice, features.view.bytes(), Use::kFEATURES);
    features.view.data = features.memory.data();
    auto const pixels = encodeFloats(request.pixels, static_cast<size_t>(share.count * perImage), input.dtype);
    Buffer const uploaded(*mDevice, static_cast<int64_t>(pixels.size()), Use::kFEATURES);
    mDevice->upload(uploaded.data(), pixels.data(), static_cast<int64_t>(pixels.size()));
    for (int64_t first = 0; first < share.count; first += mOpen.visualBatch)
    {
        int64_t const count = std::min<int64_t>(mOpen.visualBatch, share.count - first);
        Shape shape = request.pixelShape;
        shape[0] = count;
        visual->bind("input", {static_cast<char*>(uploaded.data()) + first * perImage * bytesOf(input.dtype), input.dtype, shape});
        visual->bind("output", {static_cast<char*>(features.memory.data()) + first * imageBytes, output.dtype, {count, featureRows, hidden}});
        visual->run(Phase::kCONTEXT);
    }
    gatherFeatures(features, request.images, imageBytes);
    mDevice->wait();
    toTableDtype(features);
    return features;
}

// All images' features on every rank: each gives room for as many as the first, which has the largest share.
void Session::gatherFeatures(Features& features, int64_t images, int64_t imageBytes)
{
    if (mLinks == nullptr)
        return;
    int64_t const most = ImageShare(images, 0, mPlace.ranks()).count * imageBytes;
    Buffer const own(*mDevice, most, Use::kFEATURES);
    mDevice->copy(own.data(), features.memory.data(), features.view.bytes());
    Buffer const every(*mDevice, most * mPlace.ranks(), Use::kFEATURES);
    mLinks->gatherAll(own.data(), every.data(), most);
    Buffer all(*mDevice, images * imageBytes, Use::kFEATURES);
    for (int32_t rank = 0; rank < mPlace.ranks(); ++rank)
    {
        ImageShare const share(images, rank, mPlace.ranks());
        mDevice->copy(static_cast<char*>(all.data()) + share.first * imageBytes, static_cast<char const*>(every.data()) + rank * most,
            share.count * imageBytes);
    }
    // What was copied from goes with this function.
    mDevice->wait();
    features.view.shape[0] = images * (imageBytes / (features.view.shape[1] * bytesOf(features.view.dtype)));
    features.memory = std::move(all);
    features.view.data = features.memory.data();
}

// The vision encoder may have another dtype than whoever takes its features.
void Session::toTableDtype(Features& features)
{
    Engine const* const taker = engine("encoder") != nullptr ? engine("encoder") : engine("llm");
    Engine const* const cross = engine("cross");
    // Later pipeline stages read hidden states.
    bool const hasTable = taker->has("prompt_embedding_table");
    if (!hasTable && cross == nullptr)
        return;
    Dtype const wanted = hasTable ? taker->find("prompt_embedding_table").dtype : cross->find("encoder_output").dtype;
    if (wanted == features.view.dtype)
        return;
    std::vector<char> bytes(static_cast<size_t>(features.view.bytes()));
    mDevice->download(bytes.data(), features.view.data, features.view.bytes());
    auto const count = static_cast<size_t>(elementsOf(features.view.shape));
    auto const floats = decodeFloats(bytes.data(), count, features.view.dtype);
    auto const converted = encodeFloats(floats.data(), count, wanted);
    features.memory = Buffer(*mDevice, static_cast<int64_t>(converted.size()), Use::kFEATURES);
    mDevice->upload(features.memory.data(), converted.data(), static_cast<int64_t>(converted.size()));
    features.view.data = features.memory.data();
    features.view.dtype = wanted;
}

Attended Session::attend(GenerateRequest const& request, Features const* features)
{
    Attended attended;
    auto const rows = static_cast<int64_t>(request.prompts.size());
    if (engine("llm")->has("lora_task_ids"))
    {
        // Adapter 0 of the stack is "none".
        std::vector<int32_t> ids(request.tasks);
        for (int32_t& id : ids)
            ++id;
        RowTensor tensor(*mDevice, Dtype::kINT32, {rows}, Use::kIO);
        mDevice->upload(tensor.view().data, ids.data(), tensor.view().bytes());
        attended.tensors.emplace_back("lora_task_ids", std::move(tensor));
    }
    if (engine("cross") == nullptr)
        return attended;
    Buffer memory;
    View const encoded = engine("encoder") != nullptr ? encodePrompts(request, features, attended, memory)
                                                      : imageRows(request.prompts.size(), features, attended);
    crossKeys(encoded, attended);
    mDevice->wait();
    return attended;
}

// Prompts are padded on the right.
View Session::encodePrompts(GenerateRequest const& request, Features const* features, Attended& attended, Buffer& memory)
{
    Engine& encoder = *engine("encoder");
    auto const rows = static_cast<int64_t>(request.prompts.size());
    size_t longest = 0;
    for (auto const& prompt : request.prompts)
        longest = std::max(longest, prompt.size());
    std::vector<int32_t> ids(request.prompts.size() * longest);
    std::vector<int32_t> mask(ids.size());
    for (size_t row = 0; row < request.prompts.size(); ++row)
    {
        auto const& prompt = request.prompts[row];
        std::copy(prompt.begin(), prompt.end(), ids.begin() + static_cast<int64_t>(row * longest));
        std::fill_n(mask.begin() + static_cast<int64_t>(row * longest), prompt.size(), 1);
    }
    Shape const shape{rows, static_cast<int64_t>(longest)};
    // Later pipeline stages read hidden states in place of the words.
    if (encoder.has("input_ids"))
        encoder.bind("input_ids", mEncoderIds.set(*mDevice, ids, shape));
    encoder.bind("attention_mask", mEncoderMask.set(*mDevice, mask, shape));
    Buffer empty;
    if (encoder.has("prompt_embedding_table"))
    {
        auto const& io = encoder.find("prompt_embedding_table");
        View table = features != nullptr ? features->view : View{nullptr, io.dtype, {1, io.shape.at(1)}};
        if (features == nullptr)
        {
            empty = Buffer(*mDevice, table.bytes(), Use::kFEATURES);
            mDevice->zero(empty.data(), table.bytes());
            table.data = empty.data();
        }
        encoder.bind("prompt_embedding_table", table);
        encoder.bind("prompt_vocab_size", mTableVocab.set(*mDevice, {std::max(1, mOpen.decoder.featuresPerImage)}, {1}));
        encoder.bind("tasks", mTasks.set(*mDevice, std::vector<int32_t>(request.prompts.size()), {rows, 1}));
    }
    auto const& taken = engine("cross")->find("encoder_output");
    View encoded{nullptr, taken.dtype, {rows, shape[1], taken.shape.at(2)}};
    memory = Buffer(*mDevice, encoded.bytes(), Use::kFEATURES);
    encoded.data = memory.data();
    runEncoder(encoder, encoded);
    RowTensor kept(*mDevice, Dtype::kINT32, shape, Use::kIO);
    mDevice->upload(kept.view().data, mask.data(), kept.view().bytes());
    attended.tensors.emplace_back("encoder_attention_mask", std::move(kept));
    return encoded;
}

// One stage of it; the last has the output, which all ranks attend to.
void Session::runEncoder(Engine& encoder, View const& encoded)
{
    Buffer hidden[2];
    auto const through = [&](char const* name, Buffer& memory)
    {
        View view{nullptr, encoder.find(name).dtype, {encoded.shape[0], encoded.shape[1], encoder.find(name).shape.at(2)}};
        memory = Buffer(*mDevice, view.bytes(), Use::kIO);
        view.data = memory.data();
        encoder.bind(name, view);
        return view;
    };
    if (encoder.has("hidden_states_input"))
    {
        View const from = through("hidden_states_input", hidden[0]);
        mLinks->takeOver(from.data, from.bytes());
    }
    View to;
    if (encoder.has("hidden_states_output"))
        to = through("hidden_states_output", hidden[1]);
    else
        encoder.bind("encoder_output", encoded);
    encoder.run(Phase::kCONTEXT);
    if (to.data != nullptr)
        mLinks->handOn(to.data, to.bytes());
    if (mPlace.ppSize > 1)
        mLinks->broadcast(encoded.data, encoded.bytes(), mPlace.leader());
    mDevice->wait();
}

// The image encoder's features as an encoder's output: [rows, features of an image, hidden].
View Session::imageRows(size_t rows, Features const* features, Attended& attended)
{
    if (features == nullptr || features->view.shape[0] % static_cast<int64_t>(rows) != 0)
        refuseMessage("the decoder attends to one image for each row, and there are others");
    View encoded = features->view;
    int64_t const each = encoded.shape[0] / static_cast<int64_t>(rows);
    encoded.shape = {static_cast<int64_t>(rows), each, encoded.shape[1]};
    std::vector<int32_t> const mask(rows * static_cast<size_t>(each), 1);
    RowTensor kept(*mDevice, Dtype::kINT32, {encoded.shape[0], each}, Use::kIO);
    mDevice->upload(kept.view().data, mask.data(), kept.view().bytes());
    attended.tensors.emplace_back("encoder_attention_mask", std::move(kept));
    return encoded;
}

// Once a request: the keys and values of every layer that answers attend to.
void Session::crossKeys(View const& encoded, Attended& attended)
{
    Engine& cross = *engine("cross");
    cross.bind("encoder_output", encoded);
    for (auto const& io : cross.io())
    {
        if (io.isInput)
            continue;
        RowTensor tensor(*mDevice, io.dtype, {encoded.shape[0], io.shape.at(1), encoded.shape[1], io.shape.at(3)}, Use::kCACHE);
        cross.bind(io.name, tensor.view());
        attended.tensors.emplace_back(io.name, std::move(tensor));
    }
    cross.run(Phase::kCONTEXT);
}
} // namespace mmtrt::runner
