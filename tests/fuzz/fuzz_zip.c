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
    const uint8_t *bytes = cg_zip_data(z, m);
    volatile uint8_t sum = 0;
    for (uint64_t k = 0; k < m->size; k += 61) sum ^= bytes[k];
    if (m->size) sum ^= bytes[m->size - 1];
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_try(read_all, &(fuzz_input){.data = data, .size = size});
  return 0;
}
