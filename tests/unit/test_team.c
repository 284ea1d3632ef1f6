// The threads of a context: every number of a job is done once, whoever is there to do it.
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/team.h"

enum { MOST = 9 };

typedef struct {
  atomic_int seen[MOST];
  int count;
  atomic_int wrong;
} job;

static void work(void *p) {
  job *j = p;
  int n = cg_team_calls.number();
  if (n < 0 || n >= MOST || cg_team_calls.count() != j->count) atomic_fetch_add(&j->wrong, 1);
  else atomic_fetch_add(&j->seen[n], 1);
}

static int jobs(int threads, int n) { // how many of n jobs went wrong
  int bad = 0;
  for (int i = 0; i < n; i++) {
    job j = {.count = 1 + i % threads};
    cg_team_calls.run(work, &j, (unsigned)j.count);
    bad += atomic_load(&j.wrong) != 0;
    for (int k = 0; k < MOST; k++) bad += atomic_load(&j.seen[k]) != (k < j.count);
  }
  return bad;
}

static void test_each_number_once(void **state) {
  (void)state;
  for (int threads = 1; threads <= MOST; threads++) {
    cg_team *t = cg_team_new(threads, 0);
    assert_non_null(t);
    assert_null(cg_team_use(t));
    assert_int_equal(jobs(threads, 3000), 0);
    usleep(2000); // they are asleep now
    assert_int_equal(jobs(threads, 3), 0);
    assert_ptr_equal(cg_team_use(NULL), t);
    cg_team_free(t);
  }
}

static void test_without_a_team(void **state) {
  (void)state;
  assert_int_equal(jobs(MOST, 20), 0);
  cg_team_free(NULL);
  cg_team *unused = cg_team_new(4, 0);
  assert_non_null(unused);
  cg_team_free(unused);
}

static void *caller(void *bad) {
  cg_team *t = cg_team_new(3, 0);
  cg_team_use(t);
  *(int *)bad = t ? jobs(3, 3000) : -1;
  cg_team_use(NULL);
  cg_team_free(t);
  return NULL;
}

static void test_several_callers(void **state) {
  (void)state;
  pthread_t thread[4];
  int bad[4];
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, caller, &bad[i]), 0);
  for (int i = 0; i < 4; i++) {
    pthread_join(thread[i], NULL);
    assert_int_equal(bad[i], 0);
  }
}

// The child has none of the threads, and waits for none.
static void test_after_fork(void **state) {
  (void)state;
  cg_team *t = cg_team_new(4, 0);
  assert_non_null(t);
  cg_team_use(t);
  assert_int_equal(jobs(4, 10), 0);
  pid_t child = fork();
  if (!child) {
    int bad = jobs(4, 10);
    cg_team_free(t);
    _exit(bad != 0);
  }
  int status = -1;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_int_equal(jobs(4, 10), 0);
  cg_team_use(NULL);
  cg_team_free(t);
}

// Where an OpenMP runtime is in the process already, its threads do it.
static void test_openmp(void **state) {
  (void)state;
  void *h = dlopen("libgomp.so.1", RTLD_NOW);
  if (!h) skip();
  cg_team *t = cg_team_new(4, 1);
  assert_non_null(t);
  cg_team_use(t);
  assert_int_equal(jobs(4, 300), 0);
  cg_team_use(NULL);
  cg_team_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_each_number_once), cmocka_unit_test(test_without_a_team), cmocka_unit_test(test_several_callers),
      cmocka_unit_test(test_after_fork),       cmocka_unit_test(test_openmp),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
