#include "tensor.h"
#include "problem.h"
#include <cstring>

namespace mmtrt::runner
{
namespace
{
struct DtypeFacts
{
    char const* name;
    int64_t bytes;
};
// In the order of Dtype.
constexpr DtypeFacts kDTYPES[] = {{"float32", 4}, {"float16", 2}, {"bfloat16", 2}, {"int8", 1}, {"int32", 4}, {"int64", 8}, {"float8_e4m3fn", 1}};
constexpr int64_t kMAX_ELEMENTS = int64_t{1} << 40;

uint32_t bitsOf(float value) noexcept
{
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    return bits;
}

float floatOf(uint32_t bits) noexcept
{
    float value = 0;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

uint16_t toBfloat16(float value) noexcept
{
    uint32_t const bits = bitsOf(value);
    if ((bits & 0x7FFFFFFFU) > 0x7F800000U)
        return static_cast<uint16_t>((bits >> 16) | 0x40U);
    return static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

uint16_t toFloat16(float value) noexcept
{
    uint32_t const bits = bitsOf(value);
    auto const sign = static_cast<uint16_t>((bits >> 16) & 0x8000U);
    uint32_t const size = bits & 0x7FFFFFFFU;
    if (size > 0x7F800000U)
        return sign | 0x7E00U;
    // 65520 is halfway between the largest number and the next, which is infinity.
    if (size >= 0x477FF000U)
        return sign | 0x7C00U;
    if (size >= 0x38800000U)
        return static_cast<uint16_t>(sign | ((size + 0xFFFU + ((size >> 13) & 1U) - 0x38000000U) >> 13));
    // Adding a half to a subnormal number leaves it, rounded, in the last bits.
    return static_cast<uint16_t>(sign | (bitsOf(floatOf(size) + 0.5F) - bitsOf(0.5F)));
}

float fromFloat16(uint16_t half) noexcept
{
    uint32_t const sign = static_cast<uint32_t>(half & 0x8000U) << 16;
    uint32_t const size = half & 0x7FFFU;
    if (size >= 0x7C00U)
        return floatOf(sign | 0x7F800000U | ((size & 0x3FFU) << 13));
    if (size >= 0x400U)
        return floatOf(sign | ((size << 13) + 0x38000000U));
    return floatOf(sign | bitsOf(static_cast<float>(size) * 0x1p-24F));
}
} // namespace

Dtype dtypeOf(std::string const& name)
{
    for (size_t i = 0; i < std::size(kDTYPES); ++i)
        if (name == kDTYPES[i].name)
            return static_cast<Dtype>(i);
    refuseMessage("a tensor's dtype is " + name.substr(0, 40));
}

char const* nameOf(Dtype dtype) noexcept { return kDTYPES[static_cast<size_t>(dtype)].name; }

int64_t bytesOf(Dtype dtype) noexcept { return kDTYPES[static_cast<size_t>(dtype)].bytes; }

int64_t elementsOf(Shape const& shape)
{
    int64_t elements = 1;
    for (int64_t const size : shape)
    {
        if (size < 0 || (size > 0 && elements > kMAX_ELEMENTS / size))
            refuseMessage("a tensor has the shape " + show(shape));
        elements *= size;
    }
    return elements;
}

std::string show(Shape const& shape)
{
    std::string text = "[";
    for (size_t i = 0; i < shape.size(); ++i)
        text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
    return text + "]";
}

std::vector<char> encodeFloats(float const* values, size_t count, Dtype dtype)
{
    std::vector<char> bytes(count * static_cast<size_t>(bytesOf(dtype)));
    if (dtype == Dtype::kFLOAT32)
    {
        std::memcpy(bytes.data(), values, bytes.size());
        return bytes;
    }
    if (dtype != Dtype::kFLOAT16 && dtype != Dtype::kBFLOAT16)
        refuseMessage(std::string("floats are asked for as ") + nameOf(dtype));
    for (size_t i = 0; i < count; ++i)
    {
        uint16_t const half = dtype == Dtype::kFLOAT16 ? toFloat16(values[i]) : toBfloat16(values[i]);
        std::memcpy(bytes.data() + 2 * i, &half, 2);
    }
    return bytes;
}

std::vector<float> decodeFloats(char const* bytes, size_t count, Dtype dtype)
{
    std::vector<float> values(count);
    if (dtype == Dtype::kFLOAT32)
    {
        std::memcpy(values.data(), bytes, count * 4);
        return values;
    }
    if (dtype != Dtype::kFLOAT16 && dtype != Dtype::kBFLOAT16)
        refuseMessage(std::string("floats are asked for from ") + nameOf(dtype));
    for (size_t i = 0; i < count; ++i)
    {
        uint16_t half = 0;
        std::memcpy(&half, bytes + 2 * i, 2);
        values[i] = dtype == Dtype::kFLOAT16 ? fromFloat16(half) : floatOf(static_cast<uint32_t>(half) << 16);
    }
    return values;
}
} // namespace mmtrt::runner
