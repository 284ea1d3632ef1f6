// The ZIP reader: directory, headers, inflating.
#include "base/zip.h"
#include "fuzz.h"

static void read_all(cg_session *s, void *u) {
  fuzz_input *in = u;
  cg_file f = {"fuzz.zip", in->data, in->size};
  cg_zip *z = cg_zip_open(s, &f, CIERGE_BAD_INPUT);
  for (int i = 0; i < cg_zip_count(z); i++) {
    const cg_zip_member *m = cg_zip_at(z, i);
    if (cg_zip_find(z, m->name) != m) abort();
    fuzz_touch(cg_zip_data(z, m), m->size);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_try(read_all, &(fuzz_input){.data = data, .size = size});
  return 0;
}
