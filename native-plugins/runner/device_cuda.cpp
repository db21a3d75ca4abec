// A GPU by CUDA's runtime library, loaded at run time: the same program starts where there is none.
#include "device.h"
#include "library.h"
#include "problem.h"

namespace mmtrt::runner
{
namespace
{
// Of cuda_runtime_api.h, which is not needed for it: these have not changed since CUDA 11.
enum : int32_t
{
    kHOST_TO_DEVICE = 1,
    kDEVICE_TO_HOST = 2,
    kDEVICE_TO_DEVICE = 3,
    kNON_BLOCKING = 1,
    kMAJOR = 75,
    kMINOR = 76,
};
constexpr char const* kFIX = "install CUDA's runtime (libcudart), put it on LD_LIBRARY_PATH, and check the driver with nvidia-smi";

struct Api
{
    explicit Api(std::vector<std::string> const& files)
        : library(files, "CUDA's runtime library", kFIX)
    {
    }

    Library library;
    int32_t (*setDevice)(int32_t) = library.function<decltype(setDevice)>("cudaSetDevice");
    int32_t (*deviceCount)(int32_t*) = library.function<decltype(deviceCount)>("cudaGetDeviceCount");
    int32_t (*attribute)(int32_t*, int32_t, int32_t) = library.function<decltype(attribute)>("cudaDeviceGetAttribute");
    int32_t (*memoryInfo)(size_t*, size_t*) = library.function<decltype(memoryInfo)>("cudaMemGetInfo");
    int32_t (*createStream)(void**, uint32_t) = library.function<decltype(createStream)>("cudaStreamCreateWithFlags");
    int32_t (*destroyStream)(void*) = library.function<decltype(destroyStream)>("cudaStreamDestroy");
    int32_t (*synchronize)(void*) = library.function<decltype(synchronize)>("cudaStreamSynchronize");
    int32_t (*allocate)(void**, size_t) = library.function<decltype(allocate)>("cudaMalloc");
    int32_t (*release)(void*) = library.function<decltype(release)>("cudaFree");
    int32_t (*copy)(void*, void const*, size_t, int32_t, void*) = library.function<decltype(copy)>("cudaMemcpyAsync");
    int32_t (*copy2d)(void*, size_t, void const*, size_t, size_t, size_t, int32_t, void*) = library.function<decltype(copy2d)>("cudaMemcpy2DAsync");
    int32_t (*set)(void*, int32_t, size_t, void*) = library.function<decltype(set)>("cudaMemsetAsync");
    int32_t (*lastError)() = library.function<decltype(lastError)>("cudaGetLastError");
    char const* (*errorText)(int32_t) = library.function<decltype(errorText)>("cudaGetErrorString");
};

class Cuda final : public Device
{
public:
    Cuda(int32_t index, std::vector<std::string> const& files)
        : mApi(files)
    {
        int32_t count = 0;
        int32_t const status = mApi.deviceCount(&count);
        if (status != 0 || index >= count)
            throw Failure({"RUN057", "there is no GPU " + std::to_string(index) + ": " + (status == 0 ? std::to_string(count) + " are seen" : mApi.errorText(status)),
                "--device cuda", "CUDA shows the GPUs that the driver has and CUDA_VISIBLE_DEVICES names", kFIX});
        check(mApi.setDevice(index));
        int32_t major = 0;
        int32_t minor = 0;
        check(mApi.attribute(&major, kMAJOR, index));
        check(mApi.attribute(&minor, kMINOR, index));
        mFacts.sm = 10 * major + minor;
        mFacts.index = index;
        mFacts.name = "GPU " + std::to_string(index) + " (SM " + std::to_string(mFacts.sm) + ")";
        size_t available = 0;
        size_t total = 0;
        check(mApi.memoryInfo(&available, &total));
        mFacts.totalBytes = static_cast<int64_t>(total);
        check(mApi.createStream(&mStream, kNON_BLOCKING));
    }
    Cuda(Cuda const&) = delete;
    Cuda& operator=(Cuda const&) = delete;
    ~Cuda() override
    {
        releaseKept();
        mApi.destroyStream(mStream);
    }

    bool isHost() const noexcept override { return false; }
    DeviceFacts const& facts() const noexcept override { return mFacts; }
    void* stream() const noexcept override { return mStream; }
    int64_t freeBytes() const noexcept override
    {
        size_t available = 0;
        size_t total = 0;
        return mApi.memoryInfo(&available, &total) == 0 ? static_cast<int64_t>(available) : 0;
    }
    void upload(void* to, void const* from, int64_t bytes) override { start(to, from, bytes, kHOST_TO_DEVICE); }
    void download(void* to, void const* from, int64_t bytes) override
    {
        start(to, from, bytes, kDEVICE_TO_HOST);
        wait();
    }
    void copy(void* to, void const* from, int64_t bytes) override { start(to, from, bytes, kDEVICE_TO_DEVICE); }
    void copyRows(void* to, int64_t toPitch, void const* from, int64_t fromPitch, int64_t bytes, int64_t rows) override
    {
        if (bytes > 0 && rows > 0)
            check(mApi.copy2d(to, static_cast<size_t>(toPitch), from, static_cast<size_t>(fromPitch), static_cast<size_t>(bytes), static_cast<size_t>(rows),
                kDEVICE_TO_DEVICE, mStream));
    }
    void zero(void* to, int64_t bytes) override
    {
        if (bytes > 0)
            check(mApi.set(to, 0, static_cast<size_t>(bytes), mStream));
    }
    void wait() override { check(mApi.synchronize(mStream)); }

protected:
    void* allocate(int64_t bytes) noexcept override
    {
        void* data = nullptr;
        if (mApi.allocate(&data, static_cast<size_t>(bytes)) == 0)
            return data;
        // Otherwise the next call would report it again.
        mApi.lastError();
        return nullptr;
    }
    // What still works on it is waited for by cudaFree itself.
    void release(void* data) noexcept override { mApi.release(data); }

private:
    void start(void* to, void const* from, int64_t bytes, int32_t kind)
    {
        if (bytes > 0)
            check(mApi.copy(to, from, static_cast<size_t>(bytes), kind, mStream));
    }

    void check(int32_t status) const
    {
        if (status != 0)
            throw Failure({"RUN058", std::string("CUDA: ") + mApi.errorText(status), mFacts.name, "work that was put on the GPU failed",
                "run it again; if it fails again, run with --gpt_attention_plugin disable builds to see whether a kernel is the cause, and report it"});
    }

    Api mApi;
    DeviceFacts mFacts;
    void* mStream{nullptr};
};
} // namespace

std::unique_ptr<Device> openCuda(int32_t index, std::vector<std::string> const& runtimes) { return std::make_unique<Cuda>(index, runtimes); }
} // namespace mmtrt::runner
