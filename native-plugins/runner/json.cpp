#include "json.h"
#include "problem.h"
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace mmtrt::runner
{
namespace
{
// No message nests deeper than a dozen.
constexpr int32_t kMAX_DEPTH = 32;

[[noreturn]] void malformed(char const* expected, size_t at) { refuseMessage(std::string("a message's JSON has no ") + expected + " at byte " + std::to_string(at)); }

class Parser
{
public:
    explicit Parser(std::string_view text)
        : mText(text)
    {
    }

    Json whole()
    {
        Json value = any(0);
        skipSpace();
        if (mAt != mText.size())
            malformed("end", mAt);
        return value;
    }

private:
    void skipSpace() noexcept
    {
        while (mAt < mText.size() && (mText[mAt] == ' ' || mText[mAt] == '\n' || mText[mAt] == '\r' || mText[mAt] == '\t'))
            ++mAt;
    }

    char peek()
    {
        skipSpace();
        return mAt < mText.size() ? mText[mAt] : '\0';
    }

    bool takes(char wanted)
    {
        if (peek() != wanted)
            return false;
        ++mAt;
        return true;
    }

    void expect(char wanted, char const* name)
    {
        if (!takes(wanted))
            malformed(name, mAt);
    }

    bool takesWord(std::string_view word) noexcept
    {
        if (mText.substr(mAt, word.size()) != word)
            return false;
        mAt += word.size();
        return true;
    }

    Json any(int32_t depth)
    {
        if (depth > kMAX_DEPTH)
            refuseMessage("a message's JSON is nested more than 32 deep");
        switch (peek())
        {
        case '{': return object(depth);
        case '[': return array(depth);
        case '"': return string();
        case 't': return takesWord("true") ? Json(true) : (malformed("value", mAt), Json());
        case 'f': return takesWord("false") ? Json(false) : (malformed("value", mAt), Json());
        case 'n': return takesWord("null") ? Json() : (malformed("value", mAt), Json());
        default: return number();
        }
    }

    Json object(int32_t depth)
    {
        Json::Object members;
        expect('{', "{");
        if (takes('}'))
            return members;
        do
        {
            if (peek() != '"')
                malformed("key", mAt);
            std::string key = string();
            expect(':', "colon");
            members.emplace_back(std::move(key), any(depth + 1));
        } while (takes(','));
        expect('}', "}");
        return members;
    }

    Json array(int32_t depth)
    {
        Json::Array values;
        expect('[', "[");
        if (takes(']'))
            return values;
        do
            values.push_back(any(depth + 1));
        while (takes(','));
        expect(']', "]");
        return values;
    }

    Json number()
    {
        // strtod wants an end; no number of the protocol has more characters.
        char text[64];
        size_t length = 0;
        while (length < sizeof(text) - 1 && mAt + length < mText.size() && isNumeric(mText[mAt + length]))
        {
            text[length] = mText[mAt + length];
            ++length;
        }
        text[length] = '\0';
        char* end = nullptr;
        double const value = std::strtod(text, &end);
        if (length == 0 || end != text + length || !std::isfinite(value))
            malformed("value", mAt);
        mAt += length;
        return value;
    }

    static bool isNumeric(char c) noexcept { return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'; }

    std::string string()
    {
        expect('"', "string");
        std::string text;
        for (; mAt < mText.size() && mText[mAt] != '"'; ++mAt)
        {
            if (mText[mAt] == '\\')
                escape(text);
            else
                text.push_back(mText[mAt]);
        }
        expect('"', "end of a string");
        return text;
    }

    void escape(std::string& text)
    {
        static constexpr std::string_view kFROM = "\"\\/bfnrt";
        static constexpr std::string_view kTO = "\"\\/\b\f\n\r\t";
        char const kind = ++mAt < mText.size() ? mText[mAt] : '\0';
        if (size_t const known = kFROM.find(kind); known != std::string_view::npos && kind != '\0')
            text.push_back(kTO[known]);
        else if (kind == 'u')
            appendUtf8(text, codePoint());
        else
            malformed("escape", mAt);
    }

    uint32_t hex4()
    {
        uint32_t value = 0;
        for (int32_t i = 0; i < 4; ++i)
        {
            char const c = ++mAt < mText.size() ? mText[mAt] : '\0';
            if (c >= '0' && c <= '9')
                value = value * 16 + static_cast<uint32_t>(c - '0');
            else if ((c | 32) >= 'a' && (c | 32) <= 'f')
                value = value * 16 + static_cast<uint32_t>((c | 32) - 'a' + 10);
            else
                malformed("hex digit", mAt);
        }
        return value;
    }

    // A pair of surrogates is one character; one by itself is none.
    uint32_t codePoint()
    {
        uint32_t const first = hex4();
        if (first < 0xD800 || first > 0xDFFF)
            return first;
        if (first > 0xDBFF || !takesWordAfter("\\u"))
            malformed("second surrogate", mAt);
        uint32_t const second = hex4();
        if (second < 0xDC00 || second > 0xDFFF)
            malformed("second surrogate", mAt);
        return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    }

    bool takesWordAfter(std::string_view word) noexcept
    {
        ++mAt;
        bool const found = takesWord(word);
        --mAt;
        return found;
    }

    static void appendUtf8(std::string& text, uint32_t code)
    {
        auto const push = [&](uint32_t byte) { text.push_back(static_cast<char>(byte)); };
        if (code < 0x80)
            return push(code);
        if (code < 0x800)
            push(0xC0 | (code >> 6));
        else if (code < 0x10000)
        {
            push(0xE0 | (code >> 12));
            push(0x80 | ((code >> 6) & 0x3F));
        }
        else
        {
            push(0xF0 | (code >> 18));
            push(0x80 | ((code >> 12) & 0x3F));
            push(0x80 | ((code >> 6) & 0x3F));
        }
        push(0x80 | (code & 0x3F));
    }

    std::string_view mText;
    size_t mAt{0};
};

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

Json Json::parse(std::string_view text) { return Parser(text).whole(); }

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
