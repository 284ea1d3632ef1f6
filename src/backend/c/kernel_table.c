// The table of kernel templates.
#include <string.h>

#include "backend/c/kernel.h"

extern const cg_kernel_template cg_kernel_matmul, cg_kernel_attention, cg_kernel_convolution, cg_kernel_pool, cg_kernel_scan, cg_kernel_sort, cg_kernel_scatter, cg_kernel_scatter_serial,
  cg_kernel_search, cg_kernel_recurrent, cg_kernel_join;

const cg_kernel_template *const cg_kernel_templates[] = {&cg_kernel_matmul, &cg_kernel_attention, &cg_kernel_convolution, &cg_kernel_pool, &cg_kernel_scan, &cg_kernel_sort,
                                                         &cg_kernel_scatter, &cg_kernel_scatter_serial, &cg_kernel_search, &cg_kernel_recurrent, &cg_kernel_join, NULL};

const cg_kernel_template *cg_kernel_template_find(const char *name) {
  for (int i = 0; cg_kernel_templates[i]; i++)
    if (!strcmp(cg_kernel_templates[i]->name, name)) return cg_kernel_templates[i];
  return NULL;
}
