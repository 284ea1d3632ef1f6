// Option tune.
#ifndef CG_COMPILE_TUNE_H
#define CG_COMPILE_TUNE_H
#include "compile/compile.h"

// Measures what can be computed in several ways and was not measured before on this processor, with the arrays of --inputs or zeros;
// a compilation with these options takes what was fastest, as long as s lives.
void cg_tune(cg_session *s, cierge_options *o, const cg_model *model);
#endif
