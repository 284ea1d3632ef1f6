// A torch region's program is part of the artifact's format: artifact/torch_program.h describes it.
#ifndef CG_BACKEND_TORCH_PROGRAM_H
#define CG_BACKEND_TORCH_PROGRAM_H
#include "artifact/torch_program.h"
#endif
