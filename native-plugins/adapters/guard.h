// Callbacks of other libraries must not throw: TensorRT's are noexcept, ONNX Runtime's are C.
#pragma once
#include <exception>

namespace mmtrt
{
// The body's value; after an exception what `report(text)` gives for its text.
template <typename Body, typename Report>
auto guard(Body const& body, Report const& report) noexcept -> decltype(body())
{
    try
    {
        return body();
    }
    catch (std::exception const& error)
    {
        return report(error.what());
    }
    catch (...)
    {
        return report("an exception of no known type");
    }
}
} // namespace mmtrt
