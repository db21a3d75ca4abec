#include "hopper.cuh"
#include "tile.cuh"

namespace mmtrt::weightOnlyMatmul
{
template int32_t launchTile<half, 8>(TileArguments const&, int32_t, bool, cudaStream_t) noexcept;
template bool hopper::serves<half, 8>(bool) noexcept;
template int32_t hopper::launch<half, 8>(TileArguments const&, bool, cudaStream_t) noexcept;
} // namespace mmtrt::weightOnlyMatmul
