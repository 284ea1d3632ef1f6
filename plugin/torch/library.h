// Inside the plugin: libraries of custom operators.
#ifndef CIERGE_TORCH_LIBRARY_H
#define CIERGE_TORCH_LIBRARY_H
#include <string>

namespace cierge {

// Opens the library, which registers its operators. Throws where it cannot; a library whose registration fails is found out
// first, in a process of its own, as LibTorch would end this one.
void load_library(const char *path);
// Where an operator comes from: "python FILE:LINE", the path that load_library was given, "" where nobody knows.
std::string origin_of(const char *key);

} // namespace cierge
#endif
