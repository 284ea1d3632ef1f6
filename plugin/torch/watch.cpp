// What operators a graph of TorchScript calls, and when: for traces.
#include <ATen/record_function.h>

#include <ctime>

#include "region.h"

namespace cierge {

uint64_t now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

namespace {

thread_local cierge_torch_run *watched; // NULL on other threads, which inherit the callback
thread_local int depth;

struct Began : at::ObserverContext {
  uint64_t start = now();
};

std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction &) {
  if (!watched) return nullptr;
  depth++;
  return std::make_unique<Began>();
}

void end(const at::RecordFunction &f, at::ObserverContext *c) {
  if (!c || --depth) return;
  uint64_t start = static_cast<Began *>(c)->start, ns = now() - start;
  auto n = f.operator_name();
  std::string name = !n ? f.name() : n->overload_name.empty() ? n->name : n->name + "." + n->overload_name;
  watched->watch(watched->watcher, 0, watched->watched.insert(name).first->c_str(), start, ns);
}

} // namespace

Watching::Watching(cierge_torch_run &run) {
  watched = &run, depth = 0;
  handle = at::addThreadLocalCallback(at::RecordFunctionCallback(begin, end).scopes({at::RecordScope::FUNCTION}));
}

Watching::~Watching() {
  at::removeCallback(handle);
  watched = nullptr;
}

} // namespace cierge
