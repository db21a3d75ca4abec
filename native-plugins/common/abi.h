// The C interface between kernels and everything that calls them: TensorRT, ONNX Runtime, ctypes. It names none of them.
#pragma once
#include <stdint.h>

// The library hides what is not marked.
#if defined(_WIN32)
#define MMTRT_API __declspec(dllexport)
#else
#define MMTRT_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

// Part of the ABI hash: change it when a struct below changes.
#define MMTRT_ABI_VERSION 2
#define MMTRT_MAX_RANK 8

typedef enum MmtrtDtype
{
    MMTRT_FLOAT32 = 0,
    MMTRT_FLOAT16 = 1,
    MMTRT_BFLOAT16 = 2,
    MMTRT_INT8 = 3,
    // Two to a byte along the last axis, the even element in the low half.
    MMTRT_INT4 = 4,
    MMTRT_INT32 = 5,
    MMTRT_INT64 = 6,
    MMTRT_FLOAT8 = 7,
} MmtrtDtype;

// Row-major and dense. An optional input that is absent has rank -1; runtimes may hand over a scalar in its place, which no
// input is otherwise.
typedef struct MmtrtTensor
{
    void* data;
    int64_t dims[MMTRT_MAX_RANK];
    int32_t rank;
    int32_t dtype;
} MmtrtTensor;

typedef struct MmtrtCall
{
    MmtrtTensor const* inputs;
    MmtrtTensor const* outputs;
    // The plugin's generated Attributes struct.
    void const* attributes;
    // As many bytes as the plugin's workspace function answers for these shapes or larger ones; content undefined.
    void* workspace;
    int64_t workspaceBytes;
    // plugin.yaml's `state` bytes: zero before the first call, left zero by each. One call at a time may use it.
    void* state;
    // A cudaStream_t of the current device.
    void* stream;
    int32_t nbInputs;
    int32_t nbOutputs;
} MmtrtCall;

typedef enum MmtrtStatus
{
    MMTRT_OK = 0,
    // Shapes, types or attributes outside plugin.yaml's limits. mmtrt_last_error() says which.
    MMTRT_REFUSED = 1,
    // A CUDA call failed. mmtrt_last_error() has its text.
    MMTRT_CUDA = 2,
} MmtrtStatus;

// Starts work on the stream and returns; never allocates, never waits, never throws. Returns MmtrtStatus.
typedef int32_t (*MmtrtRun)(MmtrtCall const*);
// Bytes of workspace for the call's shapes; its pointers are not read. Negative: refused.
typedef int64_t (*MmtrtWorkspace)(MmtrtCall const*);

// An output's size along one axis: a value, or two joined by + - * /.
typedef struct MmtrtTerm
{
    // >= 0: that input's axis `value`; MMTRT_CONSTANT: `value` itself; MMTRT_ATTRIBUTE: the value of integer attribute `value`.
    int32_t input;
    int64_t value;
} MmtrtTerm;
#define MMTRT_CONSTANT (-1)
#define MMTRT_ATTRIBUTE (-2)

typedef struct MmtrtDim
{
    char op; // 0, '+', '-', '*', '/'
    MmtrtTerm a;
    MmtrtTerm b;
} MmtrtDim;

typedef struct MmtrtTensorFacts
{
    char const* name;
    // Bit d is set when dtype d is allowed; tensors of the same group >= 0 have the same dtype.
    uint32_t dtypes;
    int32_t group;
    // Axes that are named; `leading` tensors have any number of axes before them.
    int32_t rank;
    int32_t leading;
    int32_t optional;
    // Outputs: the input whose leading axes are repeated, or -1, then `rank` sizes.
    int32_t leadingOf;
    MmtrtDim dims[MMTRT_MAX_RANK];
    // Outputs: the input whose memory it is, or -1; with aliasWhen >= 0 only where that integer attribute is not 0. An aliased
    // output has the input's shape, and in a call both have one pointer.
    int32_t aliasOf;
    int32_t aliasWhen;
} MmtrtTensorFacts;

typedef enum MmtrtAttributeType
{
    MMTRT_ATTRIBUTE_INT = 0,
    MMTRT_ATTRIBUTE_FLOAT = 1,
} MmtrtAttributeType;

typedef struct MmtrtAttributeFacts
{
    char const* name;
    int32_t type;
    // Where it lies in the Attributes struct (int32_t or float).
    int32_t offset;
    double initial;
    double minimum;
    double maximum;
    int32_t required;
} MmtrtAttributeFacts;

typedef struct MmtrtPluginFacts
{
    char const* name;
    char const* version;
    MmtrtTensorFacts const* inputs;
    MmtrtTensorFacts const* outputs;
    MmtrtAttributeFacts const* attributes;
    MmtrtRun run;
    MmtrtWorkspace workspace;
    int64_t stateBytes;
    int32_t nbInputs;
    int32_t nbOutputs;
    int32_t nbAttributes;
    int32_t attributesBytes;
} MmtrtPluginFacts;

// Every plugin of the library.
MMTRT_API MmtrtPluginFacts const* mmtrt_plugins(int32_t* count);
// "mmtrt-plugin-abi:" and 64 hex digits over what callers rely on: this header's version and each plugin's interface.
MMTRT_API char const* mmtrt_plugin_abi(void);
// What the last call of this thread that failed said.
MMTRT_API char const* mmtrt_last_error(void);

#ifdef __cplusplus
}
#endif
