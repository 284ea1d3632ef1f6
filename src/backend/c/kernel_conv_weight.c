// The weights of a convolution in the order in which its kernel reads them: packed at compile time where they are constant.
#include <string.h>

#include "backend/c/kernel_conv.h"

// ---------------------------------------------------------------- phases

static int64_t residue(int64_t a, int64_t n) { return (a % n + n) % n; }

cg_conv_phases cg_conv_phases_of(const cg_conv *w) {
  cg_conv_phases p = {.count = 1};
  for (int d = 0; d < w->ns; d++) {
    if (w->transposed) p.count *= w->stride[d];
    p.step[d] = w->transposed ? 1 : w->stride[d], p.out_step[d] = w->transposed ? w->stride[d] : 1;
  }
  p.phase = CG_NEW_ARRAY(w->s, cg_conv_phase, p.count);
  p.tap = CG_NEW_ARRAY(w->s, int64_t, w->taps + 1);
  p.offset = cg_alloc(w->s, sizeof *p.offset * (size_t)(w->taps + 1));
  int64_t n = 0;
  for (int64_t i = 0; i < p.count; i++) {
    cg_conv_phase *f = &p.phase[i];
    for (int64_t d = w->ns - 1, rest = i; d >= 0; d--) f->start[d] = rest % p.out_step[d], rest /= p.out_step[d];
    f->first = n;
    for (int64_t t = 0; t < w->taps; t++) {
      bool mine = true;
      int64_t rest = t, offset[CG_CONV_SPATIAL] = {0};
      for (int d = w->ns - 1; d >= 0; d--) {
        int64_t at = rest % w->kernel[d] * w->dilation[d];
        rest /= w->kernel[d];
        if (w->transposed) {
          mine = mine && residue(at - w->pad[d], w->stride[d]) == f->start[d];
          offset[d] = (f->start[d] + w->pad[d] - at) / w->stride[d];
        } else offset[d] = at - w->pad[d];
      }
      if (!mine) continue;
      memcpy(p.offset[n], offset, sizeof offset);
      p.tap[n++] = t;
    }
    f->taps = n - f->first;
  }
  return p;
}

// ---------------------------------------------------------------- packing

// Strides of the weight in elements as (output channel of the group, group, input channel, each spatial dimension).
static void dims_of(const cg_conv *w, int *oc_dim, int *ic_dim) { *oc_dim = w->transposed, *ic_dim = !w->transposed; }

static bool constant(const cg_conv *w) {
  for (int d = 0; d < w->w.rank; d++)
    if (!cg_x_is_int(w->w.stride[d])) return false;
  return w->w.constant != NULL;
}

// Where element (group, oc, ic, tap) of a constant weight is, from its first, in elements.
static int64_t place(const cg_conv *w, int64_t g, int64_t oc, int64_t ic, int64_t tap) {
  int o, i;
  dims_of(w, &o, &i);
  int64_t at = (w->transposed ? oc : g * w->oc + oc) * w->w.stride[o]->value + (w->transposed ? g * w->ic + ic : ic) * w->w.stride[i]->value;
  for (int d = w->ns - 1; d >= 0; d--) at += tap % w->kernel[d] * w->w.stride[d + 2]->value, tap /= w->kernel[d];
  return at;
}

static const char *keep(cg_conv *w, const char *suffix, void *data, int64_t n) {
  return cg_kernel_constant(w->k, cg_format(w->s, "%s_%s", w->w.constant->name, suffix), w->tile.dtype, 1, (int64_t[]){n}, data, (size_t)n * cg_dtypes[w->tile.dtype].size);
}

// The same place as C text, for weights that are known by running only.
static const char *place_text(cg_conv *w, const char *g, const char *oc, const char *ic, const char *tap) {
  int o, i;
  dims_of(w, &o, &i);
  const char *so = cg_kernel_size(w->k, w->w.stride[o]), *si = cg_kernel_size(w->k, w->w.stride[i]);
  const char *t = w->transposed ? cg_format(w->s, "%s + %s * %s + (%s * %lld + %s) * %s", cg_kernel_size(w->k, w->w.offset), oc, so, g, (long long)w->ic, ic, si)
                                : cg_format(w->s, "%s + (%s * %lld + %s) * %s + %s * %s", cg_kernel_size(w->k, w->w.offset), g, (long long)w->oc, oc, so, ic, si);
  int64_t below = 1;
  for (int d = w->ns - 1; d >= 0; d--) {
    t = cg_format(w->s, "%s + %s / %lld %% %lld * %s", t, tap, (long long)below, (long long)w->kernel[d], cg_kernel_size(w->k, w->w.stride[d + 2]));
    below *= w->kernel[d];
  }
  return t;
}

static const char *pack_now(cg_conv *w, const cg_conv_phases *p) {
  size_t es = cg_dtypes[w->tile.dtype].size, ws = cg_dtypes[w->w.dtype].size;
  int64_t idx[CG_MAX_RANK] = {0}, nr = w->tile.nr, n = 0;
  for (int64_t f = 0; f < p->count; f++) n += w->groups * cg_tile_packed(&w->tile, p->phase[f].taps * w->ic, w->oc);
  const char *src = n ? cg_kernel_constant_at(&w->w, idx) : NULL;
  char *data = cg_alloc(w->s, (size_t)n * es + 1), *to = data;
  for (int64_t g = 0; g < w->groups; g++)
    for (int64_t f = 0; f < p->count; f++)
      for (int64_t n0 = 0; n0 < w->oc; n0 += nr) {
        int64_t cols = w->oc - n0 < nr ? w->oc - n0 : nr, width = cg_tile_packed(&w->tile, 1, cols);
        for (int64_t t = 0; t < p->phase[f].taps; t++)
          for (int64_t i = 0; i < w->ic; i++, to += (size_t)width * es)
            for (int64_t j = 0; j < cols; j++)
              cg_tile_convert(&w->tile, w->w.dtype, src + (size_t)place(w, g, n0 + j, i, p->tap[p->phase[f].first + t]) * ws, to + (size_t)j * es);
      }
  return keep(w, "packed", data, n);
}

static const char *pack_later(cg_conv *w, const cg_conv_phases *p, cg_str *o) {
  cg_kernel_input in = cg_kernel_read(w->k, w->w.value);
  int64_t n = 0;
  for (int64_t f = 0; f < p->count; f++) n += w->groups * cg_tile_packed(&w->tile, p->phase[f].taps * w->ic, w->oc);
  const char *to = cg_kernel_scratch(w->k, w->tile.dtype, cg_x_int(&w->m->exprs, n ? n : 1));
  cg_str_addf(o, "  { // the weight as panels (group, phase, panel, tap, channel, %d)\n    static const int64_t taps[] = {", w->tile.nr);
  for (int64_t t = 0; t < w->taps; t++) cg_str_addf(o, "%s%lld", t ? ", " : "", (long long)p->tap[t]);
  cg_str_add(o, "}, first[] = {");
  for (int64_t f = 0; f < p->count; f++) cg_str_addf(o, "%lld, ", (long long)p->phase[f].first);
  cg_str_addf(o,
              "%lld};\n"
              "    int64_t at = 0;\n"
              "    for (int64_t g = 0; g < %lld; g++)\n"
              "      for (int64_t f = 0; f < %lld; f++)\n"
              "        for (int64_t n0 = 0; n0 < %lld; n0 += %d) {\n"
              "          const int64_t cols = %lld - n0 < %d ? %lld - n0 : %d, width = (cols + %d) / %d * %d;\n"
              "          for (int64_t t = first[f]; t < first[f + 1]; t++)\n"
              "            for (int64_t i = 0; i < %lld; i++, at += width)\n"
              "              for (int64_t j = 0; j < width; j++) %s[at + j] = j < cols ? %s : 0;\n"
              "        }\n  }\n",
              (long long)w->taps, (long long)w->groups, (long long)p->count, (long long)w->oc, w->tile.nr, (long long)w->oc, w->tile.nr, (long long)w->oc, w->tile.nr,
              w->tile.step - 1, w->tile.step, w->tile.step, (long long)w->ic, to,
              cg_kernel_load(w->k, in.dtype, in.name, place_text(w, "g", "(n0 + j)", "i", "taps[t]")));
  return to;
}

const char *cg_conv_pack(cg_conv *w, const cg_conv_phases *p, cg_str *o) { return constant(w) ? pack_now(w, p) : pack_later(w, p, o); }

const char *cg_conv_pack_depthwise(cg_conv *w, cg_str *o) {
  int64_t rows = w->groups * w->oc, n = rows * w->taps;
  if (constant(w)) {
    size_t es = cg_dtypes[w->tile.dtype].size, ws = cg_dtypes[w->w.dtype].size;
    int64_t idx[CG_MAX_RANK] = {0};
    const char *src = n ? cg_kernel_constant_at(&w->w, idx) : NULL;
    char *data = cg_alloc(w->s, (size_t)n * es + 1);
    for (int64_t t = 0; t < w->taps; t++)
      for (int64_t c = 0; c < rows; c++)
        cg_tile_convert(&w->tile, w->w.dtype, src + (size_t)place(w, c / w->oc, c % w->oc, 0, t) * ws, data + (size_t)(t * rows + c) * es);
    return keep(w, "taps", data, n);
  }
  cg_kernel_input in = cg_kernel_read(w->k, w->w.value);
  const char *to = cg_kernel_scratch(w->k, w->tile.dtype, cg_x_int(&w->m->exprs, n));
  cg_str_addf(o, "  // The weight as (tap, channel)\n  for (int64_t t = 0; t < %lld; t++)\n    for (int64_t c = 0; c < %lld; c++) %s[t * %lld + c] = %s;\n", (long long)w->taps,
              (long long)rows, to, (long long)rows, cg_kernel_load(w->k, in.dtype, in.name, place_text(w, "0", "c", "0", "t")));
  return to;
}
