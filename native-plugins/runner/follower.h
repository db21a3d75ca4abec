// A rank that is told what to do by the one that leads (crew.h).
#pragma once
#include <cstdint>

namespace mmtrt::runner
{
// Until the other side closes; gives the process's exit code. `socket` is for messages both ways, `memory` what all ranks share.
int32_t follow(int socket, int memory);
} // namespace mmtrt::runner
