// JSON as the protocol needs it: numbers are doubles, keys keep their order, and whatever is read is checked as it is asked for.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace mmtrt::runner
{
class Json
{
public:
    using Array = std::vector<Json>;
    using Object = std::vector<std::pair<std::string, Json>>;

    Json() = default;
    Json(bool value)
        : mValue(value)
    {
    }
    Json(double value)
        : mValue(value)
    {
    }
    Json(int64_t value)
        : mValue(static_cast<double>(value))
    {
    }
    Json(int32_t value)
        : mValue(static_cast<double>(value))
    {
    }
    Json(size_t value)
        : mValue(static_cast<double>(value))
    {
    }
    Json(std::string value)
        : mValue(std::move(value))
    {
    }
    Json(char const* value)
        : mValue(std::string(value))
    {
    }
    Json(Array value)
        : mValue(std::move(value))
    {
    }
    Json(Object value)
        : mValue(std::move(value))
    {
    }

    // Throws Failure RUN050 for text that is no JSON, or nested deeper than any message is.
    static Json parse(std::string_view text);
    std::string print() const;

    bool isNull() const noexcept { return std::holds_alternative<std::monostate>(mValue); }

    // Each throws Failure RUN050 where the value is of another kind; `name` is what the message calls it.
    std::string const& text(char const* name) const;
    bool flag(char const* name) const;
    double number(char const* name) const;
    // A whole number within [least, most].
    int64_t integer(char const* name, int64_t least, int64_t most) const;
    Array const& list(char const* name) const;
    Object const& object(char const* name) const;

    // The value of a key of an object; null where there is none.
    Json const& get(char const* key) const;

private:
    std::variant<std::monostate, bool, double, std::string, Array, Object> mValue;
};

// Numbers of a list, each within [least, most].
std::vector<int32_t> int32List(Json const& json, char const* name, int64_t least, int64_t most);
Json toJson(std::vector<int32_t> const& values);
} // namespace mmtrt::runner
