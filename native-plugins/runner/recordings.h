// Which recording of a decode step stands for a call. A recording reads and writes where its inputs and outputs lay when it was made, so
// each set of places and shapes has its own; a set that comes back, as it does in the next request of the same size, finds its own again.
#pragma once
#include "tensor.h"
#include <cstdint>
#include <map>
#include <string>

namespace mmtrt::runner
{
class Recordings
{
public:
    // What a call has that is neither recorded nor replayed.
    static constexpr int32_t kNONE = -1;
    // A recording keeps memory of the device until the engine is closed, so calls that are never alike are not recorded for ever.
    static constexpr size_t kMOST = 64;

    // An input or output has another place or shape than in the last call.
    void move(std::string const& name, View const& view)
    {
        mBound[name] = view;
        mMoved = true;
    }

    // Of a call with all that is bound now.
    int32_t current()
    {
        if (mMoved)
            mCurrent = numberOf(signature());
        mMoved = false;
        return mCurrent;
    }

    size_t count() const noexcept { return mNumbers.size(); }

private:
    std::string signature() const
    {
        std::string all;
        for (auto const& [name, view] : mBound)
            all += name + ' ' + std::to_string(reinterpret_cast<uintptr_t>(view.data)) + ' ' + show(view.shape) + '\n';
        return all;
    }

    int32_t numberOf(std::string signature)
    {
        auto const known = mNumbers.find(signature);
        if (known != mNumbers.end())
            return known->second;
        if (mNumbers.size() >= kMOST)
            return kNONE;
        // From 1 on: ONNX Runtime has a meaning of its own for 0.
        return mNumbers.emplace(std::move(signature), static_cast<int32_t>(mNumbers.size()) + 1).first->second;
    }

    std::map<std::string, View> mBound;
    std::map<std::string, int32_t> mNumbers;
    int32_t mCurrent{kNONE};
    bool mMoved{true};
};
} // namespace mmtrt::runner
