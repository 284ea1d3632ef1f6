// What is asked of a TorchScript archive before LibTorch is given it: source and pickles, given as text (fuzz.h).
#include "artifact/unsafe.h"
#include "base/script_check.h"
#include "fuzz.h"

static bool may(void *u, const char *name) {
  (void)u;
  return !cg_unsafe_op(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_bytes zip = fuzz_zip(data, size);
  char why[256], name[256];
  if (cg_script_check(zip.at, zip.n, why, sizeof why)) cg_script_runs(zip.at, zip.n, may, NULL, name, sizeof name, why, sizeof why);
  free(zip.at);
  return 0;
}
