// What the message `open` says: the engines of a directory, the model behind them and the libraries that run them.
#pragma once
#include "decoding.h"
#include "engine.h"
#include "frame.h"
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
    std::vector<PlannedEngine> engines;
    DecoderFacts decoder;
    // Images the visual engine takes at once.
    int32_t visualBatch{1};
    // First token of an encoder-decoder's answers.
    std::optional<int32_t> startToken;
};

// Throws Failure RUN050.
OpenRequest readOpen(Json const& header);
GenerateOptions readOptions(Json const& json);
} // namespace mmtrt::runner
