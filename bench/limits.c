// What this machine can do: fused multiply-adds in registers, memory read and memory copied, by all threads at once.
//   cc -O3 -march=native -fopenmp limits.c -o limits -lm && ./limits THREADS
// Prints GFLOP/s (2 a multiply-add, f32), GB/s read, GB/s copied (bytes read plus bytes written): the best of some rounds each.
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __AVX512F__
enum { LANES = 16, CHAINS = 24 };
#else
enum { LANES = 8, CHAINS = 12 };
#endif
enum { ROUNDS = 5, PIECES = 16 }; // the shorter what is timed, the likelier that nobody disturbs it
typedef float vec __attribute__((vector_size(4 * LANES)));

// Enough independent chains to hide an addition's latency; they, the factor and the addend fit the registers.
static double multiply_adds(void) {
  const long n = 300000;
  double start = omp_get_wtime(), sum = 0;
#pragma omp parallel reduction(+ : sum)
  {
    vec x[CHAINS], a, b;
    for (int l = 0; l < LANES; l++) a[l] = 0.999f, b[l] = 1e-3f;
    for (int c = 0; c < CHAINS; c++) x[c] = b * (float)c;
    for (long i = 0; i < n; i++)
#pragma GCC unroll 24
      for (int c = 0; c < CHAINS; c++) x[c] = x[c] * a + b;
    for (int c = 0; c < CHAINS; c++) sum += x[c][0];
  }
  double flops = 2.0 * n * CHAINS * LANES * omp_get_max_threads();
  return sum == 42 ? 0 : flops / (omp_get_wtime() - start); // the sum is used
}

static double read_all(const long *x, long n) {
  double start = omp_get_wtime();
  long sum = 0;
#pragma omp parallel for reduction(^ : sum)
  for (long i = 0; i < n; i++) sum ^= x[i];
  return sum == 42 ? 0 : (double)(n * 8) / (omp_get_wtime() - start);
}

static double copy_all(char *to, const char *from, long n) {
  double start = omp_get_wtime();
#pragma omp parallel
  {
    long part = n / omp_get_num_threads(), at = part * omp_get_thread_num();
    memcpy(to + at, from + at, (size_t)part);
  }
  return 2.0 * (double)n / (omp_get_wtime() - start);
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  omp_set_num_threads(atoi(argv[1]));
  const long n = 1l << 30, piece = n / PIECES; // bytes: more than caches hold, gone through piece by piece
  char *from = malloc((size_t)n), *to = malloc((size_t)n);
  if (!from || !to) return 4;
  memset(from, 1, (size_t)n), memset(to, 2, (size_t)n);
  double best[3] = {0};
  for (int r = 0; r < ROUNDS; r++)
    for (int k = 0; k < PIECES; k++) {
      best[0] = fmax(best[0], multiply_adds());
      best[1] = fmax(best[1], read_all((long *)(from + k * piece), piece / 8));
      const long far = (k + PIECES / 2) % PIECES * piece; // not what was just read
      best[2] = fmax(best[2], copy_all(to + far, from + far, piece));
    }
  printf("%.6g %.6g %.6g\n", best[0] / 1e9, best[1] / 1e9, best[2] / 1e9);
}
