#include "rows.h"
#include <utility>

namespace mmtrt::runner
{
RowTensor::RowTensor(Device& device, Dtype dtype, Shape shape, Use use)
    : mDevice(&device)
    , mUse(use)
    , mView{nullptr, dtype, std::move(shape)}
    , mData(device, mView.bytes(), use)
{
    mView.data = mData.data();
}

void RowTensor::select(std::vector<int32_t> const& rows)
{
    int64_t const rowBytes = mView.shape[0] == 0 ? 0 : mView.bytes() / mView.shape[0];
    mOther.need(*mDevice, rowBytes * static_cast<int64_t>(rows.size()), mUse);
    copyRowsFrom(*mDevice, mOther.data(), mData.data(), rows, rowBytes);
    std::swap(mData, mOther);
    mView.shape[0] = static_cast<int64_t>(rows.size());
    mView.data = mData.data();
}

void copyRowsFrom(Device& device, void* to, void const* from, std::vector<int32_t> const& rows, int64_t rowBytes)
{
    // Rows that stay next to each other go in one copy.
    for (size_t first = 0, end = 0; first < rows.size(); first = end)
    {
        end = first + 1;
        while (end < rows.size() && rows[end] == rows[end - 1] + 1)
            ++end;
        device.copy(static_cast<char*>(to) + static_cast<int64_t>(first) * rowBytes, static_cast<char const*>(from) + rows[first] * rowBytes,
            static_cast<int64_t>(end - first) * rowBytes);
    }
}

View const& HostInput::set(Device& device, std::vector<int32_t> const& values, Shape shape)
{
    auto const bytes = static_cast<int64_t>(values.size() * sizeof(int32_t));
    mData.need(device, bytes, Use::kIO);
    device.upload(mData.data(), values.data(), bytes);
    mView = {mData.data(), Dtype::kINT32, std::move(shape)};
    return mView;
}
} // namespace mmtrt::runner
