// A call through the public C API into a region of one addition, beside the same call through PyTorch's dispatcher on tensors that
// are ready, boxed: into memory that is there (add.out), and making its result (add.Tensor). `torch_call m.cierge SIZE…`
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rand.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "cierge/cierge.h"

static void must(cierge_status *st) {
  if (!st) return;
  fprintf(stderr, "%s\n", cierge_status_message(st));
  exit(1);
}

template <class F> static double ns(int n, F f) {
  auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < n; i++) f();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / n;
}

static void ratio(const char *what, std::vector<double> r) {
  std::sort(r.begin(), r.end());
  size_t n = r.size(), k = (size_t)((n - 1.96 * std::sqrt((double)n)) / 2);
  printf("    call / %s: %.3f  [%.3f, %.3f]\n", what, r[n / 2], r[k], r[n - 1 - k]);
}

int main(int argc, char **argv) {
  if (argc < 3) return fprintf(stderr, "torch_call m.cierge SIZE...\n"), 2;
  at::set_num_threads(1);
  std::vector<int64_t> size;
  for (int i = 2; i < argc; i++) size.push_back(atoll(argv[i]));
  cierge_program *p;
  cierge_context *c;
  cierge_context_options o = {};
  o.size = sizeof o, o.threads = 1;
  must(cierge_load(argv[1], nullptr, &p));
  must(cierge_context_new(p, &o, &c));
  at::Tensor x[2] = {at::rand(size), at::rand(size)}, out = at::empty_like(x[0]);
  for (int i = 0; i < 2; i++) {
    DLTensor t = {x[i].data_ptr(), {kDLCPU, 0}, (int)size.size(), {kDLFloat, 32, 1}, size.data(), nullptr, 0};
    must(cierge_input_set(c, (size_t)i, &t, 0));
  }
  auto functional = *c10::Dispatcher::singleton().findSchema({"aten::add", "Tensor"}), into = *c10::Dispatcher::singleton().findSchema({"aten::add", "out"});
  at::NoGradGuard no_grad;
  c10::impl::ExcludeDispatchKeyGuard below(c10::autocast_dispatch_keyset | c10::autograd_dispatch_keyset_with_ADInplaceOrView);
  std::vector<c10::IValue> stack;
  auto run = [&] { must(cierge_run(c)); };
  auto boxed_out = [&] {
    stack.clear();
    stack.push_back(x[0]), stack.push_back(x[1]), stack.push_back(1), stack.push_back(out);
    into.callBoxed(stack);
  };
  auto boxed_new = [&] {
    stack.clear();
    stack.push_back(x[0]), stack.push_back(x[1]), stack.push_back(1);
    functional.callBoxed(stack);
  };
  int n = x[0].numel() > 100000 ? 50 : 5000;
  std::vector<double> call, direct, made, of_direct, of_made;
  ns(n, run), ns(n, boxed_out), ns(n, boxed_new);
  for (int k = 0; k < 41; k++) {
    call.push_back(ns(n, run)), direct.push_back(ns(n, boxed_out)), made.push_back(ns(n, boxed_new));
    of_direct.push_back(call.back() / direct.back()), of_made.push_back(call.back() / made.back());
  }
  auto median = [](std::vector<double> v) { return std::nth_element(v.begin(), v.begin() + v.size() / 2, v.end()), v[v.size() / 2]; };
  printf("one addition of %lld elements: call %.0f ns, boxed add.out %.0f ns, boxed add.Tensor %.0f ns\n", (long long)x[0].numel(), median(call),
         median(direct), median(made));
  ratio("boxed add.Tensor", of_made);
  ratio("boxed add.out", of_direct);
  cierge_context_free(c);
  cierge_program_free(p);
}
