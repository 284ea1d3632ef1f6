// Inside partitioning: a function's dependences, orders of its nodes as batches, and which claims are worth their boundary.
#ifndef CG_PASS_PARTITION_H
#define CG_PASS_PARTITION_H
#include "pass/pass.h"

CG_VEC_TYPE(cg_int_vec, int);

typedef struct {
  cg_node *node;
  int waits;            // how many nodes must come first
  cg_int_vec after;     // which nodes wait for this one
  bool sinks;           // a view that may be taken where it is read
  int unit;             // nodes of one unit run in one region: values that cannot leave LibTorch pass between them
} cg_slot;

typedef struct {
  cg_session *s;
  cg_slot *slot;        // [n]
  int n, backends;
} cg_graph;

// The nodes in an order that respects the dependences; a batch is a run of nodes of one backend.
typedef struct {
  int *order, *batch;   // [n]: which node, and which batch it is in
  int *batch_of;        // [n]: by node
  int n, batches;       // batches: all, the host's too
  int regions;          // those of a backend
} cg_schedule;

bool cg_asserts_sizes(const cg_node *n); // sizes that are known when the function begins
cg_graph cg_dependences(cg_pipeline *p, cg_fn *f);
// on: each node's backend. The best of the orders that begin with one of the backends.
cg_schedule cg_schedule_nodes(const cg_graph *g, const cg_pipeline *p, const cg_backend *const *on);

// worth.c: moves native claims that are not worth their boundary to LibTorch, in `on` and in why_not.
void cg_drop_claims(cg_pipeline *p, const cg_graph *g, const cg_backend **on);
// What the function would take, and how it would be cut, with these backends.
double cg_cost_of_schedule(cg_pipeline *p, const cg_graph *g, const cg_schedule *s, const cg_backend *const *on);
#endif
