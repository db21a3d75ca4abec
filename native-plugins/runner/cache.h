// Keys and values of a batch between two calls, in one of the three forms that a decoder may have. All is bytes here: floats of any
// width and codes of INT8 or FP8 are kept alike.
#pragma once
#include "engine.h"
#include <cstdint>
#include <memory>
#include <vector>

namespace mmtrt::runner
{
enum class CacheKind
{
    kCONTINUOUS,
    kSTATIC,
    kPAGED,
};

// How large a batch may get, so that memory is asked for once.
struct CacheRoom
{
    // Tokens of the longest row at the end.
    int64_t tokens{0};
    // Rows once beams have multiplied them.
    int64_t rows{0};
    // All of it from the start and nothing moves between steps: on a GPU, and where steps are recorded.
    bool whole{false};
};

// What a cache takes.
struct CacheSize
{
    // Of all layers, for one token of one row; twice that where what is read and what is written lie apart.
    int64_t tokenBytes{0};
    // Tokens of every row, however many there are; 0 where a row takes what it has.
    int64_t fixedTokens{0};
};
CacheSize cacheSize(Engine const& engine, CacheKind kind);

class Cache
{
public:
    virtual ~Cache() = default;

    // Before a call that appends `seq` columns; each row's tokens are written from writeAt[row] on (static and paged).
    virtual void prepare(Engine& engine, int32_t seq, std::vector<int32_t> const& writeAt) = 0;
    // After it.
    virtual void taken(int32_t seq) = 0;
    // Row i becomes what row rows[i] was.
    virtual void select(std::vector<int32_t> const& rows) = 0;
    // Forgets the first columns of a growing cache.
    virtual void drop(int32_t columns) = 0;
};

// Throws Failure RUN050 for another name.
CacheKind cacheKindOf(std::string const& name);

// An empty cache of `rows` rows for the inputs past_… or cache_… of the engine.
std::unique_ptr<Cache> openCache(Device& device, Engine const& engine, CacheKind kind, int32_t rows, CacheRoom const& room);
} // namespace mmtrt::runner
