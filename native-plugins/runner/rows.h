// Tensors whose first axis is the rows of a batch, and which follow the rows as beams are copied, swapped and dropped.
#pragma once
#include "device.h"
#include <cstdint>
#include <vector>

namespace mmtrt::runner
{
class RowTensor
{
public:
    RowTensor() = default;
    RowTensor(Device& device, Dtype dtype, Shape shape, Use use);

    View const& view() const noexcept { return mView; }
    // Row i becomes what row rows[i] was.
    void select(std::vector<int32_t> const& rows);

private:
    Device* mDevice{nullptr};
    Use mUse{Use::kIO};
    View mView;
    Buffer mData;
    Buffer mOther;
};

// Copies row rows[i] of `from` to row i of `to`; rows of so many bytes each.
void copyRowsFrom(Device& device, void* to, void const* from, std::vector<int32_t> const& rows, int64_t rowBytes);
// An input of int32 numbers that the host writes anew for each call. It stays where it is while it does not grow.
class HostInput
{
public:
    View const& set(Device& device, std::vector<int32_t> const& values, Shape shape);

private:
    Buffer mData;
    View mView;
};
} // namespace mmtrt::runner
