#include "device_argmax.h"
#include <algorithm>

namespace mmtrt::runner
{
DeviceArgmax::DeviceArgmax(Device& device, std::string const& plugins)
    : mDevice(device)
{
    if (device.isHost() || plugins.empty())
        return;
    mLibrary.emplace(std::vector<std::string>{plugins}, "the plugin library", "mmtrt plugins build, or --plugins FILE");
    mArgmax = mLibrary->find<Argmax>("mmtrt_argmax");
}

bool DeviceArgmax::tokens(Decoding const& decoding, std::vector<int32_t>& tokens)
{
    if (mArgmax == nullptr)
        return false;
    auto const rows = static_cast<size_t>(decoding.rows());
    auto const bytes = static_cast<int64_t>(rows * sizeof(int32_t));
    mTokens.need(mDevice, bytes, Use::kIO);
    if (mArgmax(decoding.logits(), decoding.rows(), decoding.vocab(), static_cast<int32_t*>(mTokens.data()), mDevice.stream()) != 0)
        return false;
    tokens.resize(rows);
    mDevice.download(tokens.data(), mTokens.data(), bytes);
    return std::none_of(tokens.begin(), tokens.end(), [](int32_t token) { return token < 0; });
}
} // namespace mmtrt::runner
