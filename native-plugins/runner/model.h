// What the message `open` says: the engines of a directory, the model behind them and the libraries that run them.
#pragma once
#include "decoding.h"
#include "engine.h"
#include "frame.h"
#include "links.h"
#include "options.h"
#include <optional>
#include <string>
#include <vector>

namespace mmtrt::runner
{
enum class RuntimeKind
{
    kONNXRUNTIME,
    kTENSORRT,
};

struct PlannedEngine
{
    EngineRequest request;
    // As config.json lists them; what the engine itself has must be the same.
    std::vector<IoFacts> io;
};

struct OpenRequest
{
    bool cuda{false};
    int32_t deviceIndex{0};
    RuntimeKind runtime{RuntimeKind::kONNXRUNTIME};
    EngineLibraries libraries;
    std::vector<std::string> cudaRuntimes;
    std::vector<std::string> ncclLibraries;
    // Of one rank.
    std::vector<PlannedEngine> engines;
    DecoderFacts decoder;
    // Decode steps are recorded.
    bool records{false};
    // Images the visual engine takes at once.
    int32_t visualBatch{1};
    // First token of an encoder-decoder's answers.
    std::optional<int32_t> startToken;
};

// Each throws Failure RUN050. A rank's GPU is as many behind the named one as its number.
OpenRequest readOpen(Json const& header, int32_t rank);
// Of the rank that `rank` names, or else of the one that leads.
RankPlace readPlace(Json const& header);
GenerateOptions readOptions(Json const& json);
} // namespace mmtrt::runner
