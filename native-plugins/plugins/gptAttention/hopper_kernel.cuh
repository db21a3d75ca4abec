// Attention of many queries on Hopper: wgmma, with one group of four warps that copies and two that compute.
//
// A block owns 128 queries of one head, 64 for each computing group, and walks back over tiles of 128 tokens. The copying group
// fills two stages of keys and two of values through cp.async (so that pages, beams and padding are what they are for mma.sync)
// and announces a stage when its own copies are there. A computing group starts the product of the next tile's scores, then that
// of the last tile's probabilities with its values, and makes the next probabilities while the second runs; the tensor cores
// have the other group's products meanwhile. Queries stay in registers.
#pragma once
#include "barrier.cuh"
#include "hopper_mma.cuh"
#include "launch.cuh"
#include "softmax.cuh"
#include "tile.cuh"

namespace mmtrt::gptAttention::hopper
{
inline constexpr int32_t kGROUP = 128;
inline constexpr int32_t kTHREADS = 3 * kGROUP;
inline constexpr int32_t kQUERIES = 128;
inline constexpr int32_t kTOKENS = 128;
inline constexpr int32_t kSTAGES = 2;
// Bytes of 64 elements of a tile's tokens.
inline constexpr uint32_t kPANEL = kTOKENS * 128;

template <int32_t kD>
inline constexpr uint32_t kTILE_BYTES = kD / 64 * kPANEL;
// Keys' stages, values' stages, then the barriers; 1024 to begin at a multiple of as many.
template <int32_t kD>
inline constexpr int32_t kSHARED_BYTES = static_cast<int32_t>(2 * kSTAGES * kTILE_BYTES<kD> + 1024 + 4 * kSTAGES * 8);

// Static shared memory of what stands for the kernel in code for other GPUs; more than what a runtime may reserve.
inline constexpr int32_t kABSENT_BYTES = 8192;

#if MMTRT_WGMMA
// Where the parts of shared memory are. `kind` is 0 for keys, 1 for values.
template <int32_t kD>
struct Places
{
    uint32_t base;

    __device__ __forceinline__ uint32_t tile(int32_t kind, int32_t stage) const { return base + (kind * kSTAGES + stage) * kTILE_BYTES<kD>; }
    __device__ __forceinline__ uint32_t full(int32_t kind, int32_t stage) const
    {
        return base + 2 * kSTAGES * kTILE_BYTES<kD> + (kind * kSTAGES + stage) * 8;
    }
    __device__ __forceinline__ uint32_t empty(int32_t kind, int32_t stage) const { return full(kind, stage) + 2 * kSTAGES * 8; }
};

// What the block is about.
struct Job
{
    Source source;
    int32_t head;
    int32_t firstQuery;
    int32_t firstTile;
    int32_t lastTile;
};

__device__ __forceinline__ Job jobOf(Layer const& layer)
{
    auto const pairs = static_cast<uint32_t>(layer.batch * layer.heads);
    auto const pair = static_cast<int32_t>(blockIdx.x % pairs);
    Job job{};
    job.source.sequence = pair / layer.heads;
    job.head = pair % layer.heads;
    job.source.kvHead = job.head / layer.group;
    // Blocks with most to read start first.
    job.firstQuery = static_cast<int32_t>(gridDim.x / pairs - 1 - blockIdx.x / pairs) * kQUERIES;
    job.source.past = pastOf(layer, job.source.sequence);
    job.source.total = min(job.source.past + layer.seq, layer.held);
    job.source.firstOwn = job.source.past + job.firstQuery;
    int32_t const seenTo = min(job.source.firstOwn + kQUERIES, job.source.total);
    int32_t const seenFrom = layer.window > 0 ? max(job.source.firstOwn - layer.window + 1, 0) : 0;
    job.lastTile = (seenTo - 1) / kTOKENS;
    // A full cache may have nothing in a window: one tile, of which nothing is seen.
    job.firstTile = min(seenFrom / kTOKENS, job.lastTile);
    return job;
}

// The copying group. A stage is announced by each thread once its own copies are there and a fence has made them visible to the
// tensor cores; that is waited for only when the next stage is on its way, or is not free.
template <int32_t kD>
__device__ __forceinline__ void copyTiles(Layer const& layer, Job const& job, Places<kD> places)
{
    int32_t const thread = threadIdx.x % kGROUP;
    uint32_t pending = 0;
    auto const announce = [&]
    {
        if (pending == 0)
            return;
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        barrierArrive(pending);
        pending = 0;
    };
    auto const fill = [&](int32_t kind, int32_t n)
    {
        int32_t const stage = n % kSTAGES;
        uint32_t const parity = static_cast<uint32_t>(n / kSTAGES % 2) ^ 1U;
        if (!barrierPassed(places.empty(kind, stage), parity))
        {
            copyWait<0>();
            announce();
            barrierWait(places.empty(kind, stage), parity);
        }
        uint32_t const to = places.tile(kind, stage);
        copyTokens<kTOKENS, kD * 2, kGROUP>(layer, job.source, kind == 0 ? layer.keys : layer.values, kind == 1,
            (job.lastTile - n) * kTOKENS, thread, [&](int32_t r, int32_t c)
            { return to + static_cast<uint32_t>(c / 8) * kPANEL + static_cast<uint32_t>(r * 128 + ((c % 8) ^ (r % 8)) * 16); });
        copyCommit();
        copyWait<1>();
        announce();
        pending = places.full(kind, stage);
    };
    int32_t const tiles = job.lastTile - job.firstTile + 1;
    // In the order in which they are used: the next tile's keys before a tile's values.
    for (int32_t n = 0; n <= tiles; ++n)
    {
        if (n < tiles)
            fill(0, n);
        if (n > 0)
            fill(1, n - 1);
    }
    copyWait<0>();
    announce();
}

// A computing group's part: 64 queries, of which this lane has rows g and g + 8 of its warp's 16.
template <typename T, int32_t kD>
struct Consumer
{
    Layer const& layer;
    Job const& job;
    Places<kD> places;
    // The warp's first query.
    int32_t query;
    float score[kTOKENS / 8][4];
    float out[kD / 8][4] = {};
    uint32_t queries[kD / 16][4];
    uint32_t p[kTOKENS / 16][4];
    Running running;

    __device__ __forceinline__ void loadQueries()
    {
        int32_t const lane = threadIdx.x % 32;
#pragma unroll
        for (int32_t i = 0; i < 4; ++i)
        {
            int32_t const at = query + lane / 4 + i % 2 * 8;
            auto const* const row = static_cast<T const*>(layer.queries)
                + (static_cast<int64_t>(job.source.sequence) * layer.seq + at) * layer.queryStride + static_cast<int64_t>(job.head) * kD;
#pragma unroll
            for (int32_t d = 0; d < kD / 16; ++d)
                queries[d][i] = at < layer.seq ? *reinterpret_cast<uint32_t const*>(row + d * 16 + i / 2 * 8 + lane % 4 * 2) : 0U;
        }
    }

    __device__ __forceinline__ void wait(int32_t kind, int32_t n)
    {
        barrierWait(places.full(kind, n % kSTAGES), static_cast<uint32_t>(n / kSTAGES % 2));
    }

    // Each warp says for itself that its part of the products is done.
    __device__ __forceinline__ void release(int32_t kind, int32_t n)
    {
        if (threadIdx.x % 32 == 0)
            barrierArrive(places.empty(kind, n % kSTAGES));
    }

    __device__ __forceinline__ void startScores(int32_t n)
    {
        uint32_t const keys = places.tile(0, n % kSTAGES);
        multiply<T, kTOKENS, false, false>(score, queries[0], keysOperand(keys));
#pragma unroll
        for (int32_t d = 1; d < kD / 16; ++d)
            multiply<T, kTOKENS, false, true>(score, queries[d], keysOperand(keys + d / 4 * kPANEL + d % 4 * 32));
        wgmmaCommit();
    }

    __device__ __forceinline__ void startValues(int32_t n)
    {
        uint32_t const values = places.tile(1, n % kSTAGES);
#pragma unroll
        for (int32_t k = 0; k < kTOKENS / 16; ++k)
            multiply<T, kD, true, true>(out, p[k], valuesOperand(values + k * 2048, kPANEL));
        wgmmaCommit();
    }

    template <int32_t kROWS>
    __device__ __forceinline__ void touch(float (&values)[kROWS][4])
    {
#pragma unroll
        for (int32_t j = 0; j < kROWS; ++j)
#pragma unroll
            for (int32_t i = 0; i < 4; ++i)
                wgmmaTouch(values[j][i]);
    }

    __device__ __forceinline__ Sight sight() const { return {job.source.sequence, job.source.past, job.source.total, layer.window}; }
    __device__ __forceinline__ int32_t firstOf(int32_t n) const { return (job.lastTile - n) * kTOKENS; }

    // Asked while the scores are on their way.
    __device__ __forceinline__ bool hidesSome(int32_t n) const
    {
        int32_t const own = job.source.past + query;
        return hides<kTOKENS>(layer, sight(), firstOf(n), own, own + 15);
    }

    // Scores of tile n become probabilities.
    __device__ __forceinline__ void soften(int32_t n, bool hidden, float (&factor)[2])
    {
        int32_t const mine = query + static_cast<int32_t>(threadIdx.x) % 32 / 4;
        if (layer.bias != nullptr)
            addBias<kTOKENS, T>(score, layer, job.head, firstOf(n), mine, job.source.total, layer.scoreScale);
        if (hidden)
            hide<kTOKENS>(score, layer, sight(), firstOf(n), job.source.past + mine);
        advance<kTOKENS>(running, score, factor, layer.bias == nullptr ? layer.scoreScale : 1.F);
    }

    __device__ __forceinline__ void packProbabilities()
    {
#pragma unroll
        for (int32_t k = 0; k < kTOKENS / 16; ++k)
#pragma unroll
            for (int32_t i = 0; i < 4; ++i)
                p[k][i] = pack<T>(score[2 * k + i / 2][i % 2 * 2], score[2 * k + i / 2][i % 2 * 2 + 1]);
    }

    // The computing groups start their products in turn, so that one has its softmax while the other has the tensor cores.
    __device__ __forceinline__ void takeTurn() const
    {
#ifdef MMTRT_TURNS
        asm volatile("bar.sync %0, 256;" ::"r"(threadIdx.x / kGROUP) : "memory");
#endif
    }
    __device__ __forceinline__ void passTurn() const
    {
#ifdef MMTRT_TURNS
        asm volatile("bar.arrive %0, 256;" ::"r"(3 - threadIdx.x / kGROUP) : "memory");
#endif
    }

    __device__ __forceinline__ void compute()
    {
        float factor[2];
        if (threadIdx.x / kGROUP == 2)
            passTurn();
        loadQueries();
        wait(0, 0);
        wgmmaFence();
        startScores(0);
        bool hidden = hidesSome(0);
        wgmmaWait<0>();
        touch(score);
        release(0, 0);
        soften(0, hidden, factor);
        packProbabilities();
        int32_t const tiles = job.lastTile - job.firstTile + 1;
        if (tiles > 1)
            wait(0, 1);
        for (int32_t n = 1; n < tiles; ++n)
        {
            takeTurn();
            wgmmaFence();
            startScores(n);
            wait(1, n - 1);
            wgmmaFence();
            startValues(n - 1);
            passTurn();
            hidden = hidesSome(n);
            wgmmaWait<1>();
            touch(score);
            release(0, n);
            soften(n, hidden, factor);
            touch(score);
            // Here and not at the loop's begin: its branch keeps the assembler from moving the wait below to before the softmax.
            if (n + 1 < tiles)
                wait(0, n + 1);
            wgmmaWait<0>();
            touch(out);
            release(1, n - 1);
#pragma unroll
            for (int32_t j = 0; j < kD / 8; ++j)
#pragma unroll
                for (int32_t i = 0; i < 4; ++i)
                    out[j][i] *= factor[i / 2];
            packProbabilities();
        }
        wait(1, tiles - 1);
        wgmmaFence();
        startValues(tiles - 1);
        wgmmaWait<0>();
        touch(out);
        float const inverse[2] = {inverseOf(running.sum[0]), inverseOf(running.sum[1])};
        writeRows<T, false, kD>(layer, out, inverse, job.source.sequence, job.head, query);
    }
};
#endif

template <typename T, int32_t kD>
__global__ void __launch_bounds__(kTHREADS, 1) hopperKernel(Layer const layer)
{
#if MMTRT_WGMMA
    extern __shared__ __align__(1024) char shared[];
    Places<kD> const places{(sharedAddress(shared) + 1023U) & ~1023U};
    if (threadIdx.x < 2 * kSTAGES)
    {
        auto const at = static_cast<int32_t>(threadIdx.x);
        barrierInit(places.full(at / kSTAGES, at % kSTAGES), kGROUP);
        // A warp of each computing group's four.
        barrierInit(places.empty(at / kSTAGES, at % kSTAGES), 8);
    }
    __syncthreads();
    waitForKernelBefore();
    Job const job = jobOf(layer);
    if (threadIdx.x < kGROUP)
    {
        giveRegisters<40>();
        copyTiles<kD>(layer, job, places);
    }
    else
    {
        takeRegisters<232>();
        auto const warp = static_cast<int32_t>(threadIdx.x - kGROUP) / 32;
        Consumer<T, kD> consumer{layer, job, places, job.firstQuery + warp * 16};
        consumer.compute();
    }
#else
    // hopperServes knows this by its static shared memory and starts another kernel.
    __shared__ int32_t volatile absent[kABSENT_BYTES / 4];
    absent[layer.seq % (kABSENT_BYTES / 4)] = layer.seq;
    __trap();
#endif
}
} // namespace mmtrt::gptAttention::hopper
