// Threads that wait for work: a short time awake, since kernels follow each other closely, then asleep.
#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "runtime/team.h"

typedef void gomp_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags);

struct cg_team {
  int threads;                 // at most, the caller's included
  int started;                 // of them, besides the caller
  pid_t process;               // in which they were started
  gomp_parallel *gomp;         // NULL: they are our own
  int (*gomp_number)(void), (*gomp_count)(void);
  pthread_t *thread;
  int apart;                   // 1 + the processor that they keep off; 0: none yet
  int alone, lost;             // the next so many jobs are done by the caller alone; how many it was the last time
  // The job at hand: its number << 32 | how many numbers << 16 | the next one that nobody has. Closed once all are taken, so who
  // comes late finds nothing, and what a job points at is read only by who has a number of it.
  _Alignas(64) _Atomic uint64_t job;
  void (*work)(void *);
  void *data;
  _Atomic uint32_t bell;       // rung for those asleep
  _Atomic int sleepers;
  atomic_bool stop;
  _Alignas(64) _Atomic uint32_t done; // numbers that others have finished
  atomic_bool waiting;         // the caller sleeps until `done` changes
};

static _Thread_local __attribute__((tls_model("initial-exec"))) struct {
  cg_team *team;
  int number, count;
} here;

enum { AWAKE = 2000, PATIENCE = 4000 }; // looks, of some 50 to 150 cycles each, before a thread sleeps; before a caller does
enum { LATE = 20000, FEW = 4, MANY = 256 }; // ns that a caller waits before it wonders; jobs that it does alone then

static void pause_a_little(void) {
#if defined __x86_64__
  __builtin_ia32_pause();
#endif
}

static void wait_on(_Atomic uint32_t *word, uint32_t value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0); }
static void wake(_Atomic uint32_t *word, int n) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0); }

// The next number of the job that nobody has; -1: there is none.
static int take(cg_team *t, int *count) {
  uint64_t job = atomic_load_explicit(&t->job, memory_order_acquire);
  while ((uint16_t)job < (uint16_t)(job >> 16))
    if (atomic_compare_exchange_weak_explicit(&t->job, &job, job + 1, memory_order_acq_rel, memory_order_acquire)) {
      *count = (uint16_t)(job >> 16);
      return (uint16_t)job;
    }
  return -1;
}

static void do_number(cg_team *t, int number, int count) {
  here.number = number, here.count = count;
  t->work(t->data);
}

static bool anything(cg_team *t) {
  uint64_t job = atomic_load(&t->job);
  return (uint16_t)job < (uint16_t)(job >> 16) || atomic_load(&t->stop);
}

static void *member(void *p) {
  cg_team *t = p;
  while (!atomic_load(&t->stop)) {
    int count, number = take(t, &count);
    if (number >= 0) {
      do_number(t, number, count);
      atomic_fetch_add(&t->done, 1);
      if (atomic_load(&t->waiting)) wake(&t->done, 1);
      continue;
    }
    int looks = 0;
    while (!anything(t) && looks++ < AWAKE) pause_a_little();
    if (looks <= AWAKE) continue;
    atomic_fetch_add(&t->sleepers, 1); // then the job is looked at again: whoever posts one looks at the sleepers afterwards
    uint32_t bell = atomic_load(&t->bell);
    if (!anything(t)) wait_on(&t->bell, bell);
    atomic_fetch_sub(&t->sleepers, 1);
  }
  return NULL;
}

// Whom the kernel wakes it may put on the processor of the one who calls, and leave there for milliseconds though another is idle.
static void keep_apart(cg_team *t) {
  cpu_set_t may;
  int cpu = sched_getcpu();
  if (cpu < 0 || t->apart == cpu + 1 || sched_getaffinity(0, sizeof may, &may)) return;
  t->apart = cpu + 1;
  CPU_CLR(cpu, &may);
  for (int i = 0; i < t->started && CPU_COUNT(&may); i++) pthread_setaffinity_np(t->thread[i], sizeof may, &may);
}

static void ring(cg_team *t, int n) {
  if (!atomic_load(&t->sleepers)) return;
  keep_apart(t);
  atomic_fetch_add(&t->bell, 1);
  wake(&t->bell, n);
}

// Where a thread cannot be had, fewer do the work.
static void start(cg_team *t) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); // the process's signals are for its own threads
  while (t->started < t->threads - 1 && !pthread_create(&t->thread[t->started], NULL, member, t)) t->started++;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  t->process = getpid();
}

// ---------------------------------------------------------------- a job

// Until others have finished what they took.
static void await(cg_team *t, uint32_t others) {
  uint32_t done;
  for (int looks = 0; (done = atomic_load(&t->done)) != others;) {
    if (looks++ < PATIENCE) {
      pause_a_little();
      continue;
    }
    atomic_store(&t->waiting, true);
    if (atomic_load(&t->done) == done) wait_on(&t->done, done);
    atomic_store(&t->waiting, false);
  }
}

static void run_alone(void (*work)(void *), void *data, unsigned threads) {
  for (here.number = 0, here.count = (int)threads; here.number < here.count; here.number++) work(data);
  here.number = 0, here.count = 1;
}

static void run_all(cg_team *t, void (*work)(void *), void *data, unsigned threads) {
  if (t->alone) {
    t->alone--;
    run_alone(work, data, threads);
    return;
  }
  if (!t->process) start(t);
  t->work = work, t->data = data;
  atomic_store(&t->done, 0);
  uint64_t job = (((atomic_load(&t->job) >> 32) + 1) << 32) | (uint64_t)threads << 16 | 1;
  atomic_store(&t->job, job);
  ring(t, (int)threads - 1);
  uint64_t begin = cg_now();
  uint32_t others = threads;
  for (int number = 0, count = (int)threads; number >= 0; number = take(t, &count), others--) do_number(t, number, count);
  if (atomic_load(&t->done) == others) return;
  uint64_t own = cg_now();
  await(t, others);
  // Who is much later than what it had to do explains had no processor. Where that is so once it will be so again soon.
  uint64_t late = cg_now() - own;
  if (late > LATE && late > 2 * (own - begin)) t->alone = t->lost = t->lost > FEW / 2 ? t->lost < MANY ? 2 * t->lost : MANY : FEW;
  else t->lost /= 2;
}

typedef struct {
  cg_team *team;
  void (*work)(void *);
  void *data;
  int count;
} lent;

static void run_lent(void *p) {
  const lent *l = p;
  int own = l->team->gomp_number(), of = l->team->gomp_count();
  for (int i = own; i < l->count; i += of) {
    here.number = i, here.count = l->count;
    l->work(l->data);
  }
}

static void run(void (*work)(void *), void *data, unsigned threads) {
  cg_team *t = here.team;
  if (t && threads > 1) {
    if (!t->gomp) run_all(t, work, data, threads);
    else t->gomp(run_lent, &(lent){t, work, data, (int)threads}, threads, 0);
    here.number = 0, here.count = 1;
    return;
  }
  run_alone(work, data, threads ? threads : 1);
}

static int number(void) { return here.number; }
static int count(void) { return here.count; }

const cg_team_calls_v1 cg_team_calls = {run, number, count};

// ---------------------------------------------------------------- teams

cg_team *cg_team_use(cg_team *t) {
  cg_team *before = here.team;
  here.team = t;
  return before;
}

cg_team *cg_team_new(int threads, int openmp) {
  cg_team *t = cg_heap_aligned(_Alignof(cg_team), sizeof *t);
  if (!t) return NULL;
  memset(t, 0, sizeof *t);
  t->threads = threads;
  if (!(t->thread = cg_heap_zalloc((size_t)threads, sizeof *t->thread))) {
    cg_heap_free(t);
    return NULL;
  }
  void *h = openmp ? dlopen("libgomp.so.1", RTLD_LAZY | RTLD_NOLOAD) : NULL;
  if (!h) return t;
  *(void **)&t->gomp_number = dlsym(h, "omp_get_thread_num");
  *(void **)&t->gomp_count = dlsym(h, "omp_get_num_threads");
  if (t->gomp_number && t->gomp_count) *(void **)&t->gomp = dlsym(h, "GOMP_parallel");
  dlclose(h); // LibTorch keeps it
  return t;
}

void cg_team_free(cg_team *t) {
  if (!t) return;
  atomic_store(&t->stop, true);
  if (t->process == getpid()) { // a child after fork() has none of the threads
    atomic_fetch_add(&t->bell, 1);
    wake(&t->bell, t->started);
    for (int i = 0; i < t->started; i++) pthread_join(t->thread[i], NULL);
  }
  cg_heap_free(t->thread);
  cg_heap_free(t);
}
