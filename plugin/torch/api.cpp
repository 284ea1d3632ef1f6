// The plugin's face (cierge_torch.h): what is thrown inside ends here as a text.
#include <ATen/CPUGeneratorImpl.h>
#include <dlfcn.h>
#include <unistd.h>
#include <torch/version.h>

#include <cstdio>
#include <memory>
#include <sstream>

#include "region.h"

namespace {

using namespace cierge;

void say(cierge_torch_error *e, const char *text) {
  if (!e || !e->size) return;
  if (!text || !*text) text = "an operator failed without a message";
  size_t n = strcspn(text, "\n"); // PyTorch appends traces and advice below
  const char *backend = strstr(text, "' backend. "); // "Could not run … from the 'CPU' backend.", then a page of its own affairs
  if (backend && !strncmp(text, "Could not run ", 14)) n = (size_t)(backend - text) + 10;
  if (n >= e->size) n = e->size - 1;
  memcpy(e->text, text, n);
  e->text[n] = 0;
}

// f's result; -1 and a text where it throws.
template <class F> int guarded(cierge_torch_error *e, F f) noexcept {
  try {
    return f();
  } catch (const c10::Error &x) {
    say(e, x.what_without_backtrace());
  } catch (const std::exception &x) {
    say(e, x.what());
  } catch (...) {
    say(e, "an operator threw something that is no std::exception");
  }
  return -1;
}

int schema(const char *key, char *buf, size_t size) {
  return guarded(nullptr, [&] {
    auto op = find_operator(key);
    if (!op) return 1;
    std::ostringstream text;
    text << op->schema();
    int n = snprintf(buf, size, "%s", text.str().c_str());
    return n < 0 || (size_t)n >= size ? 1 : 0;
  }) == 0 ? 0 : 1;
}

int has_cpu(const char *key) {
  return guarded(nullptr, [&] {
    auto op = find_operator(key);
    return op && has_cpu_kernel(*op) ? 1 : 0;
  }) == 1;
}

int has_meta(const char *key) {
  return guarded(nullptr, [&] {
    auto op = find_operator(key);
    return op && has_meta_kernel(*op) ? 1 : 0;
  }) == 1;
}

int infer(const void *program, size_t size, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int max_out,
          cierge_torch_error *e) {
  return guarded(e, [&] {
    std::unique_ptr<cierge_torch_region> r(read_program(program, size, true));
    return infer_types(*r, in, n_in, out, max_out);
  });
}

// Custom operator libraries are linked with libtorch.so, which nobody needed until now; and they may not say where it is.
void open_libtorch() {
  Dl_info here;
  if (!dladdr((const void *)&c10::Dispatcher::realSingleton, &here) || !here.dli_fname) return;
  std::string path = here.dli_fname;
  size_t slash = path.rfind('/');
  if (slash != std::string::npos) (void)dlopen((path.substr(0, slash) + "/libtorch.so").c_str(), RTLD_NOW | RTLD_LOCAL);
}

int load_library(const char *path, cierge_torch_error *e) {
  return guarded(e, [&] {
    open_libtorch();
    std::string file = path; // a name without a folder is a file here, before it is one of the loader's
    if (file.find('/') == std::string::npos && !access(path, R_OK)) file = "./" + file;
    if (dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return 0;
    const char *why = dlerror();
    say(e, why ? why : "it cannot be opened");
    return -1;
  });
}

int region_new(const void *program, size_t size, cierge_torch_region **out, cierge_torch_error *e) {
  *out = nullptr;
  return guarded(e, [&] {
    *out = read_program(program, size, false);
    return 0;
  });
}

void region_free(cierge_torch_region *r) { delete r; }

int region_run(cierge_torch_region *r, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int n_out, int threads,
               int *failed_call, cierge_torch_error *e) {
  int failed = -1;
  int rc = guarded(e, [&] {
    run_region(*r, in, n_in, out, n_out, threads, &failed);
    return 0;
  });
  if (failed_call) *failed_call = failed;
  return rc;
}

void tensor_free(cierge_torch_tensor t) { delete (at::Tensor *)t; }

void seed(uint64_t value) {
  guarded(nullptr, [&] {
    auto generator = at::detail::getDefaultCPUGenerator();
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_current_seed(value);
    return 0;
  });
}

const cierge_torch_api_v1 api = {CIERGE_TORCH_ABI, TORCH_VERSION, schema, has_cpu, has_meta, infer, load_library,
                                 region_new, region_free, region_run, tensor_free, seed};

} // namespace

extern "C" const cierge_torch_api_v1 *cierge_torch_api(void) { return &api; }
