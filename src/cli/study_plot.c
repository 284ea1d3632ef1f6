// The study as a plot: latency over offloaded nodes, and over regions; SVG that needs nothing else.
#include <math.h>
#include <string.h>

#include "cli/study.h"

enum { W = 1150, H = 470, PANEL = 430, TALL = 320, LEFT = 64, TOP = 84, BETWEEN = 72, LABELS = 6 };

static const struct {
  cg_study_kind kind;
  const char *mode, *colour, *dash, *name;
} curves[] = {{CG_STUDY_ALONE, "ops", "#c4551d", "", "each node alone, ops"},     {CG_STUDY_ALONE, "script", "#c4551d", "5 3", "each node alone, script"},
              {CG_STUDY_MERGED, "ops", "#2364aa", "", "the same nodes merged, ops"}, {CG_STUDY_MERGED, "script", "#2364aa", "5 3", "the same nodes merged, script"},
              {CG_STUDY_FRONT, "ops", "#2f7d6d", "", "first nodes merged, ops"},  {CG_STUDY_FRONT, "script", "#2f7d6d", "5 3", "first nodes merged, script"}};
enum { CURVES = sizeof curves / sizeof *curves };

typedef struct {
  cg_str *b;
  const cg_study *y;
  double x0, most_x, most_us; // the panel's left edge, and what its edges stand for
  bool regions;               // the horizontal axis
} panel;

static void add_text(cg_str *b, const char *t) {
  for (; *t; t++)
    if (*t == '<' || *t == '&' || *t == '>') cg_str_addf(b, "&#%d;", *t);
    else cg_str_addc(b, *t);
}

// 1, 2 or 5 times a power of ten: about n of them up to `most`.
static double step_of(double most, int n) {
  double p = pow(10, floor(log10(most / n))), x = most / n / p;
  return p * (x <= 1 ? 1 : x <= 2 ? 2 : x <= 5 ? 5 : 10);
}

static double at_x(const panel *p, double v) { return p->x0 + v / p->most_x * PANEL; }
static double at_y(const panel *p, double us) { return TOP + TALL - us / p->most_us * TALL; }

static void axes(const panel *p) {
  cg_str *b = p->b;
  double sy = step_of(p->most_us, 6), sx = fmax(1, step_of(p->most_x, 6));
  bool ms = p->most_us >= 4000;
  for (double v = 0; v <= p->most_us * 1.0001; v += sy)
    cg_str_addf(b, "<path d=\"M%.1f %.1fh%d\" stroke=\"#e3e6ea\"/><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", p->x0, at_y(p, v), PANEL, p->x0 - 8,
                at_y(p, v) + 4, ms ? v / 1000 : v);
  for (double v = 0; v <= p->most_x * 1.0001; v += sx)
    cg_str_addf(b, "<path d=\"M%.1f %dv5\" stroke=\"#667080\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n", at_x(p, v), TOP + TALL, at_x(p, v), TOP + TALL + 19, v);
  cg_str_addf(b, "<path d=\"M%.1f %dv%dh%d\" stroke=\"#667080\" fill=\"none\"/>\n", p->x0, TOP, TALL, PANEL);
  cg_str_addf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", p->x0 + PANEL / 2, TOP + TALL + 40, p->regions ? "regions of LibTorch" : "nodes in LibTorch");
  if (!p->regions) cg_str_addf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" transform=\"rotate(-90 16 %d)\">%s a call</text>\n", 16.0, TOP + TALL / 2, TOP + TALL / 2, ms ? "ms" : "µs");
}

static double x_of(const panel *p, const cg_study_point *x) { return p->regions ? x->regions : x->nodes; }

static void curve(const panel *p, int k) {
  cg_str *b = p->b;
  const cg_study *y = p->y;
  cg_str_addf(b, "<g stroke=\"%s\" fill=\"%s\"><path fill=\"none\" stroke-width=\"1.8\" stroke-dasharray=\"%s\" d=\"", curves[k].colour, curves[k].colour, curves[k].dash);
  char move = 'M';
  for (int i = 0; i < y->point.n; i++) { // sets of nodes grow from none, and end with all: MERGED and FRONT alike
    const cg_study_point *x = &y->point.at[i];
    bool mine = !strcmp(x->mode, curves[k].mode) && (x->kind == curves[k].kind || (curves[k].kind == CG_STUDY_FRONT && x->kind == CG_STUDY_MERGED && x->asked == y->total));
    if (i && !mine) continue;
    cg_str_addf(b, "%c%.1f %.1f", move, at_x(p, x_of(p, x)), at_y(p, x->median / 1e3));
    move = 'L';
  }
  cg_str_add(b, "\"/>");
  for (int i = 1; i < y->point.n; i++) {
    const cg_study_point *x = &y->point.at[i];
    if (x->kind != curves[k].kind || strcmp(x->mode, curves[k].mode)) continue;
    cg_str_addf(b, "<path d=\"M%.1f %.1fV%.1f\"/><circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\"%s><title>%s: %d nodes, %d regions, %d tensors: %.2f µs (%.2f … %.2f), %.3f of native</title></circle>\n",
                at_x(p, x_of(p, x)), at_y(p, fmin(x->high / 1e3, p->most_us)), at_y(p, x->low / 1e3), at_x(p, x_of(p, x)), at_y(p, x->median / 1e3), *curves[k].dash ? " fill=\"#fff\"" : "",
                curves[k].name, x->nodes, x->regions, x->tensors, x->median / 1e3, x->low / 1e3, x->high / 1e3, x->of_native);
  }
  cg_str_add(b, "</g>\n");
}

// ---------------------------------------------------------------- lines across, with labels at the right that do not touch

typedef struct {
  const char *name, *colour;
  double us, y;
} across;

static int lines_of(const cg_study *y, across *out, int room) {
  int n = 0;
  for (int i = 0; i < y->point.n && n < room; i++) {
    const cg_study_point *x = &y->point.at[i];
    if (x->kind == CG_STUDY_NATIVE) out[n++] = (across){x->regions ? "nothing offloaded" : "native", "#1d232b", x->median / 1e3, 0};
    else if (x->kind == CG_STUDY_WHOLE) out[n++] = (across){strcmp(x->mode, "ops") ? "whole: TorchScript" : "whole: one by one", "#8a4fbf", x->median / 1e3, 0};
  }
  for (int i = 0; i < y->line.n && n < room; i++) out[n++] = (across){y->line.at[i].name, "#9a7b00", y->line.at[i].of_native * y->point.at[0].median / 1e3, 0};
  for (int i = 1; i < n; i++)
    for (int k = i; k && out[k].us < out[k - 1].us; k--) {
      across t = out[k];
      out[k] = out[k - 1], out[k - 1] = t;
    }
  return n;
}

static void lines(const panel *p) {
  across all[3 + LABELS];
  int n = lines_of(p->y, all, 3 + LABELS);
  for (int i = 0; i < n; i++) {
    double y = at_y(p, all[i].us);
    all[i].y = i && all[i - 1].y - y < 14 ? all[i - 1].y - 14 : y;
    cg_str_addf(p->b, "<path d=\"M%.1f %.1fh%d\" stroke=\"%s\" stroke-width=\"1.3\" stroke-dasharray=\"2 3\"/>\n", p->x0, y, PANEL, all[i].colour);
    if (!p->regions) continue;
    cg_str_addf(p->b, "<path d=\"M%.1f %.1fL%.1f %.1f\" stroke=\"%s\"/><text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">", p->x0 + PANEL, y, p->x0 + PANEL + 8, all[i].y, all[i].colour,
                p->x0 + PANEL + 11, all[i].y + 4, all[i].colour);
    add_text(p->b, all[i].name);
    cg_str_add(p->b, "</text>\n");
  }
}

static void legend(cg_str *b, const cg_study *y) {
  int at = 0;
  for (int k = 0; k < CURVES; k++) {
    bool there = false;
    for (int i = 0; i < y->point.n; i++) there |= y->point.at[i].kind == curves[k].kind && !strcmp(y->point.at[i].mode, curves[k].mode);
    if (!there) continue;
    int x = LEFT + at / 2 * 260, line = 46 + at % 2 * 18;
    cg_str_addf(b, "<path d=\"M%d %dh28\" stroke=\"%s\" stroke-width=\"1.8\" stroke-dasharray=\"%s\"/><circle cx=\"%d\" cy=\"%d\" r=\"3\" stroke=\"%s\" fill=\"%s\"/><text x=\"%d\" y=\"%d\">%s</text>\n", x, line,
                curves[k].colour, curves[k].dash, x + 14, line, curves[k].colour, *curves[k].dash ? "#fff" : curves[k].colour, x + 36, line + 4, curves[k].name);
    at++;
  }
}

void cg_study_svg(cg_str *b, const cg_study *y) {
  double most = 0, nodes = 1, regions = 1;
  across all[3 + LABELS];
  int n = lines_of(y, all, 3 + LABELS);
  for (int i = 0; i < n; i++) most = fmax(most, all[i].us);
  for (int i = 0; i < y->point.n; i++) most = fmax(most, y->point.at[i].median / 1e3), nodes = fmax(nodes, y->point.at[i].nodes), regions = fmax(regions, y->point.at[i].regions);
  cg_str_addf(b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"12\" fill=\"#3d4650\">\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
              W, H, W, H);
  cg_str_addf(b, "<text x=\"%d\" y=\"24\" font-size=\"15\" fill=\"#1d232b\">", LEFT);
  add_text(b, y->model);
  cg_str_addf(b, ": latency, by what is offloaded to LibTorch</text>\n");
  legend(b, y);
  for (int k = 0; k < 2; k++) {
    panel p = {b, y, LEFT + k * (PANEL + BETWEEN), k ? regions : nodes, most * 1.05, k == 1};
    axes(&p);
    lines(&p);
    for (int i = CURVES - 1; i >= 0; i--) curve(&p, i);
  }
  cg_str_add(b, "</svg>\n");
}

void cg_study_html(cg_str *b, const cg_study *y) {
  cg_str table = cg_str_new(b->s);
  cg_study_table(&table, y);
  cg_str_add(b, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><title>cierge study ");
  add_text(b, y->model);
  cg_str_add(b, "</title><style>body { margin: 20px; max-width: 1160px; } svg { width: 100%; } pre { font: 12px ui-monospace, 'DejaVu Sans Mono', monospace; overflow: auto; white-space: pre; }</style></head><body>\n");
  cg_study_svg(b, y);
  cg_str_add(b, "<pre>");
  add_text(b, cg_str_text(&table));
  cg_str_add(b, "</pre></body></html>\n");
}
