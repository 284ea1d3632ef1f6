// Binary search: searchsorted and bucketize. One row of sorted numbers for all values, or one for each row of values.
#include <string.h>

#include "backend/c/kernel_rows.h"

static cg_value *tensor(const cg_node *n, const char *name) { return cg_arg_tensor(cg_node_arg(n, name)); }
static cg_value *sequence(const cg_node *n) { return tensor(n, cg_node_arg(n, "boundaries") ? "boundaries" : "sorted_sequence"); }

static const char *claim(cg_pipeline *p, const cg_node *n) {
  const cg_value *sorted = sequence(n), *x = tensor(n, "self");
  const cg_arg *sorter = cg_node_arg(n, "sorter"), *side = cg_node_arg(n, "side");
  double v;
  (void)p;
  if (!sorted || !x || sorted->type.dtype != x->type.dtype) return "numbers of another dtype than the sorted ones";
  if (sorter && sorter->kind != CG_A_NONE) return "numbers in the order of a sorter";
  if (side && side->kind != CG_A_NONE && side->kind != CG_A_STR) return "a side that is not known";
  if (!cg_arg_double(cg_node_arg(n, "right"), &v)) return "right is not a literal";
  if (sorted->type.rank < 1 || (sorted->type.rank > 1 && sorted->type.rank != x->type.rank)) return "sorted numbers of this rank";
  return NULL;
}

static bool to_the_right(const cg_node *n) {
  const cg_arg *side = cg_node_arg(n, "side");
  double v = 0;
  if (side && side->kind == CG_A_STR) return !strcmp(side->str.text, "right");
  return cg_arg_double(cg_node_arg(n, "right"), &v) && v != 0;
}

static void emit(cg_kernel *k, const cg_node *n) {
  cg_kernel_one_by_one(k);
  cg_session *s = cg_kernel_session(k);
  cg_str *o = cg_kernel_body(k);
  cg_kernel_input x = cg_rows_read(k, tensor(n, "self")), sorted = cg_rows_read(k, sequence(n));
  const char *index[CG_MAX_RANK], *at[CG_MAX_RANK];
  bool rows[CG_MAX_RANK];
  int last = x.rank - 1;
  for (int d = 0; d <= last; d++) index[d] = at[d] = cg_format(s, "i%d", d), rows[d] = d != last;
  at[sorted.rank - 1] = "middle";
  const char *width = cg_kernel_size(k, x.dim[last]), *T = cg_kernel_computed(x.dtype);
  cg_rows_open(o, cg_kernel_size(k, cg_rows_product(k, x.rank, x.dim, rows)), cg_format(s, "10 * %s", cg_kernel_size(k, cg_rows_product(k, x.rank, x.dim, NULL))), "");
  cg_rows_decode(k, o, 6, "unit", x.rank, x.dim, rows, index);
  cg_str_addf(o,
              "      for (int64_t %s = 0; %s < %s; %s++) {\n"
              "        const %s value = %s;\n"
              "        int64_t from = 0, to = %s;\n"
              "        while (from < to) {\n"
              "          const int64_t middle = from + (to - from) / 2;\n"
              "          const %s here = %s;\n"
              "          const int below = !(here %s value);\n"
              "          from = below ? middle + 1 : from;\n"
              "          to = below ? to : middle;\n"
              "        }\n",
              index[last], index[last], width, index[last], T, cg_kernel_load(k, x.dtype, x.name, cg_rows_at(k, &x, index)),
              cg_kernel_size(k, sorted.dim[sorted.rank - 1]), T, cg_kernel_load(k, sorted.dtype, sorted.name, cg_rows_at(k, &sorted, at)), to_the_right(n) ? ">" : ">=");
  cg_kernel_store(k, o, 8, 0, n->result[0]->type.dtype == CG_I32 ? "(int32_t)from" : "from", index);
  cg_str_add(o, "      }\n");
  cg_rows_close(o);
}

const cg_kernel_template cg_kernel_search = {"search", claim, true, true, emit};
