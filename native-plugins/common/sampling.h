// What the native runner calls of the library besides plugins. Device memory, work on the stream, no wait.
#pragma once
#include "abi.h"

#ifdef __cplusplus
extern "C" {
#endif

// Of [rows, vocab] in float32 the place of each row's first largest value into tokens[row]; -1 for a row with NaN or without a finite
// value. Returns MmtrtStatus.
MMTRT_API int32_t mmtrt_argmax(float const* logits, int32_t rows, int32_t vocab, int32_t* tokens, void* stream);

#ifdef __cplusplus
}
#endif
