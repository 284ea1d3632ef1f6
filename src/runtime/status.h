// Statuses: a code and a text. Making one never fails: where there is no memory, it is the one that says so.
#ifndef CG_RUNTIME_STATUS_H
#define CG_RUNTIME_STATUS_H
#include "artifact/artifact.h"

cierge_status *cg_status_new(cierge_code code, const char *message);
cierge_status *cg_status_format(cierge_code code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
cierge_status *cg_status_of(const cg_failure *f);
cierge_status *cg_no_memory(void);
#endif
