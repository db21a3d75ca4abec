// A warp copies a row, 16 bytes a lane.
// Code for SM 80 serves 86 and 89.
#include "device.cuh"
#include "error.h"
#include "promptTuningEmbedding.gen.h"

namespace mmtrt::promptTuningEmbedding
{
namespace
{
constexpr int32_t kWARPS = 4;

struct Arguments
{
    int32_t const* ids;
    uint4 const* weight;
    uint4 const* table;
    int32_t const* tasks;
    int32_t const* promptVocabSize;
    uint4* y;
    int64_t tokens;
    int64_t seq;
    int64_t vocabSize;
    int64_t tableRows;
    int32_t vectors;
};

__global__ void embeddingKernel(Arguments const args)
{
    int64_t const token = static_cast<int64_t>(blockIdx.x) * kWARPS + threadIdx.x / 32;
    if (token >= args.tokens)
        return;
    int64_t const id = args.ids[token];
    uint4 const* source = nullptr;
    if (id >= 0 && id < args.vocabSize)
        source = args.weight + id * args.vectors;
    else if (id >= args.vocabSize)
    {
        int64_t const row = id - args.vocabSize + static_cast<int64_t>(args.tasks[token / args.seq]) * *args.promptVocabSize;
        if (row >= 0 && row < args.tableRows)
            source = args.table + row * args.vectors;
    }
    // An id of no row: NaN, which shows at once; any row of ours would be a wrong answer that looks like one.
    uint4 const nothing = make_uint4(kFULL_WARP, kFULL_WARP, kFULL_WARP, kFULL_WARP);
    for (int32_t v = threadIdx.x % 32; v < args.vectors; v += 32)
        args.y[token * args.vectors + v] = source == nullptr ? nothing : __ldg(source + v);
}
} // namespace

int64_t workspaceBytes(MmtrtCall const&, Sizes const&, Attributes const&) noexcept
{
    return 0;
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const&) noexcept
{
    int64_t const tokens = sizes.B * sizes.S;
    if (tokens == 0)
        return MMTRT_OK;
    if (tokens > INT32_MAX)
        return refused(kNAME, "more than 2^31 tokens");
    Arguments const args{static_cast<int32_t const*>(call.inputs[kINPUT_IDS].data),
        static_cast<uint4 const*>(call.inputs[kWEIGHT].data), static_cast<uint4 const*>(call.inputs[kTABLE].data),
        static_cast<int32_t const*>(call.inputs[kTASKS].data),
        static_cast<int32_t const*>(call.inputs[kPROMPT_VOCAB_SIZE].data), static_cast<uint4*>(call.outputs[kY].data),
        tokens, sizes.S, sizes.V, sizes.R, static_cast<int32_t>(sizes.H / 8)};
    auto const blocks = static_cast<uint32_t>((tokens + kWARPS - 1) / kWARPS);
    embeddingKernel<<<blocks, kWARPS * 32, 0, static_cast<cudaStream_t>(call.stream)>>>(args);
    return checked(kNAME, cudaGetLastError());
}
} // namespace mmtrt::promptTuningEmbedding
