// Whether bytes are an archive of TorchScript that LibTorch may be given: a ZIP file whose structure, sizes and CRCs are right.
// LibTorch's own reader takes a flipped bit without a word, and believes any size. The plugin asks before each load.
#ifndef CG_BASE_SCRIPT_CHECK_H
#define CG_BASE_SCRIPT_CHECK_H
#include <stdbool.h>
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif
// false: `why` says what is wrong. Threads: any.
bool cg_script_check(const void *bytes, size_t size, char *why, size_t why_size);
#ifdef __cplusplus
}
#endif
#endif
