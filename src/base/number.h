// Doubles and their text, whatever the process's locale says of decimal points. Usable from C++.
#ifndef CG_BASE_NUMBER_H
#define CG_BASE_NUMBER_H
#ifdef __cplusplus
extern "C" {
#endif
enum { CG_DOUBLE_TEXT = 40 };
// The shortest decimal text that reads back as the same double ("inf", "-inf", "nan" for those; "1.0" keeps its point).
void cg_double_text(double v, char text[CG_DOUBLE_TEXT]);
// As strtod.
double cg_strtod(const char *text, char **end);
#ifdef __cplusplus
}
#endif
#endif
