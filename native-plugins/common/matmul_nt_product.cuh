// A block's part of y = a · bᵀ for matmul_nt.cuh: what a call gives, the instruction of each element type, and a warp's products.
#pragma once
#include "stream_k.cuh"

namespace mmtrt::matmulNt
{
inline constexpr int32_t kTHREADS = 256;
inline constexpr int32_t kCOLUMNS = 128;
// Bytes of k, so that a row's 8 pieces of 16 bytes go into different banks when they are exchanged by row.
inline constexpr int32_t kBLOCK = 128;
inline constexpr int32_t kSTAGES = 3;

struct Arguments
{
    uint8_t const* a;
    uint8_t const* b;
    // Of a gated product.
    uint8_t const* second;
    int32_t rows;
    int32_t n;
    // A multiple of 16.
    int32_t kBytes;
    StreamK work;
};

struct Int8
{
    using Sum = int32_t;
    static __device__ __forceinline__ void mma(int32_t (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1)
    {
        asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
};

template <typename T>
struct Float16
{
    using Sum = float;
    static __device__ __forceinline__ void mma(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1)
    {
        mmtrt::mma<T>(c, a, b0, b1);
    }
};

__host__ __device__ constexpr int32_t stageBytes(int32_t rows) noexcept { return (rows + kCOLUMNS) * kBLOCK; }

// Columns of y that a tile makes.
template <bool kGATED>
__host__ __device__ constexpr int32_t columnsOf() noexcept
{
    return kGATED ? kCOLUMNS / 2 : kCOLUMNS;
}

// A warp's share: kM × 16 rows, kN × 8 columns.
template <typename Kind, int32_t kROWS>
struct Product
{
    // Warps along the rows; the others are along the columns.
    static constexpr int32_t kROW_WARPS = kROWS >= 64 ? 2 : 1;
    static constexpr int32_t kCOLUMN_WARPS = 8 / kROW_WARPS;
    static constexpr int32_t kM = kROWS / kROW_WARPS / 16;
    static constexpr int32_t kN = kCOLUMNS / kCOLUMN_WARPS / 8;
    static constexpr int32_t kVECTORS = kM * kN;
    using Sum = typename Kind::Sum;
    Sum sum[kM][kN][4];

    static __device__ __forceinline__ int32_t firstRow() { return threadIdx.x / 32 / kCOLUMN_WARPS * kM * 16; }
    static __device__ __forceinline__ int32_t firstColumn() { return threadIdx.x / 32 % kCOLUMN_WARPS * kN * 8; }
    static __device__ __forceinline__ uint32_t place(int32_t row, int32_t piece) { return row * kBLOCK + (piece ^ row % 8) * 16; }

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int32_t i = 0; i < kVECTORS * 4; ++i)
            sum[i / 4 / kN][i / 4 % kN][i % 4] = 0;
    }

    __device__ __forceinline__ void multiply(uint32_t stage)
    {
        int32_t const lane = threadIdx.x % 32;
#pragma unroll
        for (int32_t step = 0; step < kBLOCK / 32; ++step)
        {
            uint32_t a[kM][4];
#pragma unroll
            for (int32_t m = 0; m < kM; ++m)
                loadMatrix(a[m], stage + place(firstRow() + m * 16 + lane % 16, step * 2 + lane / 16));
#pragma unroll
            for (int32_t n = 0; n < kN; n += 2)
            {
                uint32_t b[4];
                int32_t const row = kROWS + firstColumn() + n * 8 + lane / 16 * 8 + lane % 8;
                loadMatrix(b, stage + place(row, step * 2 + lane / 8 % 2));
#pragma unroll
                for (int32_t m = 0; m < kM; ++m)
                {
                    Kind::mma(sum[m][n], a[m], b[0], b[1]);
                    Kind::mma(sum[m][n + 1], a[m], b[2], b[3]);
                }
            }
        }
    }

    __device__ __forceinline__ void leave(StreamK const& k, int32_t range) const
    {
        float4* const to = partialSums(k, range, kVECTORS);
#pragma unroll
        for (int32_t i = 0; i < kVECTORS; ++i)
            __stcg(to + i * kTHREADS, *reinterpret_cast<float4 const*>(sum[i / kN][i % kN]));
    }
    __device__ __forceinline__ void take(StreamK const& k, int32_t range)
    {
        float4 const* const from = partialSums(k, range, kVECTORS);
#pragma unroll
        for (int32_t i = 0; i < kVECTORS; ++i)
        {
            float4 const value = __ldcg(from + i * kTHREADS);
            auto const* const values = reinterpret_cast<Sum const*>(&value);
#pragma unroll
            for (int32_t j = 0; j < 4; ++j)
                sum[i / kN][i % kN][j] += values[j];
        }
    }
};
} // namespace mmtrt::matmulNt
