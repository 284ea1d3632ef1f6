// Costs per region, node and tensor out of measured latencies, by least squares.
#include <math.h>
#include <string.h>

#include "cli/study.h"

static double term(const cg_study_point *x, int t) { return t == CG_FIT_BASE ? 1 : t == CG_FIT_REGION ? x->regions : t == CG_FIT_NODE ? x->nodes : x->tensors; }

// The model left whole to LibTorch is another program (nothing of it is decomposed): no point of the fit.
static bool counts(const cg_study_point *x, const char *mode) { return x->kind != CG_STUDY_WHOLE && (!*x->mode || !strcmp(x->mode, mode)); }

// Inverts a (n by n), scaled by its diagonal, with complete elimination; false: it has no inverse to speak of.
static bool invert(int n, double a[CG_FIT_TERMS][CG_FIT_TERMS], double out[CG_FIT_TERMS][CG_FIT_TERMS]) {
  double w[CG_FIT_TERMS][2 * CG_FIT_TERMS] = {{0}}, scale[CG_FIT_TERMS];
  for (int i = 0; i < n; i++) {
    if (!(a[i][i] > 0)) return false;
    scale[i] = sqrt(a[i][i]);
  }
  for (int i = 0; i < n; i++)
    for (int k = 0; k < n; k++) w[i][k] = a[i][k] / scale[i] / scale[k], w[i][n + k] = i == k;
  for (int i = 0; i < n; i++) {
    int best = i;
    for (int k = i + 1; k < n; k++)
      if (fabs(w[k][i]) > fabs(w[best][i])) best = k;
    if (fabs(w[best][i]) < 1e-9) return false;
    for (int k = 0; k < 2 * n; k++) {
      double t = w[i][k];
      w[i][k] = w[best][k], w[best][k] = t;
    }
    for (int k = 2 * n - 1; k >= i; k--) w[i][k] /= w[i][i];
    for (int r = 0; r < n; r++) {
      double f = w[r][i];
      for (int k = i; r != i && k < 2 * n; k++) w[r][k] -= f * w[i][k];
    }
  }
  for (int i = 0; i < n; i++)
    for (int k = 0; k < n; k++) out[i][k] = w[i][n + k] / scale[i] / scale[k];
  return true;
}

// With these terms (bits), the others' costs being 0; false: the points do not tell them apart.
static bool solve(const cg_study *y, cg_study_fit *f, unsigned terms) {
  double a[CG_FIT_TERMS][CG_FIT_TERMS] = {{0}}, inverse[CG_FIT_TERMS][CG_FIT_TERMS], b[CG_FIT_TERMS] = {0}, mean = 0, left = 0, all = 0;
  int use[CG_FIT_TERMS], n = 0;
  for (int t = 0; t < CG_FIT_TERMS; t++)
    if (terms >> t & 1) use[n++] = t;
  for (int i = 0; i < y->point.n; i++) {
    const cg_study_point *x = &y->point.at[i];
    for (int t = 0; t < n && counts(x, f->mode); t++) {
      b[t] += term(x, use[t]) * x->median;
      for (int k = 0; k < n; k++) a[t][k] += term(x, use[t]) * term(x, use[k]);
    }
    if (counts(x, f->mode)) mean += x->median / f->points;
  }
  if (f->points < n + 2 || !invert(n, a, inverse)) return false;
  for (int t = 0; t < n; t++)
    for (int k = 0; k < n; k++) f->cost[use[t]] += inverse[t][k] * b[k];
  for (int i = 0; i < y->point.n; i++) {
    const cg_study_point *x = &y->point.at[i];
    if (!counts(x, f->mode)) continue;
    double r = x->median;
    for (int t = 0; t < n; t++) r -= f->cost[use[t]] * term(x, use[t]);
    left += r * r, all += (x->median - mean) * (x->median - mean);
  }
  for (int t = 0; t < n; t++) f->error[use[t]] = sqrt(fmax(0, inverse[t][t] * left / (f->points - n)));
  f->terms = terms, f->r2 = all > 0 ? 1 - left / all : 1, f->rms = sqrt(left / f->points);
  return true;
}

// Nothing is gained by crossing: of the choices of terms that leave region and tensor at 0 or above, the one that fits best.
static cg_study_fit best_of(const cg_study *y, const cg_study_fit *empty) {
  enum { REGION = 1 << CG_FIT_REGION, TENSOR = 1 << CG_FIT_TENSOR, ALWAYS = 1 << CG_FIT_BASE | 1 << CG_FIT_NODE };
  static const unsigned choices[] = {ALWAYS | REGION | TENSOR, ALWAYS | REGION, ALWAYS | TENSOR, ALWAYS};
  cg_study_fit best = *empty;
  for (int i = 0; i < 4; i++) {
    cg_study_fit f = *empty;
    if (solve(y, &f, choices[i]) && f.cost[CG_FIT_REGION] >= 0 && f.cost[CG_FIT_TENSOR] >= 0 && (!best.terms || f.rms < best.rms)) best = f;
  }
  return best;
}

// Least squares through the origin of the pairs' differences: the same nodes, more regions and fewer.
static void pairs(const cg_study *y, cg_study_fit *f) {
  double xy = 0, xx = 0;
  for (int i = 0; i < y->point.n; i++)
    for (int k = 0; k < y->point.n; k++) {
      const cg_study_point *a = &y->point.at[i], *m = &y->point.at[k];
      if (a->kind != CG_STUDY_ALONE || m->kind != CG_STUDY_MERGED || strcmp(a->mode, f->mode) || strcmp(m->mode, f->mode)) continue;
      if (a->asked != m->asked || a->regions == m->regions) continue;
      double d = a->regions - m->regions;
      xy += d * (a->median - m->median), xx += d * d, f->pairs++;
    }
  f->boundary = f->pairs ? xy / xx : 0;
}

cg_study_fit cg_study_fit_of(const cg_study *y, const char *mode) {
  cg_study_fit f = {.mode = mode};
  for (int i = 0; i < y->point.n; i++) f.points += counts(&y->point.at[i], mode);
  f = best_of(y, &f);
  pairs(y, &f);
  return f;
}
