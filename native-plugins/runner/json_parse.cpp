#include "json.h"
#include "problem.h"
#include <cmath>
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
} // namespace

Json Json::parse(std::string_view text) { return Parser(text).whole(); }
} // namespace mmtrt::runner
