// The plugin's face (cierge_torch.h): what is thrown inside ends here as a text.
#include <ATen/CPUGeneratorImpl.h>
#include <torch/version.h>

#include <cstdio>
#include <memory>
#include <sstream>

#include "checks.h"
#include "import_face.h"
#include "library.h"
#include "script.h"
#include "unsafe.h"

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
    Checking here;
    return f();
  } catch (const Unsafe &x) {
    say(e, x.what());
    return CIERGE_TORCH_UNSAFE;
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
    std::unique_ptr<cierge_torch_region> r = read_program(program, size, true);
    return infer_types(*r, in, n_in, out, max_out);
  });
}

int load_library(const char *path, cierge_torch_error *e) {
  return guarded(e, [&] {
    cierge::load_library(path);
    return 0;
  });
}

void origin(const char *key, char *buf, size_t size) {
  *buf = 0;
  guarded(nullptr, [&] { return snprintf(buf, size, "%s", origin_of(key).c_str()) < 0; });
}

// Constants stay in their registers from call to call, other inputs until the end of a call at least.
void hold_inputs(cierge_torch_region &r) {
  auto input = [&](uint32_t reg) { return reg < r.n_inputs; };
  for (Call &c : r.calls) std::erase_if(c.frees, input);
  std::erase_if(r.left, input);
}

int region_new(const void *program, size_t size, const cierge_torch_region_options *o, cierge_torch_region **out, cierge_torch_error *e) {
  *out = nullptr;
  return guarded(e, [&] {
    auto r = read_program(program, size, false, o);
    take_constants(*r, *o);
    hold_inputs(*r);
    if (!strcmp(o->mode, "script")) make_script(*r, *o);
    else if (strcmp(o->mode, "ops")) throw std::runtime_error("there is no mode '" + std::string(o->mode) + "'");
    else find_forms(*r);
    *out = r.release();
    return 0;
  });
}

void region_free(cierge_torch_region *r) { delete r; }

int run_new(cierge_torch_region *r, cierge_torch_instance *const *instances, cierge_torch_run **out, cierge_torch_error *e) {
  *out = nullptr;
  return guarded(e, [&] {
    auto run = std::make_unique<cierge_torch_run>(*r);
    if (r->n_scripts) run->instances.assign(instances, instances + r->n_scripts);
    *out = run.release();
    return 0;
  });
}

void run_free(cierge_torch_run *run) { delete run; }

int region_run(cierge_torch_run *run, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int n_out, int threads,
               int *failed_call, cierge_torch_error *e) {
  int failed = -1;
  int rc = guarded(e, [&] {
    run_region(*run, in, n_in, out, n_out, threads, &failed);
    return 0;
  });
  if (failed_call) *failed_call = failed;
  return rc;
}

void run_watch(cierge_torch_run *run, void (*done)(void *, int, const char *, uint64_t, uint64_t), void *u) {
  run->watch = done;
  run->watcher = u;
}

void tensor_free(cierge_torch_tensor t) { tensor_of(t, true); }

void seed(uint64_t value) {
  guarded(nullptr, [&] {
    auto generator = at::detail::getDefaultCPUGenerator();
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_current_seed(value);
    return 0;
  });
}

int script_load(const void *bytes, size_t size, const char *const *allow, int n_allow, cierge_torch_script **out, cierge_torch_error *e) {
  *out = nullptr;
  return guarded(e, [&] {
    *out = load_script(bytes, size, allow, n_allow).release();
    return 0;
  });
}

void script_free(cierge_torch_script *s) { delete s; }

int script_info(cierge_torch_script *s, const char *name, cierge_torch_script_info *out, cierge_torch_error *e) {
  return guarded(e, [&] {
    const Method &m = method_of(*s, name);
    int required = (int)m.args.size();
    while (required && m.defaults[(size_t)required - 1]) required--;
    *out = {.stateful = m.stateful, .draws = m.draws, .effect = m.effect, .n_args = (int)m.args.size(), .n_required = required,
            .arg_type = m.arg_type_names.data(), .writes = m.writes.data(), .n_returns = (int)m.returns.size(),
            .return_type = m.return_type_names.data(), .shares = m.shares.data(), .n_ops = (int)m.ops.size(), .op = m.op_names.data()};
    return 0;
  });
}

int script_instance(cierge_torch_script *s, cierge_torch_instance **out, cierge_torch_error *e) {
  *out = nullptr;
  return guarded(e, [&] {
    *out = new cierge_torch_instance{*s, fresh_state(*s)};
    return 0;
  });
}

void instance_free(cierge_torch_instance *i) { delete i; }

int instance_reset(cierge_torch_instance *i, cierge_torch_error *e) {
  return guarded(e, [&] {
    i->object = fresh_state(i->script);
    return 0;
  });
}

int read_script(const cierge_torch_import *in, cierge_torch_imported *out, cierge_torch_error *e) {
  *out = {};
  return guarded(e, [&] {
    import_script(in, out);
    return 0;
  });
}

const cierge_torch_api_v1 api = {CIERGE_TORCH_ABI, TORCH_VERSION, schema, has_cpu, has_meta, infer, load_library, origin,
                                 region_new, region_free, run_new, run_free, region_run, tensor_free, seed,
                                 script_load, script_free, script_info, script_instance, instance_free, instance_reset, run_watch, read_script, import_free};

} // namespace

extern "C" const cierge_torch_api_v1 *cierge_torch_api(void) { return &api; }
