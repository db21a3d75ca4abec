// Ranks that add up their tensors: how a process joins such a group before its engines run. Each rank opens its share on its own device,
// the shares travel by whatever way the processes have, and each connects with all of them.
#pragma once
#include "abi.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MMTRT_MOST_GROUPS 8
#define MMTRT_MOST_RANKS 8

// Bytes to hand to every other rank, as they are.
typedef struct MmtrtShare
{
    unsigned char bytes[256];
} MmtrtShare;

// Both return MmtrtStatus; mmtrt_last_error() says more. `group` is 0 … MMTRT_MOST_GROUPS − 1 and the attribute of the plugin's nodes.
MMTRT_API int32_t mmtrt_group_open(int32_t group, int32_t rank, int32_t size, MmtrtShare* own);
// `all`: of every rank, in order. Returns when all ranks have called it: NCCL, where it is found, meets here.
MMTRT_API int32_t mmtrt_group_connect(int32_t group, MmtrtShare const* all);
MMTRT_API int32_t mmtrt_group_close(int32_t group);

#ifdef __cplusplus
}
#endif
