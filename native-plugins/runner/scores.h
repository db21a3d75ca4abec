// What is made of a row of logits: the same arithmetic in the same order as src/runtime/generate/{scores,sample}.ts, so that the
// same logits give the same token.
#pragma once
#include "options.h"
#include "random.h"
#include <cstddef>
#include <vector>

namespace mmtrt::runner
{
// A row of scores, of a vocabulary's length.
struct Row
{
    float const* values{nullptr};
    int32_t size{0};
};

// Index of the first largest value. Throws Failure NUM001 where the row holds NaN or no finite value.
int32_t argmax(Row row);
// x − log Σ exp(x), in float as it is stored.
std::vector<float> logSoftmax(Row row);

// Scores with what changes them before a token is chosen: a forced token, the repetition penalty, runs that would come twice, end
// tokens that come too early. `scratch` holds them where anything changes. `seen` are the prompt's and the answer's tokens.
Row adjustScores(Row scores, std::vector<int32_t> const& seen, int32_t newTokens, GenerateOptions const& options, std::vector<float>& scratch);

// Whether adjustScores would change anything for a row with so many new tokens.
bool adjusts(int32_t newTokens, GenerateOptions const& options) noexcept;

// Greedy for top_k 1, else drawn: logits / temperature, the k largest (ties of the k-th stay), then the fewest that reach top_p.
int32_t chooseToken(Row scores, GenerateOptions const& options, Random& random);

struct Candidate
{
    int64_t id{0};
    double score{0};
};

// The k largest in falling order; among equals the smaller index first.
std::vector<Candidate> topCandidates(std::vector<double> const& scores, size_t k);
} // namespace mmtrt::runner
