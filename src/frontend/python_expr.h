// Sizes as Python writes them: sympy's srepr ("Mul(Integer(2), Symbol('s0', positive=True, integer=True))"), which
// torch.export records, and the infix text of shape guards ("(3*L['x'].size()[0]) % 4 == 0").
#ifndef CG_FRONTEND_PYTHON_EXPR_H
#define CG_FRONTEND_PYTHON_EXPR_H
#include "ir/ir.h"

typedef struct {
  enum { CG_PY_UNKNOWN, CG_PY_INT, CG_PY_BOOL, CG_PY_REAL, CG_PY_SCALED } kind;
  const cg_expr *num;      // INT, BOOL (0 or 1); REAL: num/den; SCALED: the double product num * by
  const cg_expr *den;      // REAL: above 0
  enum { CG_PY_EXACT, CG_PY_DOUBLE, CG_PY_QUOTIENT } real;
  // EXACT: a rational number. DOUBLE: a double that num/den equals exactly. QUOTIENT: the double nearest to num/den.
  double by;               // SCALED: finite; a number alone has num 1
  const char *why;         // UNKNOWN: what there is no expression for
} cg_py_expr;

typedef struct {
  cg_module *m;
  // Reads what starts at *at with "L[" and moves *at behind it; false: not understood. NULL: there are none.
  bool (*source)(void *u, const char **at, cg_py_expr *out);
  void *u;
} cg_py_reader;

// Never throws over what the text says (but where an expression's constants overflow); a text that does not read is UNKNOWN.
cg_py_expr cg_py_read(const cg_py_reader *r, const char *text);
// The integer that it is; NULL: none, and *why says so.
const cg_expr *cg_py_integer(const cg_py_reader *r, const cg_py_expr *x, const char **why);
// A symbol's name as PyTorch gives them: "u0" is unbacked, "s0" is a size. NULL: no name of an integer symbol.
cg_symbol *cg_py_symbol(cg_module *m, const char *name);
#endif
