// Many rows of x on Hopper: what kernel.cu and hopper.cuh agree on.
#pragma once
#include "tensor_map.h"
#include "tile.h"

namespace mmtrt::weightOnlyMatmul::hopper
{
inline constexpr int32_t kROWS = 256;
inline constexpr int32_t kCOLUMNS = 128;
inline constexpr int32_t kK = 64;
// Two groups of four warps that compute, and one whose first thread has everything copied: registers change hands by groups.
inline constexpr int32_t kCOMPUTING = 256;
inline constexpr int32_t kTHREADS = kCOMPUTING + 128;
inline constexpr int32_t kSTAGES = 5;
// Rows of x in a copy of the last tile of rows, whose copies that begin past the last row are left out: what lies there in shared memory
// ends in sums that are not stored, and a row of zeros costs the copy engine more than a row of x (129 rows took 73 µs, 256 47).
// Other tiles are one copy: each costs some hundred cycles.
inline constexpr int32_t kPART_ROWS = 64;
// Most groups that k blocks of 64 meet, and their scales in a stage.
inline constexpr int32_t kSCALE_ROWS = 4;
inline constexpr int32_t kSCALE_ROW = kCOLUMNS * 2;
// Static shared memory of what stands for the kernel in code for other GPUs; more than what a runtime may reserve.
inline constexpr int32_t kABSENT_BYTES = 8192;

__host__ __device__ constexpr int32_t stageBytes(int32_t bits, bool grouped) noexcept
{
    return kROWS * kK * 2 + kK * kCOLUMNS * bits / 8 + (grouped ? 2 * kSCALE_ROWS * kSCALE_ROW : 0);
}
// The barriers, and what aligning takes.
constexpr int32_t sharedBytes(int32_t bits, bool grouped) noexcept { return kSTAGES * stageBytes(bits, grouped) + 2 * kSTAGES * 8 + 1024; }

// In the kernel's parameters, where the copy engine reads them.
struct Maps
{
    CUtensorMap x;
    CUtensorMap partOfX;
    CUtensorMap weight;
    CUtensorMap scale;
    CUtensorMap zero;
};

// Whether the current device and this library have the kernel.
template <typename T, int32_t kBITS>
bool serves(bool grouped) noexcept;
// args.work counts tiles of kROWS × kCOLUMNS; `stages` is not read. Refused where a matrix is not at a 16-byte address.
template <typename T, int32_t kBITS>
int32_t launch(TileArguments const& args, bool grouped, cudaStream_t stream) noexcept;
} // namespace mmtrt::weightOnlyMatmul::hopper
