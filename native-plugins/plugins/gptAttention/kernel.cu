// Code for SM 86 serves 89.
#include "context.h"
#include "generate.h"
#include "gptAttention.gen.h"
#include "hopper.h"
#include "layer.cuh"
#include "split_kernel.cuh"

namespace mmtrt::gptAttention
{
namespace
{
enum Cache : int32_t
{
    kCONTINUOUS,
    kSTATIC,
    kPAGED,
};

constexpr int64_t aligned(int64_t bytes) noexcept { return (bytes + 255) / 256 * 256; }

// Tokens that a sequence can have after the call.
int64_t tokensHeld(Sizes const& sizes, int32_t cache) noexcept
{
    return cache == kCONTINUOUS ? sizes.P + sizes.S : cache == kSTATIC ? sizes.P : sizes.NB * sizes.P;
}

// Parts of the workspace, in their order.
struct Workspace
{
    int64_t queries;
    int64_t tokenBits;
    int64_t partials;

    int64_t bytes() const noexcept { return queries + tokenBits + partials; }
};

// For these sizes and for one token: a call with fewer tokens needs no more.
Workspace workspaceOf(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    Workspace workspace{};
    int64_t const heads = attributes.num_heads;
    if (has(call, kCOS))
        workspace.queries = aligned(sizes.B * sizes.S * heads * sizes.D * 2);
    if (has(call, kATTENTION_MASK))
        workspace.tokenBits = aligned(sizes.B * ((sizes.M + 31) / 32) * 4);
    workspace.partials = split::partialBytes(sizes.B, heads, sizes.KH, sizes.D, tokensHeld(sizes, attributes.cache));
    return workspace;
}

// What plugin.yaml cannot say; null when nothing is wrong.
char const* wrong(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    int32_t const cache = attributes.cache;
    int32_t const dtype = call.inputs[kQKV].dtype;
    int32_t const held = call.inputs[kPAST_KEY].dtype;
    bool const codes = held == MMTRT_INT8 || held == MMTRT_FLOAT8;
    if (sizes.D != 64 && sizes.D != 80 && sizes.D != 96 && sizes.D != 128 && sizes.D != 256)
        return "head_dim is not 64, 80, 96, 128 or 256";
    if (!codes && held != dtype)
        return "a cache of another 16-bit type than qkv";
    if (codes && !has(call, kKV_SCALE))
        return "a cache of codes without kv_scale";
    if (cache != kPAGED && sizes.N != sizes.B)
        return "a cache of another batch than qkv";
    if (cache != kCONTINUOUS && (!has(call, kLENGTHS) || has(call, kATTENTION_MASK)))
        return "a static or paged cache takes lengths, and no attention_mask";
    if (cache == kCONTINUOUS && has(call, kATTENTION_MASK) && sizes.M != sizes.P + sizes.S)
        return "attention_mask has other columns than past and new tokens";
    if (has(call, kBLOCK_TABLE) != (cache == kPAGED))
        return "block_table belongs to a paged cache, and to no other";
    if (cache == kPAGED && sizes.P != 16 && sizes.P != 32 && sizes.P != 64 && sizes.P != 128)
        return "blocks of other than 16, 32, 64 or 128 tokens";
    if (has(call, kCACHE_INDIRECTION) && cache != kSTATIC)
        return "cache_indirection with a cache that is not static";
    if (has(call, kCOS) != has(call, kSIN) || (has(call, kCOS) && (sizes.R % 8 != 0 || 2 * sizes.R > sizes.D)))
        return "cos and sin come together, with a multiple of 8 columns, at most head_dim / 2";
    if (has(call, kBIAS) && (sizes.H != attributes.num_heads || sizes.BC < tokensHeld(sizes, cache)))
        return "bias has other heads than qkv, or fewer columns than the cache";
    int64_t const chunks = (attributes.num_heads / attributes.num_kv_heads + split::kHEADS - 1) / split::kHEADS;
    if (sizes.B > 65535 || sizes.KH * chunks > 65535 || tokensHeld(sizes, cache) > INT32_MAX / 2 || sizes.B * sizes.S > INT32_MAX)
        return "more than 65535 sequences or heads, or more than 2^30 tokens";
    return nullptr;
}

template <typename Element>
Element const* inputOf(MmtrtCall const& call, Input input) noexcept
{
    return has(call, input) ? static_cast<Element const*>(call.inputs[input].data) : nullptr;
}

Layer layerOf(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes, Workspace const& parts) noexcept
{
    Layer layer{};
    auto* const workspace = static_cast<char*>(call.workspace);
    layer.qkv = call.inputs[kQKV].data;
    layer.queries = has(call, kCOS) ? workspace : layer.qkv;
    layer.y = call.outputs[kY].data;
    layer.keys = call.outputs[kPRESENT_KEY].data;
    layer.values = call.outputs[kPRESENT_VALUE].data;
    layer.lengths = attributes.cache == kCONTINUOUS ? nullptr : inputOf<int32_t>(call, kLENGTHS);
    layer.blockTable = inputOf<int32_t>(call, kBLOCK_TABLE);
    layer.indirection = inputOf<int32_t>(call, kCACHE_INDIRECTION);
    layer.tokenBits = has(call, kATTENTION_MASK) ? reinterpret_cast<uint32_t const*>(workspace + parts.queries) : nullptr;
    layer.bias = inputOf<void>(call, kBIAS);
    int32_t const held = call.inputs[kPAST_KEY].dtype;
    layer.codes = held == MMTRT_INT8 ? Codes::kINT8 : held == MMTRT_FLOAT8 ? Codes::kFP8 : Codes::kNONE;
    layer.codeScale = inputOf<float>(call, kKV_SCALE);
    layer.biasColumns = sizes.BC;
    layer.qkvStride = sizes.W;
    layer.queryStride = has(call, kCOS) ? attributes.num_heads * sizes.D : sizes.W;
    layer.batch = static_cast<int32_t>(sizes.B);
    layer.seq = static_cast<int32_t>(sizes.S);
    layer.heads = attributes.num_heads;
    layer.kvHeads = attributes.num_kv_heads;
    layer.group = attributes.num_heads / attributes.num_kv_heads;
    layer.headDim = static_cast<int32_t>(sizes.D);
    layer.past = attributes.cache == kCONTINUOUS ? static_cast<int32_t>(sizes.P) : 0;
    layer.capacity = static_cast<int32_t>(attributes.cache == kCONTINUOUS ? sizes.P + sizes.S : sizes.P);
    layer.held = static_cast<int32_t>(tokensHeld(sizes, attributes.cache));
    layer.maxBlocks = static_cast<int32_t>(sizes.NB);
    while ((1 << layer.blockShift) < sizes.P && attributes.cache == kPAGED)
        ++layer.blockShift;
    layer.bitWords = static_cast<int32_t>((sizes.M + 31) / 32);
    layer.window = attributes.window;
    layer.scoreScale = attributes.scale * split::kLOG2_E;
    return layer;
}

int32_t generate(Layer const& layer, bool half, MmtrtCall const& call, Workspace const& parts) noexcept
{
    auto const plan = split::planFor(layer.batch, layer.heads, layer.kvHeads, layer.headDim, layer.held);
    if (plan.splits > 1 && plan.pairs * 4 > kSTATE_BYTES)
        return refused(kNAME, "more sequences and heads than the state has counters");
    int64_t const bytes = static_cast<int64_t>(layer.batch) * layer.kvHeads * layer.held * layer.headDim
        * (layer.codes == Codes::kNONE ? 4 : 2);
    split::Arguments args{};
    args.q = layer.queries;
    args.keys = layer.keys;
    args.values = layer.values;
    args.lengths = layer.lengths;
    args.blockTable = layer.blockTable;
    args.y = layer.y;
    args.partials = reinterpret_cast<float*>(static_cast<char*>(call.workspace) + parts.queries + parts.tokenBits);
    args.counters = static_cast<uint32_t*>(call.state);
    args.scoreScale = layer.scoreScale;
    args.heads = layer.heads;
    args.kvHeads = layer.kvHeads;
    args.group = layer.group;
    args.groupChunks = plan.groupChunks;
    args.capacity = layer.capacity;
    args.maxBlocks = layer.maxBlocks;
    args.splits = plan.splits;
    args.passesBy = bytes < split::kPASSES_BY * cacheBytes();
    args.queryStride = layer.queryStride;
    args.added = 1;
    args.window = layer.window;
    args.blockShift = layer.blockShift;
    args.batch = layer.batch;
    args.tokenBits = layer.tokenBits;
    args.bitWords = layer.bitWords;
    args.indirection = layer.indirection;
    args.bias = layer.bias;
    args.biasColumns = layer.biasColumns;
    args.codeScale = layer.codeScale;
    dim3 const grid(plan.splits, static_cast<uint32_t>(layer.kvHeads * plan.groupChunks), static_cast<uint32_t>(layer.batch));
    auto const stream = static_cast<cudaStream_t>(call.stream);
    return half ? generateHalf(layer.headDim, layer.codes, args, grid, stream) : generateBfloat16(layer.headDim, layer.codes, args, grid, stream);
}

int32_t context(Layer const& layer, bool half, cudaStream_t stream) noexcept
{
    switch (layer.codes)
    {
    case Codes::kINT8: return half ? contextHalfInt8(layer, stream) : contextBfloat16Int8(layer, stream);
    case Codes::kFP8: return half ? contextHalfFp8(layer, stream) : contextBfloat16Fp8(layer, stream);
    case Codes::kNONE: break;
    }
    return half ? contextHalf(layer, stream) : contextBfloat16(layer, stream);
}
} // namespace

int64_t workspaceBytes(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    return workspaceOf(call, sizes, attributes).bytes();
}

int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept
{
    if (sizes.B == 0 || sizes.S == 0)
        return MMTRT_OK;
    if (auto const* const reason = wrong(call, sizes, attributes))
        return refused(kNAME, reason);
    auto const parts = workspaceOf(call, sizes, attributes);
    if (parts.bytes() > call.workspaceBytes)
        return refused(kNAME, "the workspace is smaller than the workspace function says");
    auto layer = layerOf(call, sizes, attributes, parts);
    bool const half = call.inputs[kQKV].dtype == MMTRT_FLOAT16;
    auto const stream = static_cast<cudaStream_t>(call.stream);
    Preparation preparation{};
    if (attributes.cache == kCONTINUOUS)
    {
        preparation.pastKey = call.inputs[kPAST_KEY].data;
        preparation.pastValue = call.inputs[kPAST_VALUE].data;
    }
    preparation.mask = inputOf<int32_t>(call, kATTENTION_MASK);
    preparation.cosine = inputOf<void>(call, kCOS);
    preparation.sine = inputOf<void>(call, kSIN);
    preparation.rotated = static_cast<int32_t>(std::max<int64_t>(sizes.R, 0));
    bool const hopper = sizes.S > 1 && hopperServes(layer, half);
    if (hopper && 2 * sizes.R == sizes.D)
    {
        layer.queries = layer.qkv;
        layer.queryStride = layer.qkvStride;
        layer.cosine = preparation.cosine;
        layer.sine = preparation.sine;
    }
    else if (preparation.cosine != nullptr)
        preparation.queries = call.workspace;
    preparation.tokenBits = const_cast<uint32_t*>(layer.tokenBits);
    if (auto const status = prepare(layer, preparation, half, stream))
        return status;
    if (sizes.S == 1)
        return generate(layer, half, call, parts);
    return hopper ? hopperContext(layer, half, stream) : context(layer, half, stream);
}
} // namespace mmtrt::gptAttention
