// More than 8 rows of x: what kernel.cu hands to the tensor-core kernel of tile.cuh.
#pragma once
#include "activation.cuh"
#include "stream_k.cuh"

namespace mmtrt::weightOnlyMatmul
{
struct TileArguments
{
    void const* x;
    uint8_t const* weight;
    void const* scale;
    void const* zero;
    void const* bias;
    void* y;
    int32_t rows;
    int32_t k;
    int32_t n;
    int32_t groups;
    // 2^32 over a group's steps of 16 k, rounded up; 0 stands for one step.
    uint32_t groupInverse;
    // 1 << this rows of scales are fetched for each k block.
    int32_t scaleShift;
    StreamK work;
    int32_t stages;
    Curve curve;
};

inline constexpr int32_t kTILE_THREADS = 256;
inline constexpr int32_t kTILE_COLUMNS = 256;
inline constexpr int32_t kTILE_K = 64;
inline constexpr int32_t kMOST_STAGES = 6;
// A row of x is read ahead by stages − 2 k blocks, and with 3 stages there is just one.
inline constexpr int32_t kFEWEST_STAGES = 3;

__host__ __device__ constexpr int32_t tileStageBytes(int32_t tileRows, int32_t bits, bool grouped) noexcept
{
    return tileRows * kTILE_K * 2 + kTILE_K * kTILE_COLUMNS * bits / 8 + (grouped ? 2 * 4 * kTILE_COLUMNS * 2 : 0);
}
// Blocks of a multiprocessor: 32 rows leave registers for two.
__host__ __device__ constexpr int32_t tileResident(int32_t tileRows) noexcept { return tileRows == 32 ? 2 : 1; }

// Starts the kernel of these sizes; its grid is args.work.ranges blocks. Explicit instances in tile_*.cu, for shorter compiles.
template <typename T, int32_t kBITS>
int32_t launchTile(TileArguments const& args, int32_t tileRows, bool grouped, cudaStream_t stream) noexcept;
} // namespace mmtrt::weightOnlyMatmul
