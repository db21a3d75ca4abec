// Code for SM 80 serves 86 and 89.
#include "tile.cuh"

template int32_t mmtrt::weightOnlyMatmul::launchTile<mmtrt::half, 4>(
    TileArguments const&, int32_t, bool, cudaStream_t) noexcept;
