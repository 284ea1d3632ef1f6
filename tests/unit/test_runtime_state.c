// src/runtime: what is written to: mutated inputs, state, the caller's memory for outputs; constants in any order.
#include <pthread.h>
#include <sched.h>

#include "runtime_fixture.h"

// a, b: f32[2, 2]; they swap; s += a, and the old s is a result.
static void mutating_plan(builder *b) {
  b->source = kernels;
  uint32_t two = b_num(b, 2), four = b_num(b, 4), dim[2] = {two, two};
  float w[4] = {1, 1, 1, 1};
  uint32_t x = b_input(b, b_tensor(b, "a", CG_F32, CG_ST_PARAM, 2, dim)), y = b_input(b, b_tensor(b, "b", CG_F32, CG_ST_PARAM, 2, dim));
  uint32_t s = b_state(b, "s", CG_F32, 2, dim, w, sizeof w), n = b_tensor(b, "n", CG_F32, CG_ST_ARENA, 2, dim);
  b_kernel(b, "add", B_LIST(s, x), B_LIST(n), B_LIST(four));
  b_result(b, s);
  b_update(b, x, y);
  b_update(b, y, x);
  b_update(b, s, n);
}

static void inputs_and_state_are_updated(void **u) {
  (void)u;
  cierge_program *p = program(mutating_plan);
  assert_int_equal(cierge_mutated_count(p), 2);
  assert_int_equal(cierge_mutated_input(p, 1), 1);
  cierge_context *c = context(p);
  float a[4] = {1, 2, 3, 4}, b[4] = {5, 6, 7, 8};
  int64_t shape[2] = {2, 2}, stride[2] = {1, 2}, zero[2] = {0, 1};
  DLTensor ta = f32(a, 2, shape), tb = f32(b, 2, shape);
  refused(cierge_input_set(c, 0, &ta, CIERGE_READ_ONLY), CIERGE_BAD_INPUT, "input a is read-only");
  ta.strides = zero;
  refused(cierge_input_set(c, 0, &ta, 0), CIERGE_BAD_INPUT, "stride of 0");
  ta.strides = NULL;
  tb.strides = stride; // b is [[5, 7], [6, 8]]
  good(cierge_input_set(c, 0, &ta, 0));
  good(cierge_input_set(c, 1, &tb, 0));
  good(cierge_run(c));
  float want_a[4] = {5, 7, 6, 8}, want_b[4] = {1, 3, 2, 4};
  assert_memory_equal(a, want_a, sizeof a);
  assert_memory_equal(b, want_b, sizeof b);
  assert_float_equal(at(output(c, 0), 3), 1, 0); // the state as it was
  good(cierge_run(c));
  assert_float_equal(at(output(c, 0), 3), 5, 0);
  assert_float_equal(a[1], 2, 0);
  good(cierge_reset(c));
  good(cierge_run(c));
  assert_float_equal(at(output(c, 0), 3), 1, 0);
  cierge_context *d = context(p); // state is each context's own
  good(cierge_input_set(d, 0, &ta, 0));
  good(cierge_input_set(d, 1, &tb, 0));
  good(cierge_run(d));
  assert_float_equal(at(output(d, 0), 3), 1, 0);
  cierge_context_free(d);
  cierge_context_free(c);
  cierge_program_free(p);
}

static const DLTensor *mutated(cierge_context *c, size_t k) {
  const DLTensor *t;
  good(cierge_mutated_get(c, k, &t));
  return t;
}

// The same, and a is b's old elements as a row; x, which nobody writes to, is a column.
static void reshaping_plan(builder *b) {
  mutating_plan(b);
  uint32_t one = b_num(b, 1), four = b_num(b, 4), column[2] = {four, one};
  uint32_t x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &four));
  b_reshape(b, 0, b_alias(b, b->fn->param[1], CG_F32, 1, &four, -1));
  b_reshape(b, 2, b_alias(b, x, CG_F32, 2, column, -1));
}

static void inputs_get_another_shape(void **u) {
  (void)u;
  cierge_program *p = program(reshaping_plan);
  assert_int_equal(cierge_mutated_count(p), 3);
  assert_int_equal(cierge_mutated_input(p, 2), 2);
  assert_int_equal(cierge_mutated_spec(p, 0)->rank, 1);
  assert_string_equal(cierge_mutated_spec(p, 0)->name, "a");
  assert_int_equal(cierge_mutated_spec(p, 1)->rank, 2);
  assert_int_equal(cierge_mutated_spec(p, 2)->sizes[1], 1);
  assert_null(cierge_mutated_spec(p, 3));
  cierge_context *c = context(p);
  float a[4] = {1, 2, 3, 4}, b[4] = {5, 6, 7, 8}, x[4] = {9, 10, 11, 12};
  int64_t shape[2] = {2, 2}, stride[2] = {1, 2}, zero[1] = {0}, four[1] = {4};
  DLTensor ta = f32(a, 2, shape), tb = f32(b, 2, shape), tx = f32(x, 1, four);
  tb.strides = stride; // b is [[5, 7], [6, 8]]
  good(cierge_input_set(c, 0, &ta, 0));
  good(cierge_input_set(c, 1, &tb, 0));
  good(cierge_input_set(c, 2, &tx, CIERGE_READ_ONLY)); // another shape is no write
  good(cierge_run(c));
  float want_a[4] = {5, 7, 6, 8}, want_b[4] = {1, 3, 2, 4};
  assert_memory_equal(a, want_a, sizeof a);
  assert_memory_equal(b, want_b, sizeof b);
  assert_int_equal(mutated(c, 0)->ndim, 1);
  assert_int_equal(mutated(c, 0)->shape[0], 4);
  assert_memory_equal(mutated(c, 0)->data, want_a, sizeof want_a);
  assert_ptr_equal(mutated(c, 1)->data, b);
  assert_ptr_equal(mutated(c, 1)->strides, stride);
  assert_int_equal(mutated(c, 2)->shape[0], 4);
  assert_memory_equal(mutated(c, 2)->data, x, sizeof x);
  tx.strides = zero;
  good(cierge_input_set(c, 2, &tx, 0));
  good(cierge_run(c));
  assert_float_equal(at(mutated(c, 2), 3), 9, 0);
  assert_float_equal(at(mutated(c, 0), 1), 2, 0);
  cierge_context_free(c);
  cierge_program_free(p);
}

static void outputs_in_the_callers_memory(void **u) {
  (void)u;
  cierge_program *p = program(mutating_plan);
  cierge_context *c = context(p);
  float a[4] = {1, 2, 3, 4}, b[4] = {5, 6, 7, 8}, out[8] = {0};
  int64_t shape[2] = {2, 2}, stride[2] = {4, 2}, bad[2] = {2, 3};
  DLTensor ta = f32(a, 2, shape), tb = f32(b, 2, shape), to = f32(out, 2, bad);
  good(cierge_input_set(c, 0, &ta, 0));
  good(cierge_input_set(c, 1, &tb, 0));
  refused(cierge_output_set(c, 0, &to), CIERGE_BAD_INPUT, "memory for output_0: expected float32[2, 2], found float32[2, 3]");
  to = f32(out, 2, shape);
  to.strides = stride;
  good(cierge_output_set(c, 0, &to));
  good(cierge_run(c));
  good(cierge_run(c));
  float want[8] = {2, 0, 3, 0, 4, 0, 5, 0};
  assert_memory_equal(out, want, sizeof out);
  assert_ptr_equal(output(c, 0)->data, out);
  DLManagedTensorVersioned *m;
  good(cierge_output_take(c, 0, &m));
  cierge_context_free(c);
  cierge_program_free(p);
  assert_float_equal(at(&m->dl_tensor, 3), 5, 0); // outlives all
  m->deleter(m);
}

// A constant and a state that are not in C order: kernels get them as they lie, results and branches in C order.
static void strided_plan(builder *b) {
  uint32_t dim[2] = {b_num(b, 2), b_num(b, 3)};
  float w[6] = {0, 1, 2, 3, 4, 5};
  uint32_t k = b_constant(b, "k", CG_F32, CG_ST_CONST, 2, dim, w, sizeof w), s = b_state(b, "s", CG_F32, 2, dim, w, sizeof w);
  int64_t stride[2] = {1, 2};
  b->fn->value[k].stride = cg_memdup(b->s, stride, sizeof stride);
  b->fn->value[s].stride = cg_memdup(b->s, stride, sizeof stride);
  uint32_t x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 2, dim)), y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 2, dim);
  b_step(b, CG_STEP_COPY, B_LIST(k), B_LIST(y));
  b_result(b, k);
  b_result(b, y);
  b_result(b, s);
  b_update(b, s, x);
}

static void constants_out_of_order(void **u) {
  (void)u;
  cierge_program *p = program(strided_plan);
  cierge_context *c = context(p);
  float x[6] = {9, 8, 7, 6, 5, 4}, want[6] = {0, 2, 4, 1, 3, 5};
  int64_t shape[2] = {2, 3};
  DLTensor t = f32(x, 2, shape);
  good(cierge_input_set(c, 0, &t, CIERGE_READ_ONLY));
  good(cierge_run(c));
  for (size_t i = 0; i < 3; i++) assert_memory_equal(output(c, i)->data, want, sizeof want);
  good(cierge_run(c));
  assert_memory_equal(output(c, 2)->data, x, sizeof x);
  cierge_context_free(c);
  cierge_program_free(p);
}

// ---------------------------------------------------------------- a context that is in use

// x: i32[2]; its kernel says that it runs, and ends when it is told to.
static void waiting_plan(builder *b) {
  b->source = kernels;
  uint32_t two = b_num(b, 2), one = b_num(b, 1);
  uint32_t x = b_input(b, b_tensor(b, "x", CG_I32, CG_ST_PARAM, 1, &two)), y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 1, &one);
  b_kernel(b, "wait", B_LIST(x), B_LIST(y), B_LIST(one));
  b_result(b, y);
}

static void *call(void *c) { return cierge_run(c); }

static void one_thread_at_a_time(void **u) {
  (void)u;
  cierge_program *p = program(waiting_plan);
  cierge_context *c;
  good(cierge_context_new(p, &(cierge_context_options){.size = sizeof(cierge_context_options), .threads = 1, .profile = 2}, &c));
  int flags[2] = {0, 1};
  int64_t shape[1] = {2};
  DLTensor x = tensor(flags, 32, kDLInt, 1, shape);
  good(cierge_input_set(c, 0, &x, 0));
  good(cierge_run(c));
  flags[0] = flags[1] = 0;
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, call, c), 0);
  while (!__atomic_load_n(&flags[0], __ATOMIC_SEQ_CST)) sched_yield();
  const DLTensor *y;
  DLManagedTensorVersioned *taken;
  char *text;
  const char *used = "another call is using the context";
  refused(cierge_run(c), CIERGE_USAGE, used);
  refused(cierge_input_set(c, 0, &x, 0), CIERGE_USAGE, used);
  refused(cierge_output_set(c, 0, NULL), CIERGE_USAGE, used);
  refused(cierge_output_get(c, 0, &y), CIERGE_USAGE, used);
  refused(cierge_output_take(c, 0, &taken), CIERGE_USAGE, used);
  refused(cierge_reset(c), CIERGE_USAGE, used);
  refused(cierge_seed(c, 1), CIERGE_USAGE, used);
  refused(cierge_profile_text(c, &text), CIERGE_USAGE, used);
  refused(cierge_profile_json(c, &text), CIERGE_USAGE, used);
  refused(cierge_profile_trace(c, &text), CIERGE_USAGE, used);
  cierge_context *d = context(p); // another context of the same program is free
  int done[2] = {0, 1};
  DLTensor z = tensor(done, 32, kDLInt, 1, shape);
  good(cierge_input_set(d, 0, &z, 0));
  good(cierge_run(d));
  cierge_context_free(d);
  __atomic_store_n(&flags[1], 1, __ATOMIC_SEQ_CST);
  void *status;
  pthread_join(thread, &status);
  good(status);
  assert_float_equal(at(output(c, 0), 0), 7, 0);
  good(cierge_run(c));
  cierge_context_free(c);
  cierge_program_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(inputs_and_state_are_updated), cmocka_unit_test(inputs_get_another_shape), cmocka_unit_test(outputs_in_the_callers_memory),
      cmocka_unit_test(constants_out_of_order), cmocka_unit_test(one_thread_at_a_time),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
