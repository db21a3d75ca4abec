#include "model.h"
#include "problem.h"
#include <cmath>

namespace mmtrt::runner
{
namespace
{
constexpr int64_t kMOST_TOKENS = 1 << 28;
constexpr size_t kMOST_VALUES = 100000;

std::vector<std::string> textList(Json const& json, char const* name)
{
    std::vector<std::string> texts;
    for (Json const& one : json.list(name))
        texts.push_back(one.text(name));
    return texts;
}

std::vector<IoFacts> readIo(Json const& json)
{
    std::vector<IoFacts> io;
    for (Json const& one : json.list("io"))
    {
        IoFacts facts;
        facts.name = one.get("name").text("a value's name");
        facts.isInput = one.get("kind").text("a value's kind") == "input";
        facts.dtype = dtypeOf(one.get("dtype").text("a value's dtype"));
        for (Json const& size : one.get("shape").list("a value's shape"))
            facts.shape.push_back(size.integer("a value's size", -1, int64_t{1} << 40));
        io.push_back(std::move(facts));
    }
    if (io.size() > kMOST_VALUES)
        refuseMessage("an engine has more than 100000 inputs and outputs");
    return io;
}

PlannedEngine readEngine(Json const& json)
{
    PlannedEngine engine;
    engine.request.name = json.get("name").text("an engine's name");
    engine.request.file = json.get("file").text("an engine's file");
    engine.request.profiles = textList(json.get("profiles"), "profiles");
    engine.request.keepsQuantizedApart = json.get("keeps_quantized_apart").flag("keeps_quantized_apart");
    engine.request.recordsSteps = json.get("records_steps").flag("records_steps");
    engine.io = readIo(json.get("io"));
    return engine;
}

DecoderFacts readDecoder(Json const& model)
{
    DecoderFacts facts;
    facts.cache = cacheKindOf(model.get("kv_cache_type").text("kv_cache_type"));
    facts.vocab = static_cast<int32_t>(model.get("vocab").integer("vocab", 1, 1 << 26));
    facts.piece = static_cast<int32_t>(model.get("piece").integer("piece", 1, INT32_MAX));
    facts.blockTokens = static_cast<int32_t>(model.get("block_tokens").integer("block_tokens", 1, 1 << 20));
    facts.keeps = static_cast<int32_t>(model.get("keeps").integer("keeps", 0, INT32_MAX));
    facts.spansPrompt = model.get("spans_prompt").flag("spans_prompt");
    facts.mostTokens = model.get("most_tokens").integer("most_tokens", 1, kMOST_TOKENS);
    facts.featuresPerImage = static_cast<int32_t>(model.get("features_per_image").integer("features_per_image", 0, 1 << 24));
    return facts;
}

double finite(Json const& json, char const* name, double least, double most)
{
    double const value = json.get(name).number(name);
    if (!(value >= least && value <= most))
        refuseMessage(std::string(name) + " of a message is out of range");
    return value;
}
} // namespace

OpenRequest readOpen(Json const& header, int32_t rank)
{
    OpenRequest open;
    std::string const device = header.get("device").text("device");
    if (device != "cpu" && device != "cuda")
        refuseMessage("a device is called " + device.substr(0, 40));
    open.cuda = device == "cuda";
    open.deviceIndex = static_cast<int32_t>(header.get("device_index").integer("device_index", 0, 1023)) + rank;
    std::string const runtime = header.get("runtime").text("runtime");
    if (runtime != "onnxruntime" && runtime != "tensorrt")
        refuseMessage("a runtime is called " + runtime.substr(0, 40));
    open.runtime = runtime == "tensorrt" ? RuntimeKind::kTENSORRT : RuntimeKind::kONNXRUNTIME;
    open.libraries.runtime = textList(header.get("runtime_libraries"), "runtime_libraries");
    open.libraries.plugins = header.get("plugins").text("plugins");
    open.cudaRuntimes = textList(header.get("cuda_runtimes"), "cuda_runtimes");
    open.ncclLibraries = textList(header.get("nccl_libraries"), "nccl_libraries");
    auto const threads = static_cast<int32_t>(header.get("threads").integer("threads", 0, 1024));
    auto const& ranks = header.get("ranks").list("ranks");
    if (static_cast<size_t>(rank) >= ranks.size())
        refuseMessage("there are engines of " + std::to_string(ranks.size()) + " ranks and none of rank " + std::to_string(rank));
    for (Json const& one : ranks[static_cast<size_t>(rank)].list("a rank's engines"))
    {
        open.engines.push_back(readEngine(one));
        open.engines.back().request.threads = threads;
        open.engines.back().request.oneOfMany = ranks.size() > 1;
        open.records = open.records || open.engines.back().request.recordsSteps;
    }
    Json const& model = header.get("model");
    open.decoder = readDecoder(model);
    open.visualBatch = static_cast<int32_t>(model.get("visual_batch").integer("visual_batch", 1, 1 << 20));
    if (Json const& start = model.get("start_token"); !start.isNull())
        open.startToken = static_cast<int32_t>(start.integer("start_token", 0, INT32_MAX));
    return open;
}

RankPlace readPlace(Json const& header)
{
    RankPlace place;
    auto const count = [&](char const* name) { return static_cast<int32_t>(header.get(name).integer(name, 1, 64)); };
    place.tpSize = count("tp_size");
    place.ppSize = count("pp_size");
    if (place.ranks() > 64 || header.get("ranks").list("ranks").size() != static_cast<size_t>(place.ranks()))
        refuseMessage("there are engines of " + std::to_string(header.get("ranks").list("ranks").size()) + " ranks; expected "
            + std::to_string(place.tpSize) + " × " + std::to_string(place.ppSize) + ", 64 at most");
    Json const& rank = header.get("rank");
    place.rank = rank.isNull() ? place.leader() : static_cast<int32_t>(rank.integer("rank", 0, place.ranks() - 1));
    return place;
}

GenerateOptions readOptions(Json const& json)
{
    auto const count = [&](char const* name, int64_t least, int64_t most) { return static_cast<int32_t>(json.get(name).integer(name, least, most)); };
    auto const token = [&](char const* name) -> std::optional<int32_t>
    { return json.get(name).isNull() ? std::nullopt : std::optional<int32_t>(count(name, 0, INT32_MAX)); };
    GenerateOptions options;
    options.maxNewTokens = count("max_new_tokens", 1, kMOST_TOKENS);
    options.minNewTokens = count("min_new_tokens", 0, kMOST_TOKENS);
    options.numBeams = count("num_beams", 1, 4096);
    options.topK = count("top_k", 0, kMOST_TOKENS);
    options.topP = finite(json, "top_p", 0, 1);
    options.temperature = finite(json, "temperature", 1e-300, 1e6);
    options.repetitionPenalty = finite(json, "repetition_penalty", 1e-300, 1e6);
    options.noRepeatNgramSize = count("no_repeat_ngram_size", 0, kMOST_TOKENS);
    options.lengthPenalty = finite(json, "length_penalty", -1000, 1000);
    options.earlyStopping = json.get("early_stopping").flag("early_stopping");
    options.seed = static_cast<uint64_t>(json.get("seed").integer("seed", 0, int64_t{1} << 53));
    options.eosTokenIds = int32List(json.get("eos_token_ids"), "eos_token_ids", 0, INT32_MAX);
    options.forcedBosTokenId = token("forced_bos_token_id");
    options.forcedEosTokenId = token("forced_eos_token_id");
    return options;
}
} // namespace mmtrt::runner
