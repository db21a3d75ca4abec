// More than 8 rows of x against a quantized weight. The weight is operand A (columns of y are the product's rows), turned into
// x's type in registers; x is B, read from shared memory by all warps. A block of 8 warps makes 256 columns × kROWS rows of y.
// On Hopper the product is wgmma's, 4 warps × 64 columns × 16 k twice; elsewhere mma.sync's. Both lay out A and the sums alike.
// The k blocks of all tiles are shared evenly (stream_k.cuh).
#pragma once
#include "error.h"
#include "tile_product.cuh"
#include "weightOnlyMatmul.gen.h"

namespace mmtrt::weightOnlyMatmul
{
// Until the copies of the next k block are there, for all threads, and the one before the last is no longer read.
__device__ __forceinline__ void arrive(int32_t stages)
{
    if (stages == 3)
        copyWait<0>();
    else if (stages == 4)
        copyWait<1>();
    else if (stages == 5)
        copyWait<2>();
    else
        copyWait<3>();
#if MMTRT_WGMMA
    fenceSharedForWgmma();
#endif
    __syncthreads();
}

template <typename T, int32_t kBITS, bool kGROUPED, int32_t kROWS>
__global__ void __launch_bounds__(kTILE_THREADS, tileResident(kROWS)) tileKernel(TileArguments const args)
{
    constexpr int32_t kSTAGE_BYTES = tileStageBytes(kROWS, kBITS, kGROUPED);
    static_assert(kSTAGE_BYTES % 1024 == 0);
    extern __shared__ char unaligned[];
    char* const shared = unaligned + (1024U - sharedAddress(unaligned) % 1024U) % 1024U;
    StreamK const& work = args.work;
    int32_t const range = work.range();
    int32_t const begin = work.begin(range);
    int32_t const end = work.begin(range + 1);
    int32_t const bytes = args.stages * kSTAGE_BYTES;

    Loader<kBITS, kGROUPED, kROWS> loader(args, sharedAddress(shared), begin, end);
    int32_t loading = 0;
    auto const load = [&]
    {
        loader.next(loading);
        loading = loading + kSTAGE_BYTES == bytes ? 0 : loading + kSTAGE_BYTES;
    };
    for (int32_t i = 0; i < args.stages - 2; ++i)
        load();

    using P = Product<T, kBITS, kGROUPED, kROWS>;
    P product;
    int32_t stage = 0;
    for (int32_t block = begin; block < end;)
    {
        int32_t const tile = block / work.kBlocks;
        int32_t const first = block - tile * work.kBlocks;
        int32_t const count = min(work.kBlocks - first, end - block);
        product.clear();
        arrive(args.stages);
        load();
        product.template prepare<0>(args, shared + stage);
        for (int32_t i = 0; i < count; ++i)
        {
            uint32_t const address = sharedAddress(shared) + stage;
            product.template multiply<0>(address);
            product.template finished<1>();
            product.template prepare<1>(args, shared + stage);
            product.template multiply<1>(address);
            product.template finished<1>();
            product.template prepare<2>(args, shared + stage);
            product.template multiply<2>(address);
            product.template finished<1>();
            product.template prepare<3>(args, shared + stage);
            product.template multiply<3>(address);
            stage = stage + kSTAGE_BYTES == bytes ? 0 : stage + kSTAGE_BYTES;
            if (i + 1 < count)
            {
                arrive(args.stages);
                load();
                product.template finished<1>();
                product.template prepare<0>(args, shared + stage);
            }
        }
        product.template finished<0>();
        block += count;
        if (gatherTile(work, product, range, tile, first, count))
            product.store(args, tile % work.rowTiles * kROWS, tile / work.rowTiles * kTILE_COLUMNS);
    }
    copyWait<0>();
}

template <typename T, int32_t kBITS, bool kGROUPED, int32_t kROWS>
int32_t startTile(TileArguments const& args, cudaStream_t stream) noexcept
{
    auto* const kernel = tileKernel<T, kBITS, kGROUPED, kROWS>;
    int32_t const sharedBytes = args.stages * tileStageBytes(kROWS, kBITS, kGROUPED) + 1024;
    if (auto const status = checked(kNAME, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sharedBytes)))
        return status;
    kernel<<<args.work.ranges, kTILE_THREADS, sharedBytes, stream>>>(args);
    return checked(kNAME, cudaGetLastError());
}

template <typename T, int32_t kBITS>
int32_t launchTile(TileArguments const& args, int32_t tileRows, bool grouped, cudaStream_t stream) noexcept
{
    if (tileRows == 32)
        return grouped ? startTile<T, kBITS, true, 32>(args, stream) : startTile<T, kBITS, false, 32>(args, stream);
    if (tileRows == 64)
        return grouped ? startTile<T, kBITS, true, 64>(args, stream) : startTile<T, kBITS, false, 64>(args, stream);
    return grouped ? startTile<T, kBITS, true, 128>(args, stream) : startTile<T, kBITS, false, 128>(args, stream);
}
} // namespace mmtrt::weightOnlyMatmul
