#pragma once
#include "json.h"
#include "problem.h"

namespace mmtrt::runner
{
inline Json problemJson(Problem const& problem)
{
    return Json::Object{{"code", problem.code}, {"what", problem.what}, {"at", problem.at}, {"why", problem.why}, {"fix", problem.fix}};
}

inline Problem const kNO_HOST_MEMORY{"RUN054", "the machine has no memory left for the request", "mmtrt-runner",
    "logits, tokens and pictures are kept in the host's memory beside the device's", "lower --batch_size or --num_beams, or give fewer images at once"};
} // namespace mmtrt::runner
