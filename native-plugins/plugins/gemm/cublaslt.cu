#include "cublaslt.h"
#include <array>
#include <atomic>
#include <dlfcn.h>
#include <initializer_list>
#include <mutex>
#include <type_traits>

namespace mmtrt::gemm
{
namespace
{
// The parts of cublasLt.h that are used, so that building needs no header: its numbers are part of its ABI.
using Opaque = void*;
struct Algorithm
{
    uint64_t data[8];
};
struct Heuristic
{
    Algorithm algorithm;
    size_t workspaceBytes;
    int32_t status;
    float waves;
    int32_t reserved[4];
};
constexpr int32_t kFLOAT32 = 0;
constexpr int32_t kFLOAT16 = 2;
constexpr int32_t kBFLOAT16 = 14;
constexpr int32_t kCOMPUTE_FLOAT32 = 68;
constexpr int32_t kTRANSPOSED = 1;
enum DescriptorAttribute : int32_t
{
    kTRANSPOSE_A = 3,
    kEPILOGUE = 7,
    kBIAS_POINTER = 8,
};
constexpr int32_t kMOST_WORKSPACE = 1;
enum Epilogue : int32_t
{
    kPLAIN = 1,
    kRELU = 2,
    kWITH_BIAS = 4,
    kGELU = 32,
};

struct Library
{
    int32_t (*create)(Opaque*){nullptr};
    int32_t (*descriptorCreate)(Opaque*, int32_t, int32_t){nullptr};
    int32_t (*descriptorSet)(Opaque, int32_t, void const*, size_t){nullptr};
    int32_t (*descriptorDestroy)(Opaque){nullptr};
    int32_t (*layoutCreate)(Opaque*, int32_t, uint64_t, uint64_t, int64_t){nullptr};
    int32_t (*layoutDestroy)(Opaque){nullptr};
    int32_t (*preferenceCreate)(Opaque*){nullptr};
    int32_t (*preferenceSet)(Opaque, int32_t, void const*, size_t){nullptr};
    int32_t (*preferenceDestroy)(Opaque){nullptr};
    int32_t (*heuristic)(Opaque, Opaque, Opaque, Opaque, Opaque, Opaque, Opaque, int32_t, Heuristic*, int32_t*){nullptr};
    int32_t (*matmul)(Opaque, Opaque, void const*, void const*, Opaque, void const*, Opaque, void const*, void const*, Opaque, void*,
        Opaque, Algorithm const*, void*, size_t, cudaStream_t){nullptr};
    bool found{false};

    Library() noexcept
    {
        void* library = nullptr;
        // The one that goes with this library's CUDA first; a process that has another loaded has that of its own CUDA.
        for (char const* const name : {"libcublasLt.so.13", "libcublasLt.so.12"})
            if (library == nullptr)
                library = dlopen(name, RTLD_NOW);
        if (library == nullptr)
            return;
        found = true;
        auto const find = [&](auto& function, char const* name)
        {
            function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
            found = found && function != nullptr;
        };
        find(create, "cublasLtCreate");
        find(descriptorCreate, "cublasLtMatmulDescCreate");
        find(descriptorSet, "cublasLtMatmulDescSetAttribute");
        find(descriptorDestroy, "cublasLtMatmulDescDestroy");
        find(layoutCreate, "cublasLtMatrixLayoutCreate");
        find(layoutDestroy, "cublasLtMatrixLayoutDestroy");
        find(preferenceCreate, "cublasLtMatmulPreferenceCreate");
        find(preferenceSet, "cublasLtMatmulPreferenceSetAttribute");
        find(preferenceDestroy, "cublasLtMatmulPreferenceDestroy");
        find(heuristic, "cublasLtMatmulAlgoGetHeuristic");
        find(matmul, "cublasLtMatmul");
    }
};

Library const& library() noexcept
{
    static Library const loaded;
    return loaded;
}

constexpr int32_t kMAX_DEVICES = 64;

// A handle serves the device that was current when it was made; kept for the life of the process.
struct Handles
{
    std::mutex mutex;
    std::array<Opaque, kMAX_DEVICES> ofDevice{};
    std::array<bool, kMAX_DEVICES> asked{};
};

int32_t currentDevice() noexcept
{
    int32_t device = 0;
    return cudaGetDevice(&device) == cudaSuccess && device >= 0 && device < kMAX_DEVICES ? device : -1;
}

Opaque handleOf(int32_t device) noexcept
{
    static Handles handles;
    if (device < 0 || !library().found)
        return nullptr;
    std::lock_guard<std::mutex> const lock(handles.mutex);
    if (!handles.asked[device])
    {
        handles.asked[device] = true;
        if (library().create(&handles.ofDevice[device]) != 0)
            handles.ofDevice[device] = nullptr;
    }
    return handles.ofDevice[device];
}

// What an algorithm is chosen for.
struct Key
{
    int64_t rows;
    int64_t k;
    int64_t n;
    int64_t workspaceBytes;
    int32_t device;
    int32_t epilogue;
    bool half;

    bool operator==(Key const& other) const noexcept
    {
        return rows == other.rows && k == other.k && n == other.n && workspaceBytes == other.workspaceBytes && device == other.device
            && epilogue == other.epilogue && half == other.half;
    }
    uint64_t place() const noexcept
    {
        uint64_t hash = 0;
        for (int64_t const part : {rows, k, n, workspaceBytes, int64_t{device}, int64_t{epilogue}, int64_t{half}})
            hash = (hash ^ static_cast<uint64_t>(part)) * 0x9e3779b97f4a7c15ULL;
        return hash >> 55;
    }
};

// The algorithms of the sizes that came last, one a place: asking costs more than many a product.
class Choices
{
public:
    bool find(Key const& key, Algorithm& algorithm, bool& exists) noexcept
    {
        std::lock_guard<std::mutex> const lock(mMutex);
        auto const& entry = mEntries[key.place()];
        if (!entry.used || !(entry.key == key))
            return false;
        algorithm = entry.algorithm;
        exists = entry.exists;
        return true;
    }
    void keep(Key const& key, Algorithm const& algorithm, bool exists) noexcept
    {
        std::lock_guard<std::mutex> const lock(mMutex);
        mEntries[key.place()] = {key, algorithm, true, exists};
    }

private:
    struct Entry
    {
        Key key;
        Algorithm algorithm;
        bool used;
        bool exists;
    };
    std::mutex mMutex;
    std::array<Entry, 512> mEntries{};
};

Choices& choices() noexcept
{
    static Choices kept;
    return kept;
}

// A descriptor of cuBLASLt's, which lies in host memory.
class Owned
{
public:
    explicit Owned(int32_t (*destroy)(Opaque)) noexcept
        : mDestroy(destroy)
    {
    }
    ~Owned()
    {
        if (mValue != nullptr)
            mDestroy(mValue);
    }
    Owned(Owned const&) = delete;
    Owned& operator=(Owned const&) = delete;
    Opaque* put() noexcept { return &mValue; }
    Opaque get() const noexcept { return mValue; }

private:
    int32_t (*mDestroy)(Opaque);
    Opaque mValue{nullptr};
};

// cuBLASLt counts columns first: y[rows, n] is its [n, rows], the weight [k, n] transposed, x [k, rows].
struct Description
{
    Owned operation{library().descriptorDestroy};
    Owned weight{library().layoutDestroy};
    Owned x{library().layoutDestroy};
    Owned y{library().layoutDestroy};

    bool make(Product const& product, int32_t epilogue) noexcept
    {
        auto const& lt = library();
        int32_t const type = product.half ? kFLOAT16 : kBFLOAT16;
        bool ok = lt.descriptorCreate(operation.put(), kCOMPUTE_FLOAT32, kFLOAT32) == 0
            && lt.layoutCreate(weight.put(), type, product.k, product.n, product.k) == 0
            && lt.layoutCreate(x.put(), type, product.k, product.rows, product.k) == 0
            && lt.layoutCreate(y.put(), type, product.n, product.rows, product.n) == 0
            && lt.descriptorSet(operation.get(), kTRANSPOSE_A, &kTRANSPOSED, sizeof(kTRANSPOSED)) == 0
            && lt.descriptorSet(operation.get(), kEPILOGUE, &epilogue, sizeof(epilogue)) == 0;
        if (ok && product.bias != nullptr)
            ok = lt.descriptorSet(operation.get(), kBIAS_POINTER, &product.bias, sizeof(product.bias)) == 0;
        return ok;
    }
};

int32_t epilogueOf(Product const& product) noexcept
{
    int32_t const curve = product.activation == 1 ? kGELU : product.activation == 4 ? kRELU : 0;
    int32_t const epilogue = curve | (product.bias != nullptr ? kWITH_BIAS : 0);
    return epilogue == 0 ? kPLAIN : epilogue;
}

bool choose(Opaque handle, Key const& key, Description const& description, Algorithm& algorithm) noexcept
{
    bool exists = false;
    if (choices().find(key, algorithm, exists))
        return exists;
    auto const& lt = library();
    Owned preference(lt.preferenceDestroy);
    auto const most = static_cast<size_t>(key.workspaceBytes);
    Heuristic result{};
    int32_t count = 0;
    exists = lt.preferenceCreate(preference.put()) == 0
        && lt.preferenceSet(preference.get(), kMOST_WORKSPACE, &most, sizeof(most)) == 0
        && lt.heuristic(handle, description.operation.get(), description.weight.get(), description.x.get(), description.y.get(),
               description.y.get(), preference.get(), 1, &result, &count)
            == 0
        && count > 0 && result.status == 0;
    algorithm = result.algorithm;
    choices().keep(key, algorithm, exists);
    return exists;
}
} // namespace

bool cublasServes() noexcept { return handleOf(currentDevice()) != nullptr; }

bool cublasProduct(Product const& product, void* workspace, int64_t workspaceBytes, cudaStream_t stream) noexcept
{
    int32_t const device = currentDevice();
    Opaque const handle = handleOf(device);
    if (handle == nullptr)
        return false;
    int32_t const epilogue = epilogueOf(product);
    Key const key{product.rows, product.k, product.n, workspaceBytes, device, epilogue, product.half};
    Description description;
    Algorithm algorithm{};
    if (!description.make(product, epilogue) || !choose(handle, key, description, algorithm))
        return false;
    float const one = 1.F;
    float const zero = 0.F;
    return library().matmul(handle, description.operation.get(), &one, product.weight, description.weight.get(), product.x,
               description.x.get(), &zero, product.y, description.y.get(), product.y, description.y.get(), &algorithm, workspace,
               static_cast<size_t>(workspaceBytes), stream)
        == 0;
}
} // namespace mmtrt::gemm
