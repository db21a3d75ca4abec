#include "json.h"
#include "problem.h"
#include <cmath>
#include <cstdio>

namespace mmtrt::runner
{
namespace
{
void printString(std::string const& text, std::string& out)
{
    out.push_back('"');
    for (char const c : text)
    {
        char escaped[8];
        if (c == '"' || c == '\\')
            out.append({'\\', c});
        else if (static_cast<unsigned char>(c) < 0x20)
        {
            std::snprintf(escaped, sizeof(escaped), "\\u%04x", static_cast<unsigned>(c));
            out.append(escaped);
        }
        else
            out.push_back(c);
    }
    out.push_back('"');
}

void printNumber(double value, std::string& out)
{
    char text[40];
    if (value == std::floor(value) && std::fabs(value) < 9e15)
        std::snprintf(text, sizeof(text), "%lld", static_cast<long long>(value));
    else
        std::snprintf(text, sizeof(text), "%.17g", value);
    // JSON has no infinity.
    out.append(std::isfinite(value) ? text : "null");
}

[[noreturn]] void wrongKind(char const* name, char const* kind) { refuseMessage(std::string(name) + " of a message is no " + kind); }
} // namespace

std::string Json::print() const
{
    std::string out;
    if (auto const* flag = std::get_if<bool>(&mValue))
        out = *flag ? "true" : "false";
    else if (auto const* number = std::get_if<double>(&mValue))
        printNumber(*number, out);
    else if (auto const* text = std::get_if<std::string>(&mValue))
        printString(*text, out);
    else if (auto const* values = std::get_if<Array>(&mValue))
    {
        for (auto const& value : *values)
            out += (out.empty() ? "[" : ",") + value.print();
        out += out.empty() ? "[]" : "]";
    }
    else if (auto const* members = std::get_if<Object>(&mValue))
    {
        for (auto const& [key, value] : *members)
        {
            out.push_back(out.empty() ? '{' : ',');
            printString(key, out);
            out += ":" + value.print();
        }
        out += out.empty() ? "{}" : "}";
    }
    else
        out = "null";
    return out;
}

std::string const& Json::text(char const* name) const
{
    auto const* value = std::get_if<std::string>(&mValue);
    return value == nullptr ? (wrongKind(name, "text"), *value) : *value;
}

bool Json::flag(char const* name) const
{
    auto const* value = std::get_if<bool>(&mValue);
    return value == nullptr ? (wrongKind(name, "true or false"), false) : *value;
}

double Json::number(char const* name) const
{
    auto const* value = std::get_if<double>(&mValue);
    return value == nullptr ? (wrongKind(name, "number"), 0.0) : *value;
}

int64_t Json::integer(char const* name, int64_t least, int64_t most) const
{
    double const value = number(name);
    if (value != std::floor(value) || value < static_cast<double>(least) || value > static_cast<double>(most))
    {
        std::string shown;
        printNumber(value, shown);
        refuseMessage(std::string(name) + " of a message is " + shown + ", which is not a whole number from " + std::to_string(least) + " to " + std::to_string(most));
    }
    return static_cast<int64_t>(value);
}

Json::Array const& Json::list(char const* name) const
{
    auto const* value = std::get_if<Array>(&mValue);
    return value == nullptr ? (wrongKind(name, "list"), *value) : *value;
}

Json::Object const& Json::object(char const* name) const
{
    auto const* value = std::get_if<Object>(&mValue);
    return value == nullptr ? (wrongKind(name, "object"), *value) : *value;
}

Json const& Json::get(char const* key) const
{
    static Json const kNONE;
    for (auto const& [name, value] : object("what holds a key"))
        if (name == key)
            return value;
    return kNONE;
}

std::vector<int32_t> int32List(Json const& json, char const* name, int64_t least, int64_t most)
{
    std::vector<int32_t> values;
    for (auto const& value : json.list(name))
        values.push_back(static_cast<int32_t>(value.integer(name, least, most)));
    return values;
}

Json toJson(std::vector<int32_t> const& values)
{
    Json::Array list;
    list.reserve(values.size());
    for (int32_t const value : values)
        list.emplace_back(value);
    return list;
}
} // namespace mmtrt::runner
