// Type rules: Fourier transforms. Source: aten/src/ATen/native/SpectralOps.cpp.
#include <string.h>

#include "ops/rules.h"

// The sizes along the transformed dims: s[i], or the input's. `last`: the dim whose size a real transform changes.
static const char *transformed(cg_module *m, const cg_node *n, const cg_type *x, const cg_expr **dim, int *last, const cg_expr **last_given) {
  const char *sizes = cg_node_arg(n, "s") ? "s" : "n";
  const cg_arg *s = cg_node_arg(n, sizes), *d = cg_node_arg(n, "dim");
  int ns = cg_r_is_none(n, sizes) ? 0 : cg_arg_list_len(s), nd = cg_r_is_none(n, "dim") ? 0 : cg_arg_list_len(d);
  int count = nd ? nd : ns ? ns : x->rank;
  if (!count || count > x->rank || (ns && ns != count)) return "the transformed dimensions do not fit the input";
  *last_given = NULL;
  for (int i = 0; i < count; i++) {
    int k = x->rank - count + i;
    if (nd) CG_RULE(cg_r_dim(m, cg_arg_list_at(d, i), x->rank, &k));
    *last = k;
    if (!ns) continue;
    const cg_expr *size;
    if (!cg_arg_int(cg_arg_list_at(s, i), &size)) return "a size of the transform is not known";
    if (cg_x_is(size, -1)) continue;
    dim[k] = size;
    if (i == count - 1) *last_given = size;
  }
  return NULL;
}

// fft, rfft (half of a real input's), irfft and hfft (real results of a half), ihfft, and those over several dims.
const char *cg_infer_fft(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  if (x->rank < 1) return "an input of one dimension or more is expected";
  const char *name = n->schema->name + strlen("aten::fft_");
  bool halves = !strncmp(name, "rfft", 4) || !strncmp(name, "ihfft", 5), real = !strncmp(name, "irfft", 5) || !strncmp(name, "hfft", 4);
  const cg_expr **dim = cg_r_copy_dims(m, x), *given;
  cg_dtype t = cg_r_complex(x->dtype);
  int last = 0;
  CG_RULE(transformed(m, n, x, dim, &last, &given));
  if (halves) dim[last] = cg_xadd(m, cg_xdiv(m, dim[last], cg_xi(m, 2)), cg_xi(m, 1));
  if (real && !given) dim[last] = cg_xmul(m, cg_xsub(m, x->dim[last], cg_xi(m, 1)), cg_xi(m, 2));
  cg_r_set(n, 0, real ? cg_r_real(t) : t, x->rank, dim);
  return NULL;
}

// complex(real, imag), polar(abs, angle).
const char *cg_infer_complex(cg_module *m, cg_node *n) {
  const cg_type *x = n->nargs == 2 && cg_self(n) ? &cg_self(n)->type : NULL, *y = n->nargs == 2 && cg_arg_tensor(&n->arg[1]) ? &cg_arg_tensor(&n->arg[1])->type : NULL;
  if (!x || !y || x->dtype != y->dtype || !cg_is_float(x->dtype)) return "two tensors of one floating dtype are expected";
  cg_type t = *x;
  CG_RULE(cg_broadcast(m, n, &t, y));
  cg_r_set(n, 0, cg_r_complex(x->dtype), t.rank, t.dim);
  return NULL;
}

// What stft and istft share: a frame of n_fft every `hop` samples, `bins` frequencies of each.
typedef struct { const cg_expr *n_fft, *hop, *half; } frames;

static bool read_frames(cg_module *m, const cg_node *n, frames *f) {
  if (!cg_r_int(n, "n_fft", &f->n_fft)) return false;
  if (!cg_r_int(n, "hop_length", &f->hop)) {
    if (!cg_r_is_none(n, "hop_length")) return false;
    f->hop = cg_xdiv(m, f->n_fft, cg_xi(m, 4));
  }
  f->half = cg_xdiv(m, f->n_fft, cg_xi(m, 2));
  return true;
}

// stft: (batch), frequencies, frames. Source, as for istft: aten/src/ATen/native/SpectralOps.cpp.
const char *cg_infer_stft(cg_module *m, cg_node *n) {
  const cg_type *x, *window = cg_r_type(n, "window");
  frames f;
  CG_RULE(cg_r_self(n, &x));
  if (x->rank != 1 && x->rank != 2) return "a signal of one or two dimensions is expected";
  if (!read_frames(m, n, &f) || cg_r_bool(n, "align_to_window", false)) return NULL;
  bool complex = cg_is_complex(x->dtype) || (window && cg_is_complex(window->dtype)), to_complex = cg_r_bool(n, "return_complex", complex);
  const cg_expr **dim = cg_r_new_dims(m, x->rank + 2), *length = x->dim[x->rank - 1];
  if (cg_r_bool(n, "center", false)) length = cg_xadd(m, length, cg_xmul(m, f.half, cg_xi(m, 2)));
  if (x->rank == 2) dim[0] = x->dim[0];
  dim[x->rank - 1] = cg_r_bool(n, "onesided", !complex) ? cg_xadd(m, f.half, cg_xi(m, 1)) : f.n_fft;
  dim[x->rank] = cg_xadd(m, cg_xdiv(m, cg_xsub(m, length, f.n_fft), f.hop), cg_xi(m, 1));
  dim[x->rank + 1] = cg_xi(m, 2);
  cg_dtype t = cg_r_complex(x->dtype);
  cg_r_set(n, 0, to_complex ? t : cg_r_real(t), x->rank + !to_complex + 1, dim);
  return NULL;
}

const char *cg_infer_istft(cg_module *m, cg_node *n) {
  const cg_type *x;
  frames f;
  CG_RULE(cg_r_self(n, &x));
  if ((x->rank != 2 && x->rank != 3) || !cg_is_complex(x->dtype)) return "a complex tensor of two or three dimensions is expected";
  if (!read_frames(m, n, &f)) return NULL;
  const cg_expr **dim = cg_r_new_dims(m, 2), *length;
  if (!cg_r_int(n, "length", &length)) {
    if (!cg_r_is_none(n, "length")) return NULL;
    length = cg_xmul(m, f.hop, cg_xsub(m, x->dim[x->rank - 1], cg_xi(m, 1)));
    length = cg_xadd(m, length, f.n_fft);
    if (cg_r_bool(n, "center", true)) length = cg_xsub(m, length, cg_xmul(m, f.half, cg_xi(m, 2)));
  }
  dim[0] = x->rank == 3 ? x->dim[0] : length;
  if (x->rank == 3) dim[1] = length;
  cg_r_set(n, 0, cg_r_bool(n, "return_complex", false) ? x->dtype : cg_r_real(x->dtype), x->rank - 1, dim);
  return NULL;
}
