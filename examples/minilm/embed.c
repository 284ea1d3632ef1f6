// Embeds sentences with a compiled sentence encoder: token ids in (one sentence a line), embeddings out, all in C.
//   embed model.cierge tokens.txt embeddings.f32
// Prints the cosine similarities and the time from the process's start to the first result.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cierge/cierge.h"

enum { MAX_SENTENCES = 64, MAX_TOKENS = 512 };

static void check(cierge_status *s) {
  if (!s) return;
  fprintf(stderr, "embed: %s\n", cierge_status_message(s));
  exit(cierge_status_exit_code(s));
}

static double seconds(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// Seconds since this process was started: field 22 of /proc/self/stat, in ticks since boot.
static double since_start(void) {
  char line[2048] = "";
  FILE *f = fopen("/proc/self/stat", "r");
  if (!f || !fgets(line, sizeof line, f)) return -1;
  fclose(f);
  char *p = strrchr(line, ')');
  unsigned long long ticks = 0;
  for (int field = 2; p && field < 22; field++) p = strchr(p + 1, ' ');
  if (p) ticks = strtoull(p, NULL, 10);
  return seconds(CLOCK_BOOTTIME) - (double)ticks / 100.0;
}

// Reads lines of token ids into ids (sentences, length), padded with 0, and the mask beside it.
static int64_t read_tokens(const char *path, int64_t **ids, int64_t **mask, int64_t *length) {
  static int64_t token[MAX_SENTENCES][MAX_TOKENS];
  static int64_t count[MAX_SENTENCES];
  char line[8192];
  int64_t n = 0;
  FILE *f = fopen(path, "r");
  if (!f) return 0;
  *length = 0;
  while (n < MAX_SENTENCES && fgets(line, sizeof line, f)) {
    char *p = line, *end;
    for (long v = strtol(p, &end, 10); end != p && count[n] < MAX_TOKENS; v = strtol(p = end, &end, 10)) token[n][count[n]++] = v;
    if (count[n] > *length) *length = count[n];
    n += count[n] > 0;
  }
  fclose(f);
  *ids = calloc((size_t)(n * *length) + 1, sizeof **ids);
  *mask = calloc((size_t)(n * *length) + 1, sizeof **mask);
  for (int64_t i = 0; i < n; i++)
    for (int64_t k = 0; k < count[i]; k++) (*ids)[i * *length + k] = token[i][k], (*mask)[i * *length + k] = 1;
  return n;
}

int main(int argc, char **argv) {
  if (argc != 4) return fprintf(stderr, "usage: embed model.cierge tokens.txt embeddings.f32\n"), 2;
  cierge_program *p;
  cierge_context *c;
  int64_t *ids, *mask, shape[2];
  shape[0] = read_tokens(argv[2], &ids, &mask, &shape[1]);
  if (!shape[0]) return fprintf(stderr, "embed: no sentences in %s\n", argv[2]), 3;
  check(cierge_load(argv[1], NULL, &p));
  check(cierge_context_new(p, NULL, &c));
  DLTensor input = {.data = ids, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLInt, 64, 1}, .shape = shape};
  DLTensor attention = input;
  attention.data = mask;
  const DLTensor *out; // (sentences, width), rows of length 1
  check(cierge_input_set(c, 0, &input, CIERGE_READ_ONLY));
  check(cierge_input_set(c, 1, &attention, CIERGE_READ_ONLY));
  check(cierge_run(c));
  check(cierge_output_get(c, 0, &out));
  double first = since_start(), start = seconds(CLOCK_MONOTONIC);
  check(cierge_run(c));
  double warm = seconds(CLOCK_MONOTONIC) - start;
  check(cierge_output_get(c, 0, &out));

  const float *e = (const float *)((const char *)out->data + out->byte_offset);
  int64_t width = out->shape[1];
  for (int64_t i = 0; i < shape[0]; i++) {
    for (int64_t j = 0; j < shape[0]; j++) {
      float dot = 0;
      for (int64_t k = 0; k < width; k++) dot += e[i * width + k] * e[j * width + k];
      printf(" %6.3f", (double)dot);
    }
    putchar('\n');
  }
  printf("first result after %.1f ms, a warm call %.2f ms\n", first * 1e3, warm * 1e3);
  FILE *f = fopen(argv[3], "wb");
  if (!f || fwrite(e, sizeof *e, (size_t)(shape[0] * width), f) != (size_t)(shape[0] * width) || fclose(f)) return 4;
  cierge_context_free(c);
  cierge_program_free(p);
  free(ids);
  free(mask);
  return 0;
}
