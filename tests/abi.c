// What programs that were compiled against cierge.h rely on: sizes and places of its structs, numbers of its enums. tests/abi.txt keeps them.
#include <stddef.h>
#include <stdio.h>

#include "cierge/cierge.h"

#define STRUCT(t) printf("struct %s %zu\n", #t, sizeof(t))
#define FIELD(t, f) printf("  %s %zu %zu\n", #f, offsetof(t, f), sizeof(((t *)0)->f))
#define NUMBER(e) printf("enum %s %d\n", #e, (int)e)

int main(void) {
  STRUCT(cierge_load_options);
  FIELD(cierge_load_options, size);
  FIELD(cierge_load_options, libtorch);
  FIELD(cierge_load_options, lazy);
  FIELD(cierge_load_options, torch_libraries);
  FIELD(cierge_load_options, allow_unsafe_ops);
  STRUCT(cierge_spec);
  FIELD(cierge_spec, name);
  FIELD(cierge_spec, kind);
  FIELD(cierge_spec, dtype);
  FIELD(cierge_spec, dl_dtype);
  FIELD(cierge_spec, rank);
  FIELD(cierge_spec, sizes);
  FIELD(cierge_spec, dims);
  FIELD(cierge_spec, constant);
  STRUCT(cierge_context_options);
  FIELD(cierge_context_options, size);
  FIELD(cierge_context_options, threads);
  FIELD(cierge_context_options, profile);
#define XX(name, exit_code, text) NUMBER(CIERGE_##name);
  CIERGE_CODE_MAP(XX)
#undef XX
  NUMBER(CIERGE_KIND_TENSOR);
  NUMBER(CIERGE_KIND_INT);
  NUMBER(CIERGE_KIND_FLOAT);
  NUMBER(CIERGE_KIND_BOOL);
  NUMBER(CIERGE_KIND_NONE);
  NUMBER(CIERGE_KIND_STRING);
  NUMBER(CIERGE_READ_ONLY);
}
