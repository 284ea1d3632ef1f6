// The report as one HTML page: report_page.html with the JSON put into it.
#include <string.h>

#include "compile/report.h"

static const char page[] =
#include "compile/report_page.inc" // report_page.html as C, made by the build
    ;

void cg_report_html(cg_str *b, const cg_report *r) {
  static const char mark[] = "@REPORT@";
  const char *at = strstr(page, mark);
  if (!at) cg_fail(r->m->s, CIERGE_INTERNAL, "the report's page has no place for the report");
  cg_str_addn(b, page, (size_t)(at - page));
  cg_report_json(b, r, true);
  cg_str_add(b, at + sizeof mark - 1);
}
