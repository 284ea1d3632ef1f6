// The tool behind errors/: plans that no compiler would write, one thing wrong in each, and calls of the API that make no sense.
//   plantool plans FOLDER    writes FOLDER/NAME.cierge for each case
//   plantool api FOLDER      calls the API with an artifact of that folder, and prints what it answers
// errors/artifact.py and errors/runtime.py run the program over what this writes.
#include "../unit/plan_builder.h"
#include "cierge/cierge.h"

#define XXH_INLINE_ALL
#include "xxhash/xxhash.h"

// ---------------------------------------------------------------- a sound plan

// (x: f32[s0, 4], n: int) -> x, a copy; a constant w and a state st, both f32[4], and a number that is not used
enum { S0, X, N, W, ST, Y, NUMBER };
enum { E_S0, E_FOUR }; // expressions

static void sound(builder *b) {
  uint32_t s0 = b_symbol(b, "s0", 1, 64), dim[2] = {b_sym(b, s0), b_num(b, 4)};
  float w[4] = {1, 2, 3, 4};
  double half = 0.5;
  b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 2, dim));
  b_input(b, b_scalar(b, CG_V_INT, "n"));
  b_constant(b, "w", CG_F32, CG_ST_CONST, 1, &dim[1], w, sizeof w);
  b_state(b, "st", CG_F32, 1, &dim[1], w, sizeof w);
  b_tensor(b, "y", CG_F32, CG_ST_ARENA, 2, dim);
  uint32_t number = b_scalar(b, CG_V_FLOAT, "number");
  b->fn->value[number].storage = CG_ST_CONST, b->fn->value[number].offset = b->weights.n;
  cg_str_addn(&b->weights, (char *)&half, 8);
  b_step(b, CG_STEP_COPY, B_LIST(X), B_LIST(Y));
  b_result(b, Y);
}

#define VALUE(i) b->fn->value[i]
#define STEP(i) b->fn->step[i]
#define NOTHING 0, (uint32_t[1]){0}

#define ITEMS(...) b_expr(b, sizeof((cg_plan_expr_item[]){__VA_ARGS__}) / sizeof(cg_plan_expr_item), (cg_plan_expr_item[]){__VA_ARGS__})
#define KEPT(T, ...) cg_memdup(b->s, (T[]){__VA_ARGS__}, sizeof((T[]){__VA_ARGS__}))

// A function of one f32[4] that gives it back, and the way back to main.
static uint32_t identity(builder *b, const char *name) {
  cg_plan_fn *caller = b->fn;
  uint32_t f = b_fn(b, name), four = b_num(b, 4);
  b_result(b, b_param(b, b_tensor(b, "a", CG_F32, CG_ST_PARAM, 1, &four)));
  b->fn = caller;
  return f;
}
static uint32_t constant_fn(builder *b, const char *name, cg_plan_value_kind kind) { // one f32[4] -> a number
  cg_plan_fn *caller = b->fn;
  uint32_t f = b_fn(b, name), four = b_num(b, 4);
  b_param(b, b_tensor(b, "a", CG_F32, CG_ST_PARAM, 1, &four));
  uint32_t v = b_int_expr(b, four);
  if (kind == CG_V_FLOAT) VALUE(v) = (cg_plan_value){.kind = CG_V_FLOAT, .dtype = CG_F64, .storage = CG_ST_CONST, .offset_expr = -1, .expr = -1, .name = ""};
  b_result(b, v);
  b->fn = caller;
  return f;
}
static uint32_t row(builder *b) { // f32[4] in the arena
  uint32_t four = E_FOUR;
  return b_tensor(b, "r", CG_F32, CG_ST_ARENA, 1, &four);
}
static cg_plan_step *control(builder *b, cg_plan_step_kind kind, uint32_t n_in, const uint32_t *in, uint32_t n_out, const uint32_t *out, uint32_t f, uint32_t g) {
  cg_plan_step *s = b_step(b, kind, n_in, in, n_out, out);
  s->fn[0] = f, s->fn[1] = g, s->n_carried = kind == CG_STEP_WHILE ? n_out : 0;
  return s;
}

// ---------------------------------------------------------------- one thing wrong

#define DAMAGED(D) \
  D(cut_off, b->trim = 9) \
  D(bytes_behind, b->trim = -3) \
  D(expression_index, VALUE(Y).dim[0] = 99) \
  D(value_index, STEP(0).in[0] = 99) \
  D(expression_operator, ITEMS({CG_X_INT, 1}, {99, 0})) \
  D(expression_value, ITEMS({CG_X_SYM, 99})) \
  D(expression_operands, ITEMS({CG_X_INT, 1}, {CG_X_ADD, 0})) \
  D(expression_two_values, ITEMS({CG_X_INT, 1}, {CG_X_INT, 1})) \
  D(expression_of_a_tensor, ITEMS({CG_X_SYM, X})) \
  D(constant_outside, VALUE(W).offset = 1 << 20) \
  D(constant_without_size, VALUE(W).dim[0] = E_S0) \
  D(constant_too_large, VALUE(W).dim[0] = b_num(b, 5)) \
  D(constant_backwards, VALUE(W).stride = CG_NEW(b->s, int64_t); VALUE(W).stride[0] = -1) \
  D(dtype, VALUE(Y).dtype = 99) \
  D(rank, uint32_t dim[65] = {0}; b_tensor(b, "deep", CG_F32, CG_ST_ARENA, 65, dim)) \
  D(storage, VALUE(Y).storage = 99) \
  D(kind_of_value, VALUE(Y).kind = 99) \
  D(expression_of_a_number, b_int_expr(b, 99)) \
  D(number_outside, VALUE(NUMBER).offset = 1 << 20) \
  D(state_index, VALUE(ST).index = 9) \
  D(parameter_index, VALUE(X).index = 1) \
  D(parameter_of_nobody, uint32_t four = E_FOUR; b_tensor(b, "z", CG_F32, CG_ST_PARAM, 1, &four)) \
  D(part_of_what_comes_later, uint32_t four = E_FOUR; b_alias(b, 99, CG_F32, 1, &four, -1)) \
  D(part_at_no_place, uint32_t four = E_FOUR; b_alias(b, W, CG_F32, 1, &four, 99)) \
  D(late_parameter, b_param(b, late(b))) \
  D(late_value_of_a_copy, STEP(0).out[0] = late(b)) \
  D(copy_of_a_late_value, STEP(0).in[0] = late(b)) \
  D(late_result_below_main, b_fn(b, "f"); b_result(b, late(b))) \
  D(kind_of_step, STEP(0).kind = 99) \
  D(kernel_index, STEP(0).kind = CG_STEP_KERNEL) \
  D(region_index, STEP(0).kind = CG_STEP_TORCH) \
  D(scalar_operator, STEP(0).kind = CG_STEP_SCALAR; STEP(0).kernel = 99) \
  D(site_index, STEP(0).site = 99) \
  D(callee_index, b_step(b, CG_STEP_CALL, NOTHING, NOTHING)->fn[0] = 9) \
  D(recursion, b_step(b, CG_STEP_CALL, NOTHING, NOTHING)) \
  D(bound_size, STEP(0).bind = CG_NEW(b->s, cg_plan_bind); STEP(0).bind[0].dim = 9; STEP(0).n_bind = 1) \
  D(parameter_of_another_place, b_param(b, NUMBER)) \
  D(update_index, *B_APPEND(b, b->fn->update, b->fn->n_updates) = (cg_plan_update){99, X}) \
  D(update_of_another_type, b_update(b, ST, X)) \
  D(reshaped_input, b_reshape(b, 9, Y)) \
  D(reshaped_value, b_reshape(b, 0, 99)) \
  D(reshaped_twice, b_reshape(b, 0, Y); b_reshape(b, 0, W)) \
  D(reshaped_number, b_reshape(b, 1, Y)) \
  D(reshaped_to_a_number, b_reshape(b, 0, N)) \
  D(reshaped_to_another_type, uint32_t four = E_FOUR; b_reshape(b, 0, b_tensor(b, "i", CG_I32, CG_ST_ARENA, 1, &four))) \
  D(no_function, b->plan.n_fns = 0) \
  D(too_deep, for (uint32_t i = 0; i < 40; i++) { b_step(b, CG_STEP_CALL, NOTHING, NOTHING)->fn[0] = i + 1; b_fn(b, "f"); }) \
  D(empty_range, b->plan.symbol[0].lo = 99) D(typical_value, b->plan.symbol[0].hint = 99) \
  D(kind_of_input, b->plan.input[0].kind = 99) \
  D(regions, *B_APPEND(b, b->plan.region, b->plan.n_regions) = (cg_plan_region){"ops", 1, "torch_0"}) \
  D(input_of_no_parameter, b->plan.input[0].param = 9) \
  D(input_of_another_type, b->plan.input[0].dtype = CG_I32) \
  D(parameter_without_input, b->plan.n_inputs = 1) \
  D(secret_write, b_update(b, X, Y); b->plan.input[0].mutated = false) \
  D(symbol_of_a_tensor, b->plan.symbol[0].value = X) \
  D(states, b->plan.n_states = 1 << 30) \
  D(unsolvable, uint32_t square = ITEMS({CG_X_SYM, S0}, {CG_X_SYM, S0}, {CG_X_MUL, 0}); VALUE(X).dim[0] = square) \
  /* what runtime/check.c finds */ \
  D(parameter_of_late_size, VALUE(X).dim[1] = b_sym(b, b_scalar(b, CG_V_INT, "u0"))) \
  D(part_of_a_strided_constant, uint32_t two = b_num(b, 2), *dim = KEPT(uint32_t, two, two); VALUE(W).dim = dim; VALUE(W).rank = 2; \
    VALUE(W).stride = KEPT(int64_t, 1, 2); b_alias(b, W, CG_F32, 2, dim, -1)) \
  D(number_before_it_is_made, uint32_t d = b_sym(b, b_scalar(b, CG_V_INT, "u0")); b_step(b, CG_STEP_COPY, B_LIST(W), B_LIST(b_tensor(b, "late", CG_F32, CG_ST_ARENA, 1, &d)))) \
  D(used_before_it_is_made, b_result(b, row(b))) \
  D(reshaped_to_what_nobody_made, b_reshape(b, 0, row(b))) \
  D(made_twice, b_step(b, CG_STEP_SCALAR, B_LIST(N), B_LIST(N))->kernel = CG_SCALAR_NEG) \
  D(operands_of_a_step, b_step(b, CG_STEP_COPY, B_LIST(W, W), B_LIST(row(b)))) \
  D(arguments, control(b, CG_STEP_CALL, NOTHING, B_LIST(row(b)), identity(b, "f"), 0)) \
  D(argument_type, control(b, CG_STEP_CALL, B_LIST(X), B_LIST(row(b)), identity(b, "f"), 0)) \
  D(results, control(b, CG_STEP_CALL, B_LIST(W), NOTHING, identity(b, "f"), 0)) \
  D(result_type, control(b, CG_STEP_CALL, B_LIST(W), B_LIST(b_scalar(b, CG_V_INT, "i")), identity(b, "f"), 0)) \
  D(carried_values, control(b, CG_STEP_WHILE, B_LIST(W), B_LIST(row(b)), constant_fn(b, "test", CG_V_INT), identity(b, "body"))->n_carried = 7) \
  D(loop_without_a_condition, control(b, CG_STEP_WHILE, B_LIST(W), B_LIST(row(b)), constant_fn(b, "test", CG_V_FLOAT), identity(b, "body"))) \
  D(carried_type, control(b, CG_STEP_WHILE, B_LIST(W), B_LIST(b_scalar(b, CG_V_INT, "i")), constant_fn(b, "test", CG_V_INT), constant_fn(b, "body", CG_V_INT))) \
  D(scan_of_nothing, control(b, CG_STEP_SCAN, B_LIST(W), B_LIST(row(b)), identity(b, "body"), 0)) \
  D(scan_without_its_body, control(b, CG_STEP_SCAN, B_LIST(W, X), B_LIST(row(b)), identity(b, "body"), 0)->n_scanned = 1) \
  D(branch_without_a_condition, control(b, CG_STEP_IF, B_LIST(W, W), B_LIST(row(b)), identity(b, "f"), identity(b, "g"))) \
  D(result_without_memory, b_step(b, CG_STEP_COPY, B_LIST(W), B_LIST(ST))) \
  D(region_without_memory, b_torch(b, "aten::relu", 0, B_LIST(W), B_LIST(row(b)))) \
  D(kernel_of_a_number, b_kernel(b, "k", B_LIST(W), B_LIST(b_scalar(b, CG_V_INT, "i")), NOTHING)) \
  D(operator_on_a_tensor, b_step(b, CG_STEP_SCALAR, B_LIST(W), B_LIST(b_scalar(b, CG_V_INT, "i")))->kernel = CG_SCALAR_NEG) \
  D(operator_into_a_tensor, b_step(b, CG_STEP_SCALAR, B_LIST(N), B_LIST(row(b)))->kernel = CG_SCALAR_NEG) \
  D(item_of_a_number, b_step(b, CG_STEP_ITEM, B_LIST(N), B_LIST(b_scalar(b, CG_V_INT, "i")))) \
  D(fill_of_a_row, b_step(b, CG_STEP_FILL, B_LIST(N), B_LIST(row(b)))) \
  D(copy_between_types, b_step(b, CG_STEP_COPY, B_LIST(X), B_LIST(row(b)))) \
  D(assertion_of_a_row, b_step(b, CG_STEP_ASSERT, B_LIST(W), NOTHING)) \
  D(kernel_that_binds, b_kernel(b, "k", B_LIST(W), B_LIST(row(b)), NOTHING); STEP(1).bind = KEPT(cg_plan_bind, {0, 0, b_scalar(b, CG_V_INT, "u0")}); STEP(1).n_bind = 1) \
  D(states_that_differ, cg_plan_fn *m = b->fn; uint32_t f = b_fn(b, "f"), two = b_num(b, 2); b_tensor(b, "st", CG_F32, CG_ST_STATE, 1, &two); VALUE(0).size = 8; \
    b->fn = m; b_step(b, CG_STEP_CALL, NOTHING, NOTHING)->fn[0] = f) \
  D(no_kernels, b_kernel(b, "k", B_LIST(W), B_LIST(row(b)), NOTHING)) \
  D(another_kernel, b->source = "int k;\n"; b_kernel(b, "gone", B_LIST(W), B_LIST(row(b)), NOTHING)) \
  D(kernels_that_are_no_object, b->object = "no object"; b_kernel(b, "k", B_LIST(W), B_LIST(row(b)), NOTHING)) \
  D(another_processor, b_kernel(b, "k", B_LIST(W), B_LIST(row(b)), NOTHING); b->plan.target = "x86-64-v9") \
  D(torch_section, cg_str_add(&b->regions, "garbage")) \
  D(blobs_section, cg_str_add(&b->blobs, "garbage")) \
  D(blob_that_is_another_one, b_script(b, "m", "bytes")->hash = "00112233445566778899aabbccddeeff") \
  D(blob_that_is_not_there, b_script(b, "m", "bytes")->blob = 1) \
  D(blob_of_no_script, b_script(b, "m", "bytes"); b->plan.n_scripts = 0)

// ---------------------------------------------------------------- sound, until they run

static const char codes[] = "int k(void *const *p, const int64_t *s, int threads, int64_t *detail) {\n"
                            "  (void)s; (void)threads; detail[0] = 17; detail[1] = 4; return (int)*(int64_t *)p[1];\n}\n";

static void literal(builder *b, bool real, double v) {
  if (!real) {
    b_int_expr(b, b_num(b, (int64_t)v));
    return;
  }
  uint32_t i = b_scalar(b, CG_V_FLOAT, "");
  VALUE(i).storage = CG_ST_CONST, VALUE(i).offset = b->weights.n;
  cg_str_addn(&b->weights, (char *)&v, 8);
}

// a op b: their kinds and values
static void calculation(builder *b, cg_scalar_op op, bool real_a, double x, bool real_b, double y) {
  literal(b, real_a, x);
  literal(b, real_b, y);
  uint32_t out = b_scalar(b, cg_scalar_table[op].nargs == 1 ? CG_V_INT : CG_V_FLOAT, "out"), in[2] = {0, 1};
  cg_plan_step *s = b_step(b, CG_STEP_SCALAR, (uint32_t)cg_scalar_table[op].nargs, in, 1, &out);
  s->kernel = op;
  s->site = b_site(b, cg_scalar_table[op].key, "n", "model.py", 3);
  b_result(b, out);
}

static uint32_t input_i64(builder *b, const char *name) { return b_input(b, b_tensor(b, name, CG_I64, CG_ST_PARAM, 0, NULL)); }
// u0, which a step takes from the input `name`.
static uint32_t late_number(builder *b, const char *name) {
  uint32_t x = input_i64(b, name), u0 = b_scalar(b, CG_V_INT, "u0");
  b_step(b, CG_STEP_ITEM, B_LIST(x), B_LIST(u0));
  return u0;
}
// n -> zeros(n) by a kernel that fails where n is not 0, with that code
static void kernel_code(builder *b) {
  b->source = codes;
  uint32_t n = b_input(b, b_scalar(b, CG_V_INT, "n")), four = b_num(b, 4), y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 1, &four);
  b_kernel(b, "k", B_LIST(n), B_LIST(y), NOTHING)->site = b_site(b, "aten::embedding", "embedding_3", "model.py", 12);
  b_result(b, y);
}
static void late_size(builder *b, const char *name) { // f32[n]
  b->source = codes;
  uint32_t u0 = late_number(b, "n"), n = b_sym(b, u0), y = b_tensor(b, name, CG_F32, CG_ST_ARENA, 1, &n);
  b_kernel(b, "k", B_LIST(u0), B_LIST(y), NOTHING);
  b_result(b, y);
}
static void divide_by_number(builder *b) { // 8 // n
  uint32_t n = b_input(b, b_scalar(b, CG_V_INT, "n"));
  uint32_t d = b_expr(b, 3, (cg_plan_expr_item[]){{CG_X_INT, 8}, {CG_X_SYM, n}, {CG_X_FLOORDIV, 0}}), y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 1, &d);
  b->source = codes;
  b_kernel(b, "k", B_LIST(n), B_LIST(y), NOTHING);
  b_result(b, y);
}
static void late_parameter(builder *b, bool late) { // a kernel's parameter 8 // n
  b->source = codes;
  uint32_t n = late ? late_number(b, "n") : b_input(b, b_scalar(b, CG_V_INT, "n")), four = b_num(b, 4), y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 1, &four);
  uint32_t d = b_expr(b, 3, (cg_plan_expr_item[]){{CG_X_INT, 8}, {CG_X_SYM, n}, {CG_X_FLOORDIV, 0}});
  b_kernel(b, "k", B_LIST(n), B_LIST(y), B_LIST(d))->site = b_site(b, "aten::zeros", "zeros", "", 0);
  b_result(b, y);
}
static void copy_of_another_size(builder *b) {
  sound(b);
  VALUE(Y).dim[0] = E_FOUR;
}
static void part_outside(builder *b) {
  sound(b);
  uint32_t dim[1] = {b_num(b, 99)};
  b_result(b, b_alias(b, X, CG_F32, 1, dim, -1));
}
static void item_of_four(builder *b) {
  sound(b);
  b_step(b, CG_STEP_ITEM, B_LIST(W), B_LIST(b_scalar(b, CG_V_FLOAT, "i")))->site = b_site(b, "aten::item", "item", "", 0);
}
static void assertion(builder *b) {
  sound(b);
  cg_plan_step *s = b_step(b, CG_STEP_ASSERT, B_LIST(N), NOTHING);
  s->text = "n must not be 0";
  s->site = b_site(b, "", "check", "model.py", 8);
}
static void argument_of_another_size(builder *b) {
  sound(b);
  uint32_t two = b_num(b, 2), c = b_constant(b, "c", CG_F32, CG_ST_CONST, 1, &two, "12345678", 8);
  control(b, CG_STEP_CALL, B_LIST(c), B_LIST(row(b)), identity(b, "f"), 0);
}
static void branch_of_another_size(builder *b) {
  sound(b);
  uint32_t two = b_num(b, 2), r = b_tensor(b, "r", CG_F32, CG_ST_ARENA, 1, &two);
  control(b, CG_STEP_CALL, B_LIST(W), B_LIST(r), identity(b, "f"), 0)->site = b_site(b, "higher_order.cond", "cond", "model.py", 9);
}
// Goes over the rows of x (and, with `two`, over 7 others) by a body, which gives its first one back; y: f32[s0, of]
static void scan(builder *b, bool two, uint32_t of) {
  sound(b);
  float rows[7][4] = {{0}};
  uint32_t seven[2] = {b_num(b, 7), E_FOUR}, dim[2] = {E_S0, b_num(b, of)}, n = two ? 2 : 1;
  uint32_t in[2] = {X, b_constant(b, "c", CG_F32, CG_ST_CONST, 2, seven, rows, sizeof rows)}, y = b_tensor(b, "ys", CG_F32, CG_ST_ARENA, 2, dim);
  cg_plan_fn *caller = b->fn;
  uint32_t f = b_fn(b, "body"), four = b_num(b, 4);
  for (uint32_t i = 0; i < n; i++) b_param(b, b_tensor(b, "a", CG_F32, CG_ST_PARAM, 1, &four));
  b_result(b, 0);
  b->fn = caller;
  cg_plan_step *s = control(b, CG_STEP_SCAN, n, in, 1, &y, f, 0);
  s->n_scanned = n;
  s->site = b_site(b, "higher_order.scan", "scan", "model.py", 9);
  b_result(b, y);
}
static void loop(builder *b) {
  sound(b);
  control(b, CG_STEP_WHILE, B_LIST(W), B_LIST(row(b)), constant_fn(b, "test", CG_V_INT), identity(b, "body"));
}
static void region_twice(builder *b) {
  uint32_t n = b_num(b, 4), x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &n));
  for (int i = 0; i < 2; i++) b_torch(b, "aten::double", 0, B_LIST(x), B_LIST(b_tensor(b, "y", CG_F32, CG_ST_TORCH, 1, &n)));
  STEP(1).kernel = 0;
}
static void update_of_another_size(builder *b) {
  sound(b);
  uint32_t two = b_num(b, 2);
  b_update(b, ST, b_constant(b, "c", CG_F32, CG_ST_CONST, 1, &two, "12345678", 8));
}
// a gets another shape, b is written to.
static void reshaping(builder *b) {
  uint32_t dim[2] = {b_num(b, 2), b_num(b, 3)}, other[2] = {dim[1], dim[0]};
  uint32_t x = b_input(b, b_tensor(b, "a", CG_F32, CG_ST_PARAM, 2, dim)), y = b_input(b, b_tensor(b, "b", CG_F32, CG_ST_PARAM, 2, dim));
  b_reshape(b, 0, b_alias(b, x, CG_F32, 2, other, -1));
  b_update(b, y, x);
}
static void too_much_memory(builder *b) {
  uint32_t n = b_num(b, INT64_MAX / 12), y[4];
  for (int i = 0; i < 4; i++) b_result(b, y[i] = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 1, &n));
  b->source = codes;
  b_kernel(b, "k", NOTHING, 4, y, NOTHING);
}
// Two symbols, a size of 2*s0 + 1, numbers with a range, a constant of the export, an output that is None.
static void signature(builder *b) {
  uint32_t s0 = b_symbol(b, "s0", 1, INT64_MAX);
  uint32_t odd = b_expr(b, 5, (cg_plan_expr_item[]){{CG_X_INT, 2}, {CG_X_SYM, s0}, {CG_X_MUL, 0}, {CG_X_INT, 1}, {CG_X_ADD, 0}}), d = b_sym(b, s0);
  b_input(b, b_tensor(b, "a", CG_F32, CG_ST_PARAM, 1, &odd));
  b_input(b, b_tensor(b, "b", CG_F32, CG_ST_PARAM, 1, &d));
  b_input(b, b_scalar(b, CG_V_INT, "k"));
  b->plan.input[2].ranged = true, b->plan.input[2].lo = 2, b->plan.input[2].hi = 8;
  *B_APPEND(b, b->plan.input, b->plan.n_inputs) =
      (cg_plan_input){.name = "c", .kind = CIERGE_KIND_INT, .param = -1, .dtype = CG_I64, .constant = "3", .constant_kind = CIERGE_KIND_INT, .constant_int = 3};
  b_result(b, 2);
  b_result(b, b_value(b, (cg_plan_value){.kind = CG_V_NONE, .offset_expr = -1, .expr = -1}));
  b_update(b, 2, 2);
}
// x -> LibTorch -> y: f32[4]; the plugin of the tests does with it what the operator's name says
static void region(builder *b, const char *op) {
  uint32_t n = b_num(b, 4), x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &n)), y = b_tensor(b, "y", CG_F32, CG_ST_TORCH, 1, &n);
  uint32_t site = b_site(b, op, "node", "model.py", 7);
  b_torch(b, op, site, B_LIST(x), B_LIST(y))->site = site;
  b_result(b, y);
}

static uint32_t late(builder *b) { return b_value(b, (cg_plan_value){.kind = CG_V_LATE, .storage = CG_ST_TORCH, .offset_expr = -1, .expr = -1}); }

static void late_region(builder *b, const char *op) {
  uint32_t n = b_num(b, 4), x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &n)), y = late(b), site = b_site(b, op, "node", "model.py", 7);
  b_torch(b, op, site, B_LIST(x), B_LIST(y))->site = site;
  b_result(b, y);
}

#define RUNNING(D) \
  D(good, sound(b)) D(script, sound(b); b_script(b, "m", "bytes")) \
  D(kernel_code, kernel_code(b)) D(late_size, late_size(b, "y")) D(late_size_of_nobody, late_size(b, "")) \
  D(divide_by_number, divide_by_number(b)) D(early_parameter, late_parameter(b, false)) D(late_parameter, late_parameter(b, true)) \
  D(copy_of_another_size, copy_of_another_size(b)) D(part_outside, part_outside(b)) D(item_of_four, item_of_four(b)) D(assertion, assertion(b)) \
  D(argument_of_another_size, argument_of_another_size(b)) D(branch_of_another_size, branch_of_another_size(b)) \
  D(update_of_another_size, update_of_another_size(b)) D(too_much_memory, too_much_memory(b)) D(signature, signature(b)) D(reshaping, reshaping(b)) \
  D(loop, loop(b)) D(scan, scan(b, false, 4)) D(scan_of_two_lengths, scan(b, true, 4)) D(scan_of_another_size, scan(b, false, 5)) \
  D(scan_of_nothing, scan(b, false, 4); b->plan.symbol[0].lo = 0) \
  D(add_too_big, calculation(b, CG_SCALAR_ADD, 0, 0x1p62, 0, 0x1p62)) D(and_of_floats, calculation(b, CG_SCALAR_AND, 1, 1, 0, 2)) \
  D(trunc_nan, calculation(b, CG_SCALAR_TRUNC, 1, 0.0 / 0.0, 0, 0)) D(trunc_inf, calculation(b, CG_SCALAR_TRUNC, 1, 1.0 / 0.0, 0, 0)) \
  D(float_division, calculation(b, CG_SCALAR_TRUEDIV, 1, 1, 1, 0)) D(float_floor_division, calculation(b, CG_SCALAR_FLOORDIV, 1, 1, 1, 0)) \
  D(float_modulo, calculation(b, CG_SCALAR_MOD, 1, 1, 1, 0)) D(zero_to_minus_one, calculation(b, CG_SCALAR_POW, 1, 0, 0, -1)) \
  D(root_of_minus_one, calculation(b, CG_SCALAR_POW, 1, -1, 1, 0.5)) D(power_too_big, calculation(b, CG_SCALAR_POW, 1, 1e300, 1, 2)) \
  D(shift_by_minus_one, calculation(b, CG_SCALAR_LSHIFT, 0, 1, 0, -1)) D(int_division, calculation(b, CG_SCALAR_TRUEDIV, 0, 1, 0, 0)) \
  D(int_floor_division, calculation(b, CG_SCALAR_FLOORDIV, 0, 1, 0, 0)) D(square_root, calculation(b, CG_SCALAR_SYM_SQRT, 0, -1, 0, 0)) \
  D(torch_fail, region(b, "aten::fail")) D(torch_double, region(b, "aten::double")) D(torch_shape, region(b, "aten::half")) D(torch_kind, region(b, "aten::kind")) \
  D(torch_type, region(b, "aten::type")) D(torch_rank, region(b, "aten::rank")) D(torch_new, region(b, "aten::new")) \
  D(torch_late, late_region(b, "aten::rank")) D(torch_late_kind, late_region(b, "aten::kind")) D(torch_late_dtype, late_region(b, "aten::dtype")) \
  D(torch_twice, region_twice(b)) D(torch_newer, region(b, "aten::double"); b->plan.torch_min = "2.14") \
  D(torch_older, region(b, "aten::double"); b->plan.torch_max = "2.12") \
  D(torch_between, region(b, "aten::double"); b->plan.torch_min = "2.1"; b->plan.torch_max = "2.2") \
  D(torch_custom, region(b, "aten::double"); *B_APPEND(b, b->plan.custom, b->plan.n_custom) = (cg_plan_custom){"mine::op", "", "libmine.so", ""})

#define D(name, ...) static void damaged_##name(builder *b) { sound(b); __VA_ARGS__; }
DAMAGED(D)
#undef D
#define D(name, ...) static void running_##name(builder *b) { __VA_ARGS__; }
RUNNING(D)
#undef D

typedef struct {
  const char *name;
  void (*make)(builder *b);
} plan_case;
static const plan_case plans[] = {
#define D(name, ...) {"bad_" #name, damaged_##name},
    DAMAGED(D)
#undef D
#define D(name, ...) {#name, running_##name},
    RUNNING(D)
#undef D
};

typedef struct {
  const plan_case *p;
  const char *folder;
} job;

static void write_one(cg_session *s, void *u) {
  job *j = u;
  builder b;
  b_begin(&b, s);
  j->p->make(&b);
  b_write(&b, cg_format(s, "%s/%s.cierge", j->folder, j->p->name), j->folder);
}

// ---------------------------------------------------------------- sections that lie wrong, under a sound hash

static void write_file(cg_session *s, const char *path, const void *data, size_t size) {
  cg_writer *w = cg_writer_open(s, path);
  cg_writer_add(w, data, size);
  cg_writer_commit(w);
}

static void put(cg_session *s, const char *folder, const char *name, uint8_t *data, size_t size, bool rehash) {
  cg_format_header *h = (cg_format_header *)data;
  if (rehash) {
    h->hash = 0;
    XXH3_state_t x;
    XXH3_64bits_reset(&x);
    XXH3_64bits_update(&x, h, sizeof *h);
    XXH3_64bits_update(&x, data + sizeof *h, h->n_sections * sizeof(cg_format_section));
    h->hash = XXH3_64bits_digest(&x);
  }
  write_file(s, cg_format(s, "%s/file_%s.cierge", folder, name), data, size);
}

// Sections of good.cierge: plan, weights.
static void damage_files(cg_session *s, void *u) {
  const char *folder = u;
  cg_file f = cg_file_map(s, cg_format(s, "%s/good.cierge", folder));
  uint8_t *d = cg_alloc(s, f.size + 64);
  cg_format_header *h = (cg_format_header *)d;
  cg_format_section *t = (cg_format_section *)(d + sizeof *h);
#define FRESH memcpy(d, f.data, f.size)
#define DAMAGE(name, rehash, size, ...) FRESH; __VA_ARGS__; put(s, folder, name, d, size, rehash)
  DAMAGE("magic", false, f.size, d[0] = 'X');
  DAMAGE("newer", false, f.size, h->version = 99);
  DAMAGE("older", false, f.size, h->version = 0);
  DAMAGE("cut", false, f.size - 9, (void)0);
  DAMAGE("tiny", false, 12, (void)0);
  DAMAGE("no_sections", false, f.size, h->n_sections = 0);
  DAMAGE("table", false, f.size, t[0].size++);
  DAMAGE("section", false, f.size, d[t[0].offset + 3] ^= 1);
  DAMAGE("padding", false, f.size, d[t[1].offset - 1] = 1);
  DAMAGE("no_name", true, f.size, memset(t[0].kind, 0, 8));
  DAMAGE("twice", true, f.size, memcpy(t[1].kind, t[0].kind, 8));
  DAMAGE("no_plan", true, f.size, memcpy(t[0].kind, "other", 6));
  DAMAGE("beyond", true, f.size, t[1].offset = 1 << 30);
  DAMAGE("out_of_place", true, f.size, t[1].offset += 8, t[1].size -= 8);
  DAMAGE("behind", true, f.size + 64, h->file_size += 64);
}

// ---------------------------------------------------------------- calls that make no sense

static void said(const char *call, cierge_status *st) {
  if (st) printf("%s\n  %s\n", call, cierge_status_message(st));
  else printf("%s\n  (nothing is wrong)\n", call);
  cierge_status_free(st);
}
#define SAY(...) said(#__VA_ARGS__, __VA_ARGS__)

static void misuse_api(const char *folder) {
  char path[4096], *text;
  snprintf(path, sizeof path, "%s/signature.cierge", folder);
  cierge_program *p, *q;
  cierge_context *c;
  cierge_options *o;
  const DLTensor *t;
  DLManagedTensorVersioned *m;
  float x[16] = {0}, y[16] = {0};
  int64_t three[1] = {3}, one[1] = {1}, zero[1] = {0}, number = 2;
  DLTensor a = {.data = x, .device = {kDLCPU, 0}, .ndim = 1, .dtype = {kDLFloat, 32, 1}, .shape = three}, b = a, k = {.data = &number, .device = {kDLCPU, 0}, .dtype = {kDLInt, 64, 1}};
  b.shape = one, b.data = y;
  SAY(cierge_load(NULL, NULL, &q));
  SAY(cierge_load(path, &(cierge_load_options){0}, &q));
  SAY(cierge_load(path, NULL, &p));
  SAY(cierge_verify(NULL));
  SAY(cierge_inspect(NULL, &text));
  SAY(cierge_context_new(NULL, NULL, &c));
  SAY(cierge_context_new(p, &(cierge_context_options){0}, &c));
  SAY(cierge_context_new(p, &(cierge_context_options){.size = sizeof(cierge_context_options), .threads = -1}, &c));
  SAY(cierge_context_new(p, NULL, &c));
  SAY(cierge_run(NULL));
  SAY(cierge_run(c));
  SAY(cierge_reset(NULL));
  SAY(cierge_seed(NULL, 1));
  SAY(cierge_input_set(NULL, 0, &a, 0));
  SAY(cierge_input_set(c, 9, &a, 0));
  SAY(cierge_input_set(c, 0, &a, 8));
  a.device.device_type = kDLCUDA;
  SAY(cierge_input_set(c, 0, &a, 0)); // on a GPU
  a.device.device_type = kDLCPU, a.data = NULL;
  SAY(cierge_input_set(c, 0, &a, 0)); // without data
  a.data = x, a.dtype.lanes = 4;
  SAY(cierge_input_set(c, 0, &a, 0)); // of vectors
  a.dtype.lanes = 1;
  SAY(cierge_input_set(c, 1, &b, CIERGE_READ_ONLY));
  b.strides = zero, b.shape = three;
  SAY(cierge_input_set(c, 1, &b, 0)); // its elements share memory
  b.strides = NULL, b.shape = one;
  SAY(cierge_input_set(c, 3, &k, 0)); // the constant 3
  SAY(cierge_input_set(c, 0, &a, 0));
  SAY(cierge_input_set(c, 1, &b, 0));
  SAY(cierge_input_set(c, 2, &k, 0));
  SAY(cierge_output_get(c, 0, &t));
  SAY(cierge_run(c));
  SAY(cierge_output_get(c, 0, NULL));
  SAY(cierge_output_get(c, 9, &t));
  SAY(cierge_output_take(c, 0, NULL));
  SAY(cierge_output_take(NULL, 0, &m));
  SAY(cierge_output_set(c, 1, &b));
  b.strides = zero, b.shape = three;
  SAY(cierge_output_set(c, 0, &b));
  b.strides = NULL;
  SAY(cierge_output_set(c, 0, &b)); // of 3 elements, not 1
  SAY(cierge_run(c));
  SAY(cierge_profile_text(NULL, &text));
  SAY(cierge_profile_text(c, &text));
  SAY(cierge_profile_json(NULL, &text));
  SAY(cierge_profile_json(c, &text));
  SAY(cierge_profile_trace(NULL, &text));
  SAY(cierge_profile_trace(c, &text));
  SAY(cierge_options_new(NULL));
  SAY(cierge_options_add(NULL, "target", "native"));
  SAY(cierge_options_new(&o));
  SAY(cierge_options_add(o, "taget", "native"));
  SAY(cierge_compile(NULL, "out", o));
  SAY(cierge_compile_text(NULL, 0, NULL, "out", o));
  SAY(cierge_explain(NULL, o, &text));
  cierge_options_free(o);
  cierge_context_free(c);
  cierge_program_free(p);
  // an input that gets another shape
  snprintf(path, sizeof path, "%s/reshaping.cierge", folder);
  int64_t six[2] = {2, 3};
  a.ndim = 2, a.shape = six;
  SAY(cierge_load(path, NULL, &p));
  SAY(cierge_context_new(p, NULL, &c));
  SAY(cierge_mutated_get(c, 0, &t));
  SAY(cierge_input_set(c, 0, &a, 0));
  SAY(cierge_input_set(c, 1, &a, 0));
  SAY(cierge_run(c)); // one tensor for two inputs, which the program writes to
  b = a, b.data = y;
  SAY(cierge_input_set(c, 1, &b, 0));
  SAY(cierge_run(c));
  SAY(cierge_mutated_get(NULL, 0, &t));
  SAY(cierge_mutated_get(c, 0, NULL));
  SAY(cierge_mutated_get(c, 2, &t));
  SAY(cierge_input_set(c, 1, NULL, 0));
  SAY(cierge_mutated_get(c, 0, &t));
  SAY(cierge_mutated_get(c, 1, &t));
  cierge_context_free(c);
  cierge_program_free(p);
  // an output that LibTorch made is handed over, and then gone
  snprintf(path, sizeof path, "%s/torch_double.cierge", folder);
  int64_t four[1] = {4};
  a.ndim = 1, a.shape = four;
  SAY(cierge_load(path, NULL, &p));
  SAY(cierge_context_new(p, &(cierge_context_options){.size = sizeof(cierge_context_options), .profile = 1}, &c));
  SAY(cierge_input_set(c, 0, &a, 0));
  SAY(cierge_run(c));
  SAY(cierge_output_take(c, 0, &m));
  SAY(cierge_output_get(c, 0, &t));
  SAY(cierge_profile_text(c, &text));
  printf("%s", text);
  cierge_text_free(text);
  m->deleter(m);
  cierge_context_free(c);
  cierge_program_free(p);
}

int main(int argc, char **argv) {
  bool api = argc == 3 && !strcmp(argv[1], "api");
  if (!api && (argc != 3 || strcmp(argv[1], "plans"))) {
    fprintf(stderr, "usage: plantool plans|api FOLDER\n");
    return 2;
  }
  if (api) {
    misuse_api(argv[2]);
    return 0;
  }
  for (size_t i = 0; i <= sizeof plans / sizeof *plans; i++) {
    cg_session s;
    cg_session_init(&s);
    bool last = i == sizeof plans / sizeof *plans;
    cierge_code code = last ? cg_try(&s, damage_files, argv[2]) : cg_try(&s, write_one, &(job){&plans[i], argv[2]});
    if (code) fprintf(stderr, "%s: %s\n", last ? "files" : plans[i].name, s.message);
    else if (!last) printf("%s\n", plans[i].name);
    cg_session_end(&s);
    if (code) return 1;
  }
  return 0;
}
