// Matrices as Hopper's copy engine sees them: a box of one is brought to shared memory by a single instruction, zeros where the
// matrix ends.
#pragma once
#include <cstdint>
#include <cuda.h>

namespace mmtrt
{
struct Matrix
{
    void const* data;
    // 1 or 2.
    int32_t elementBytes;
    int64_t columns;
    int64_t rows;
    // Of a box; a row of it has 64 bytes (exchanged in pieces of 16 by row / 2 % 4), 128 (by row % 8), or is not exchanged.
    int32_t boxColumns;
    int32_t boxRows;
    bool exchanged;
};

// False where the driver has no such thing, or does not take the matrix: 16-byte address and rows are asked for.
bool describeMatrix(CUtensorMap& map, Matrix const& matrix) noexcept;
} // namespace mmtrt
