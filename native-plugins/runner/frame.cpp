#include "frame.h"
#include "problem.h"
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <unistd.h>

namespace mmtrt::runner
{
namespace
{
constexpr char kMAGIC[] = {'M', 'T', 'R', '1'};
constexpr size_t kPREFIX_BYTES = 16;
// A batch of 256 prompts of a million tokens each fits; so does the description of a model of 200 layers.
constexpr uint64_t kMAX_HEADER = uint64_t{1} << 28;
// Pixels of 1024 pictures of 1024 × 1024, or the adapters of a large model.
constexpr uint64_t kMAX_PAYLOAD = uint64_t{1} << 34;
constexpr uint64_t kMAX_TENSORS = 1U << 20;
constexpr size_t kCHUNK = 16U << 20;

template <typename Number>
Number littleEndian(char const* bytes) noexcept
{
    Number value = 0;
    for (size_t i = 0; i < sizeof(Number); ++i)
        value |= static_cast<Number>(static_cast<unsigned char>(bytes[i])) << (8 * i);
    return value;
}

template <typename Number>
void putLittleEndian(Number value, char* bytes) noexcept
{
    for (size_t i = 0; i < sizeof(Number); ++i)
        bytes[i] = static_cast<char>(value >> (8 * i));
}

std::vector<Sent> tensorsOf(Json const& header, uint64_t payloadBytes)
{
    std::vector<Sent> tensors;
    Json const& listed = header.get("tensors");
    uint64_t total = 0;
    if (!listed.isNull() && listed.list("tensors").size() > kMAX_TENSORS)
        refuseMessage("a message has more than a million tensors");
    for (size_t i = 0; !listed.isNull() && i < listed.list("tensors").size(); ++i)
    {
        Json const& one = listed.list("tensors")[i];
        Sent tensor;
        tensor.name = one.get("name").text("a tensor's name");
        tensor.dtype = dtypeOf(one.get("dtype").text("a tensor's dtype"));
        for (Json const& size : one.get("shape").list("a tensor's shape"))
            tensor.shape.push_back(size.integer("a tensor's size", 0, int64_t{1} << 40));
        tensor.offset = total;
        tensor.bytes = static_cast<size_t>(elementsOf(tensor.shape) * bytesOf(tensor.dtype));
        total += tensor.bytes;
        tensors.push_back(std::move(tensor));
    }
    if (total != payloadBytes)
        refuseMessage("a message's tensors take " + std::to_string(total) + " bytes and " + std::to_string(payloadBytes) + " are announced");
    return tensors;
}
} // namespace

size_t FrameReader::read(char* to, size_t count)
{
    size_t done = 0;
    while (done < count)
    {
        ssize_t const got = ::read(mFd, to + done, count - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        done += static_cast<size_t>(got);
    }
    return done;
}

std::vector<char> FrameReader::readAll(uint64_t count)
{
    std::vector<char> bytes;
    while (bytes.size() < count)
    {
        size_t const had = bytes.size();
        size_t const chunk = std::min<uint64_t>(kCHUNK, count - had);
        bytes.resize(had + chunk);
        if (read(bytes.data() + had, chunk) < chunk)
            refuseMessage("a message ends early: " + std::to_string(count) + " bytes are announced");
    }
    return bytes;
}

std::optional<Frame> FrameReader::next()
{
    std::array<char, kPREFIX_BYTES> prefix{};
    size_t const got = read(prefix.data(), prefix.size());
    if (got == 0)
        return std::nullopt;
    if (got < std::min(prefix.size(), sizeof(kMAGIC)) || std::memcmp(prefix.data(), kMAGIC, sizeof(kMAGIC)) != 0)
        refuseMessage("what came is no message: it does not begin with MTR1");
    if (got < prefix.size())
        refuseMessage("a message ends within its first 16 bytes");
    uint64_t const headerBytes = littleEndian<uint32_t>(prefix.data() + 4);
    uint64_t const payloadBytes = littleEndian<uint64_t>(prefix.data() + 8);
    if (headerBytes > kMAX_HEADER || payloadBytes > kMAX_PAYLOAD)
        refuseMessage("a message announces " + std::to_string(headerBytes) + " and " + std::to_string(payloadBytes) + " bytes; at most "
            + std::to_string(kMAX_HEADER) + " and " + std::to_string(kMAX_PAYLOAD) + " are taken");
    auto const text = readAll(headerBytes);
    Frame frame;
    frame.header = Json::parse({text.data(), text.size()});
    frame.tensors = tensorsOf(frame.header, payloadBytes);
    frame.payload = readAll(payloadBytes);
    return frame;
}

bool FrameWriter::write(Json::Object header, char const* payload, size_t bytes)
{
    std::string const text = Json(std::move(header)).print();
    std::string first(kPREFIX_BYTES, '\0');
    std::memcpy(first.data(), kMAGIC, sizeof(kMAGIC));
    putLittleEndian(static_cast<uint32_t>(text.size()), first.data() + 4);
    putLittleEndian(static_cast<uint64_t>(bytes), first.data() + 8);
    first += text;
    std::lock_guard<std::mutex> const lock(mMutex);
    return writeAll(first.data(), first.size()) && writeAll(payload, bytes);
}

bool FrameWriter::writeAll(char const* bytes, size_t count) const
{
    for (size_t done = 0; done < count;)
    {
        ssize_t const put = ::write(mFd, bytes + done, count - done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        done += static_cast<size_t>(put);
    }
    return true;
}
} // namespace mmtrt::runner
