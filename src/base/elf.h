// What an ELF shared object says of itself, read from its bytes: enough to know, before the loader runs any of its code,
// whether it is whole, for this machine, and what it wants beside it.
#ifndef CG_BASE_ELF_H
#define CG_BASE_ELF_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  const char *python_library; // the library of Python's that it is linked with ("libtorch_python.so"); NULL: none
  const char *python_symbol;  // a function of Python's that it leaves undefined ("PyList_New"); NULL: none
} cg_elf_wants;

// Reads it. NULL: all is well, *out points into `data`. Else what is wrong with it ("it is cut off: …"), written into `text`.
const char *cg_elf_read(const uint8_t *data, size_t size, cg_elf_wants *out, char *text, size_t text_size);
#endif
