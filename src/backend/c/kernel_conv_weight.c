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

bool cg_conv_weight_constant(const cg_conv *w) {
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
  cg_dtype kept = w->tile.kept;
  return cg_kernel_constant(w->k, cg_format(w->s, "%s_%s", w->w.constant->name, suffix), kept, 1, (int64_t[]){n}, data, (size_t)n * cg_dtypes[kept].size);
}

// The same for weights that are known by running only, in C: that of a tap, and the rest.
static const char *tap_text(cg_conv *w, const char *tap) {
  const char *t = cg_kernel_size(w->k, w->w.offset);
  int64_t below = 1;
  for (int d = w->ns - 1; d >= 0; d--) {
    t = cg_format(w->s, "%s + %s / %lld %% %lld * %s", t, tap, (long long)below, (long long)w->kernel[d], cg_kernel_size(w->k, w->w.stride[d + 2]));
    below *= w->kernel[d];
  }
  return t;
}

static const char *channels_text(cg_conv *w, const char *g, const char *oc, const char *ic) {
  int o, i;
  dims_of(w, &o, &i);
  const char *so = cg_kernel_size(w->k, w->w.stride[o]), *si = cg_kernel_size(w->k, w->w.stride[i]);
  if (w->transposed) return cg_format(w->s, "%s * %s + (%s * %lld + %s) * %s", oc, so, g, (long long)w->ic, ic, si);
  return cg_format(w->s, "(%s * %lld + %s) * %s + %s * %s", g, (long long)w->oc, oc, so, ic, si);
}

static const char *pack_now(cg_conv *w, const cg_conv_phases *p) {
  size_t es = cg_dtypes[w->tile.kept].size, ws = cg_dtypes[w->w.dtype].size;
  int64_t idx[CG_MAX_RANK] = {0}, nr = w->tile.nr, n = 0;
  for (int64_t f = 0; f < p->count; f++) n += w->groups * cg_tile_packed(&w->tile, p->phase[f].taps * w->ic, w->oc);
  const char *src = n ? cg_kernel_constant_at(&w->w, idx) : NULL;
  char *data = cg_kernel_spare(w->k, (size_t)n * es), *to = data;
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

// How many taps in a row lie equally far apart.
static int64_t line_of(const cg_conv *w) {
  int64_t n = w->kernel[w->ns - 1];
  if (w->transposed) return 1; // its phases take taps here and there
  for (int d = w->ns - 2; d >= 0; n *= w->kernel[d--]) {
    const cg_expr *above = cg_x_mul(&w->m->exprs, w->w.stride[d + 3], cg_x_int(&w->m->exprs, w->kernel[d + 1]));
    if (w->w.stride[d + 2] != above) break;
  }
  return n;
}

static const char *pack_later(cg_conv *w, const cg_conv_phases *p, cg_str *o) {
  cg_kernel_input in = cg_kernel_read(w->k, w->w.value);
  const cg_tile *t = &w->tile;
  long long panels = (w->oc + t->nr - 1) / t->nr, nr = t->nr, oc = w->oc, ic = w->ic, line = line_of(w);
  int64_t each = 0;
  int out, channel;
  dims_of(w, &out, &channel);
  cg_tile_get(w->k, w->w.dtype); // its copy function
  cg_str_addf(o, "  { // the weight as panels (group, phase, panel, tap, channel, %lld)\n    static const int64_t taps[] = {", nr);
  for (int64_t i = 0; i < w->taps; i++) cg_str_addf(o, "%s%lld", i ? ", " : "", (long long)p->tap[i]);
  cg_str_add(o, "}, first[] = {");
  for (int64_t f = 0; f < p->count; f++) cg_str_addf(o, "%lld, ", (long long)p->phase[f].first);
  cg_str_addf(o, "%lld}, start[] = {", (long long)w->taps);
  for (int64_t f = 0; f < p->count; f++) {
    cg_str_addf(o, "%s%lld", f ? ", " : "", (long long)each);
    each += cg_tile_packed(t, p->phase[f].taps * ic, oc);
  }
  const char *to = cg_kernel_scratch(w->k, t->dtype, cg_x_int(&w->m->exprs, each ? w->groups * each : 1));
  cg_str_addf(o,
              "};\n"
              "    int64_t at[%lld];\n"
              "    for (int64_t t = 0; t < %lld; t++) at[t] = %s;\n"
              "    #pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && %lld > 50000)\n"
              "    for (int64_t unit = 0; unit < %lld; unit++) {\n"
              "      const int64_t g = unit / %lld, n0 = unit %% %lld * %lld, cols = %lld - n0 < %lld ? %lld - n0 : %lld, width = (cols + %d) / %d * %d;\n"
              "      for (int64_t f = 0; f < %lld; f++) {\n"
              "        const int64_t n = first[f + 1] - first[f];\n"
              "        %s *to = %s + g * %lld + start[f] + n0 * n * %lld;\n"
              "        for (int64_t i = 0; i < %lld; i++)\n"
              "          for (int64_t t = 0; t < n; t += %lld)\n"
              "            %s(%lld, cols, %s + %s + at[first[f] + t], %s, %s, to + (t * %lld + i) * width, width, %lld * width);\n"
              "      }\n"
              "    }\n"
              "  }\n",
              (long long)(w->taps ? w->taps : 1), (long long)w->taps, tap_text(w, "taps[t]"), (long long)(w->groups * each), w->groups * panels, panels, panels, nr, oc, nr, oc, nr,
              t->step - 1, t->step, t->step, (long long)p->count, t->ctype, to, (long long)each, ic, ic, line, cg_tile_place(w->k, w->w.dtype), line, in.name,
              channels_text(w, "g", "n0", "i"), cg_kernel_size(w->k, w->w.stride[w->ns + 1]), cg_kernel_size(w->k, w->w.stride[out]), ic, ic);
  return to;
}

const char *cg_conv_pack(cg_conv *w, const cg_conv_phases *p, cg_str *o) { return cg_conv_weight_constant(w) ? pack_now(w, p) : pack_later(w, p, o); }

const char *cg_conv_pack_depthwise(cg_conv *w, cg_str *o) {
  int64_t rows = w->groups * w->oc, n = rows * w->taps;
  if (cg_conv_weight_constant(w)) {
    size_t es = cg_dtypes[w->tile.kept].size, ws = cg_dtypes[w->w.dtype].size;
    int64_t idx[CG_MAX_RANK] = {0};
    const char *src = n ? cg_kernel_constant_at(&w->w, idx) : NULL;
    char *data = cg_kernel_spare(w->k, (size_t)n * es);
    for (int64_t t = 0; t < w->taps; t++)
      for (int64_t c = 0; c < rows; c++)
        cg_tile_convert(&w->tile, w->w.dtype, src + (size_t)place(w, c / w->oc, c % w->oc, 0, t) * ws, data + (size_t)(t * rows + c) * es);
    return keep(w, "taps", data, n);
  }
  cg_kernel_input in = cg_kernel_read(w->k, w->w.value);
  const char *to = cg_kernel_scratch(w->k, w->tile.dtype, cg_x_int(&w->m->exprs, n));
  cg_str_addf(o, "  // The weight as (tap, channel)\n  for (int64_t t = 0; t < %lld; t++)\n    for (int64_t c = 0; c < %lld; c++) %s[t * %lld + c] = %s;\n", (long long)w->taps,
              (long long)rows, to, (long long)rows, cg_kernel_load(w->k, in.dtype, in.name, cg_format(w->s, "%s + %s", channels_text(w, "0", "c", "0"), tap_text(w, "t"))));
  return to;
}
