// Reading TorchScript is the plugin's; what it gives is freed with the session.
#include <string.h>

#include "backend/torch/torch.h"

typedef struct {
  const cierge_torch_api_v1 *api;
  cierge_torch_imported imported;
} held;

static void let_go(void *p) {
  held *h = p;
  h->api->import_free(&h->imported);
}

const char *cg_torch_import(cg_torch *t, cg_session *s, const cierge_torch_import *in, cierge_torch_imported *out, cierge_code *code) {
  const char *why;
  *code = CIERGE_MISSING;
  const cierge_torch_api_v1 *api = cg_torch_api(t, &why);
  if (!api) return why;
  char text[4096] = "";
  cierge_torch_error e = {text, sizeof text};
  held *h = CG_NEW(s, held);
  h->api = api;
  cg_defer(s, let_go, h);
  int rc = api->import_script(in, &h->imported, &e);
  *code = CIERGE_BAD_MODEL;
  if (rc) return cg_strdup(s, text);
  *out = h->imported;
  return NULL;
}
