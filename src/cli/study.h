// Inside `cierge study`: the programs that it compares, what they took, what follows from it.
#ifndef CG_CLI_STUDY_H
#define CG_CLI_STUDY_H
#include "base/str.h"
#include "compile/feed.h"
#include "cli/measure.h"

// How nodes are offloaded. ALONE: spread over the model, each a region of its own; MERGED: the same nodes, those regions one that can be;
// FRONT: as many nodes, the model's first ones, merged. NATIVE: none; WHOLE: the model as it is, left to LibTorch alone.
typedef enum { CG_STUDY_NATIVE, CG_STUDY_WHOLE, CG_STUDY_ALONE, CG_STUDY_MERGED, CG_STUDY_FRONT, CG_STUDY_KINDS } cg_study_kind;
extern const char *const cg_study_kinds[CG_STUDY_KINDS];

typedef struct {
  cg_study_kind kind;
  const char *mode;            // "ops", "script"; NATIVE: ""
  int asked;                   // nodes of the model that were to be offloaded
  int regions, nodes, tensors; // LibTorch's: how many, what they hold, what goes in and comes out
  cierge_context *c;
  cg_feed *feed;
  int calls;                   // in a round
  double *ns;                  // [rounds]
  double of_native;            // the median of the rounds' ratios to the native program's
  double median, low, high;    // ns: that, and the ratios' quartiles, times the native program's median; its own are times
  double difference;           // from the native program's outputs, over the greatest of them; inf: other numbers than floats differ
} cg_study_point;

// A line beside: something measured elsewhere, in multiples of the native program's time.
typedef struct {
  const char *name;
  double of_native;
} cg_study_line;

// latency = base + region * regions + node * nodes + tensor * tensors, ns; by least squares, with standard errors.
enum { CG_FIT_BASE, CG_FIT_REGION, CG_FIT_NODE, CG_FIT_TENSOR, CG_FIT_TERMS };
typedef struct {
  const char *mode;
  int points;
  unsigned terms;              // bits: which were fitted; the others' costs would be below 0 and are 0. 0: there is no fit
  double cost[CG_FIT_TERMS], error[CG_FIT_TERMS];
  double r2, rms;              // rms: of the residuals, ns
  double boundary;             // what a region more costs with the tensors that it brings: ALONE against MERGED, the same nodes in both
  int pairs;                   // that differ in their regions; 0: no boundary
} cg_study_fit;

typedef struct {
  const char *model;
  int total, threads, rounds;  // total: nodes of the model
  CG_VEC(cg_study_point) point; // at[0]: NATIVE
  CG_VEC(cg_study_line) line;
  CG_VEC(cg_study_fit) fit;    // by mode
} cg_study;

cg_study_fit cg_study_fit_of(const cg_study *y, const char *mode); // study_fit.c
void cg_study_table(cg_str *b, const cg_study *y);                 // study_text.c
void cg_study_json(cg_str *b, const cg_study *y);
void cg_study_svg(cg_str *b, const cg_study *y);                   // study_plot.c
void cg_study_html(cg_str *b, const cg_study *y);
#endif
