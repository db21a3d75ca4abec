// Inputs of a decoder that are the same at every step and follow the rows: what an encoder gave, the adapters' numbers.
#pragma once
#include "engine.h"
#include "rows.h"
#include <string>
#include <utility>
#include <vector>

namespace mmtrt::runner
{
struct Attended
{
    // By the decoder's input.
    std::vector<std::pair<std::string, RowTensor>> tensors;

    void select(std::vector<int32_t> const& rows)
    {
        for (auto& tensor : tensors)
            tensor.second.select(rows);
    }
};

// Visual features of all images of a batch, the rows of the prompt table.
struct Features
{
    View view;
    Buffer memory;
};
} // namespace mmtrt::runner
