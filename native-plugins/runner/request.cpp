#include "request.h"
#include "model.h"
#include "problem.h"

namespace mmtrt::runner
{
int64_t requestId(Frame const& frame) { return frame.header.get("id").integer("id", 0, int64_t{1} << 53); }

GenerateRequest readRequest(Frame const& frame)
{
    GenerateRequest request;
    request.options = readOptions(frame.header.get("options"));
    for (Json const& one : frame.header.get("prompts").list("prompts"))
        request.prompts.push_back(int32List(one, "a token id", 0, INT32_MAX));
    // Placeholders of images may be negative.
    for (Json const& one : frame.header.get("seen").list("seen"))
        request.seen.push_back(int32List(one, "a token id", INT32_MIN, INT32_MAX));
    request.tasks = int32List(frame.header.get("tasks"), "a task", -1, 1 << 20);
    if (request.prompts.empty() || request.prompts.size() != request.seen.size() || request.prompts.size() != request.tasks.size())
        refuseMessage("a request has " + std::to_string(request.prompts.size()) + " prompts, " + std::to_string(request.seen.size())
            + " lists of seen tokens and " + std::to_string(request.tasks.size()) + " tasks");
    for (auto const& tensor : frame.tensors)
    {
        if (tensor.name != "pixels" || tensor.dtype != Dtype::kFLOAT32 || tensor.shape.size() != 4)
            refuseMessage("a request comes with a tensor " + tensor.name.substr(0, 80) + " " + show(tensor.shape));
        request.pixelShape = tensor.shape;
        request.pixels = reinterpret_cast<float const*>(frame.payload.data() + tensor.offset);
    }
    request.images = request.pixelShape.empty() ? 0 : request.pixelShape[0];
    if (Json const& images = frame.header.get("images"); !images.isNull())
        request.images = images.integer("images", request.images, 1 << 30);
    return request;
}
} // namespace mmtrt::runner
