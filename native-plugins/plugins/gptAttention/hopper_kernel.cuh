// Attention of many queries on Hopper: wgmma, with one group of four warps that copies and two that compute.
//
// There is a block for each multiprocessor. Its jobs are 128 queries of one head, 64 for each computing group, and it walks back
// over tiles of 128 tokens; the next job's first tiles are copied while the last one's result is written. The copying group
// fills two stages of keys and two of values through cp.async (so that pages, beams and padding are what they are for mma.sync)
// and announces a stage when its own copies are there. A computing group starts the product of the next tile's scores, then that
// of the last tile's probabilities with its values, and makes the next probabilities while the second runs; the groups
// take turns, so that the tensor cores have the other's products meanwhile. Queries stay in registers.
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

// 128 queries of a head.
struct Job
{
    Source source;
    int32_t head;
    int32_t firstQuery;
    int32_t firstTile;
    int32_t lastTile;
};

// This block's job number `turn`; false: it has no more. Jobs with most to read come first, and blocks change places from turn to
// turn, so that all end about together.
__device__ __forceinline__ bool findJob(Layer const& layer, int32_t turn, Job& job)
{
    int32_t const pairs = layer.batch * layer.heads;
    int32_t const rows = (layer.seq + kQUERIES - 1) / kQUERIES;
    auto const blocks = static_cast<int32_t>(gridDim.x);
    auto const block = static_cast<int32_t>(blockIdx.x);
    int64_t const at = static_cast<int64_t>(turn) * blocks + (turn % 2 == 0 ? block : blocks - 1 - block);
    if (at >= static_cast<int64_t>(rows) * pairs)
        return false;
    auto const index = static_cast<int32_t>(at);
    int32_t const pair = index % pairs;
    job.source.sequence = pair / layer.heads;
    job.head = pair % layer.heads;
    job.source.kvHead = job.head / layer.group;
    job.firstQuery = (rows - 1 - index / pairs) * kQUERIES;
    job.source.past = pastOf(layer, job.source.sequence);
    job.source.total = min(job.source.past + layer.seq, layer.held);
    job.source.firstOwn = job.source.past + job.firstQuery;
    int32_t const seenTo = min(job.source.firstOwn + kQUERIES, job.source.total);
    int32_t const seenFrom = layer.window > 0 ? max(job.source.firstOwn - layer.window + 1, 0) : 0;
    job.lastTile = (seenTo - 1) / kTOKENS;
    // A full cache may have nothing in a window: one tile, of which nothing is seen.
    job.firstTile = min(seenFrom / kTOKENS, job.lastTile);
    return true;
}

// The copying group. A stage is announced by each thread once its own copies are there and a fence has made them visible to the
// tensor cores; that is waited for only when the next stage is on its way, or is not free.
template <int32_t kD>
__device__ __forceinline__ void copyTiles(Layer const& layer, Places<kD> places)
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
    Job job{};
    auto const fill = [&](int32_t kind, int32_t n, int32_t tile)
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
            tile * kTOKENS, thread, [&](int32_t r, int32_t c)
            { return to + static_cast<uint32_t>(c / 8) * kPANEL + static_cast<uint32_t>(r * 128 + ((c % 8) ^ (r % 8)) * 16); });
        copyCommit();
        copyWait<1>();
        announce();
        pending = places.full(kind, stage);
    };
    int32_t before = 0;
    for (int32_t turn = 0; findJob(layer, turn, job); ++turn)
    {
        int32_t const tiles = job.lastTile - job.firstTile + 1;
        // In the order in which they are used: the next tile's keys before a tile's values.
        for (int32_t n = 0; n <= tiles; ++n)
        {
            if (n < tiles)
                fill(0, before + n, job.lastTile - n);
            if (n > 0)
                fill(1, before + n - 1, job.lastTile - n + 1);
        }
        before += tiles;
    }
    copyWait<0>();
    announce();
}

// A computing group's part: 64 queries, of which this lane has rows g and g + 8 of its warp's 16.
template <typename T, int32_t kD>
struct Consumer
{
    Layer const& layer;
    Places<kD> places;
    Job job{};
    // The warp's first query, and tiles of the jobs before this one.
    int32_t query{0};
    int32_t before{0};
    float score[kTOKENS / 8][4];
    float out[kD / 8][4];
    uint32_t queries[kD / 16][4];
    uint32_t p[kTOKENS / 16][4];
    Running running;

    __device__ __forceinline__ void loadQueries()
    {
        int32_t const lane = threadIdx.x % 32;
        query = job.firstQuery + static_cast<int32_t>(threadIdx.x - kGROUP) / 32 * 16;
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
        if (layer.cosine != nullptr)
            rotateQueries();
    }

    // The partner of element e is e + D / 2, in this lane too.
    __device__ __forceinline__ void rotateQueries()
    {
        int32_t const lane = threadIdx.x % 32;
#pragma unroll
        for (int32_t i = 0; i < 4; ++i)
        {
            int32_t const at = min(query + lane / 4 + i % 2 * 8, layer.seq - 1);
            int64_t const row = (static_cast<int64_t>(job.source.sequence) * layer.seq + at) * (kD / 2) + i / 2 * 8 + lane % 4 * 2;
#pragma unroll
            for (int32_t d = 0; d < kD / 32; ++d)
            {
                float2 const c = unpack<T>(*reinterpret_cast<uint32_t const*>(static_cast<T const*>(layer.cosine) + row + d * 16));
                float2 const s = unpack<T>(*reinterpret_cast<uint32_t const*>(static_cast<T const*>(layer.sine) + row + d * 16));
                float2 const a = unpack<T>(queries[d][i]);
                float2 const b = unpack<T>(queries[d + kD / 32][i]);
                queries[d][i] = pack<T>(a.x * c.x - b.x * s.x, a.y * c.y - b.y * s.y);
                queries[d + kD / 32][i] = pack<T>(b.x * c.x + a.x * s.x, b.y * c.y + a.y * s.y);
            }
        }
    }

    __device__ __forceinline__ void wait(int32_t kind, int32_t n)
    {
        barrierWait(places.full(kind, (before + n) % kSTAGES), static_cast<uint32_t>((before + n) / kSTAGES % 2));
    }

    // Each warp says for itself that its part of the products is done.
    __device__ __forceinline__ void release(int32_t kind, int32_t n)
    {
        if (threadIdx.x % 32 == 0)
            barrierArrive(places.empty(kind, (before + n) % kSTAGES));
    }

    __device__ __forceinline__ void startScores(int32_t n)
    {
        uint32_t const keys = places.tile(0, (before + n) % kSTAGES);
        wgmma<T, kTOKENS, false, false>(score, queries[0], wgmmaRows128(keys));
#pragma unroll
        for (int32_t d = 1; d < kD / 16; ++d)
            wgmma<T, kTOKENS>(score, queries[d], wgmmaRows128(keys + d / 4 * kPANEL + d % 4 * 32));
        wgmmaCommit();
    }

    __device__ __forceinline__ void startValues(int32_t n)
    {
        uint32_t const values = places.tile(1, (before + n) % kSTAGES);
#pragma unroll
        for (int32_t k = 0; k < kTOKENS / 16; ++k)
            wgmma<T, kD, true>(out, p[k], valuesOperand(values + k * 2048, kPANEL));
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

    // Scores of tile n become probabilities.
    __device__ __forceinline__ void soften(int32_t n, float (&factor)[2])
    {
        int32_t const mine = query + static_cast<int32_t>(threadIdx.x) % 32 / 4;
        int32_t const own = job.source.past + query;
        if (layer.bias != nullptr)
            addBias<kTOKENS, T>(score, layer, job.head, firstOf(n), mine, job.source.total, layer.scoreScale);
        if (hides<kTOKENS>(layer, sight(), firstOf(n), own, own + 15))
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
        asm volatile("bar.sync %0, 256;" ::"r"(threadIdx.x / kGROUP) : "memory");
    }
    __device__ __forceinline__ void passTurn() const
    {
        asm volatile("bar.arrive %0, 256;" ::"r"(3 - threadIdx.x / kGROUP) : "memory");
    }

    __device__ __forceinline__ void compute()
    {
        if (!findJob(layer, 0, job))
            return;
        if (threadIdx.x / kGROUP == 2)
            passTurn();
        loadQueries();
        bool more = true;
        for (int32_t turn = 1; more; ++turn)
        {
            int32_t const tiles = multiplyTiles();
            Job const done = job;
            int32_t const doneQuery = query;
            // The next job's queries are on their way while the last values are multiplied and the result is written.
            more = findJob(layer, turn, job);
            if (more)
                loadQueries();
            wgmmaWait<0>();
            touch(out);
            release(1, tiles - 1);
            before += tiles;
            float const inverse[2] = {inverseOf(running.sum[0]), inverseOf(running.sum[1])};
            writeRows<T, false, kD>(layer, out, inverse, done.source.sequence, done.head, doneQuery);
        }
    }

    // All of a job but the wait for its last product; gives the number of its tiles.
    __device__ __forceinline__ int32_t multiplyTiles()
    {
        float factor[2];
        running = {};
#pragma unroll
        for (int32_t j = 0; j < kD / 8; ++j)
#pragma unroll
            for (int32_t i = 0; i < 4; ++i)
                out[j][i] = 0.F;
        wait(0, 0);
        wgmmaFence();
        startScores(0);
        wgmmaWait<0>();
        touch(score);
        release(0, 0);
        soften(0, factor);
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
            wgmmaWait<1>();
            touch(score);
            release(0, n);
            soften(n, factor);
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
        return tiles;
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
    if (threadIdx.x < kGROUP)
    {
        giveRegisters<40>();
        copyTiles<kD>(layer, places);
    }
    else
    {
        takeRegisters<232>();
        Consumer<T, kD> consumer{layer, places};
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
