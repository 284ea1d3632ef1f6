// Running the C compiler: several at a time, with an end to their time and to what they may say.
#include "backend/c/cc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

extern char **environ;

enum {
  MOST_COMPILERS = 16,     // at a time: each takes some 100 MB
  MOST_TEXT = 64 << 10,    // bytes that are kept of what one says
  MOST_SECONDS = 30 * 60,  // for one file; kernels of a file are bounded, most take a second
};

typedef struct {
  pid_t pid;               // 0: none
  int out;                 // its stdout and stderr
  uint64_t end;            // by cg_now
  const char *cc;
  cg_str text;
} child;

typedef struct {
  child at[MOST_COMPILERS];
  char **env;
} children;

static volatile sig_atomic_t waiting, stopped;

bool cg_cc_stop(void) {
  if (!waiting) return false;
  stopped = 1;
  return true;
}

static void end_child(child *c) {
  if (!c->pid) return;
  kill(-c->pid, SIGKILL); // and whatever it started: it leads a group
  while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR) {}
  close(c->out);
  c->pid = 0;
}

static void end_all(void *p) {
  children *all = p;
  for (int i = 0; i < MOST_COMPILERS; i++) end_child(&all->at[i]);
}

static void start(cg_session *s, child *c, const cg_cc_command *command, char **env) {
  int fd[2];
  if (pipe2(fd, O_CLOEXEC)) cg_fail(s, CIERGE_IO, "cannot make a pipe for the C compiler: %s", strerror(errno));
  posix_spawn_file_actions_t a;
  posix_spawn_file_actions_init(&a);
  posix_spawn_file_actions_adddup2(&a, fd[1], 1);
  posix_spawn_file_actions_adddup2(&a, fd[1], 2);
  *c = (child){.out = fd[0], .end = cg_now() + MOST_SECONDS * UINT64_C(1000000000), .cc = command->at[0], .text = cg_str_new(s)};
  posix_spawnattr_t group;
  posix_spawnattr_init(&group);
  posix_spawnattr_setflags(&group, POSIX_SPAWN_SETPGROUP);
  pid_t pid;
  int rc = posix_spawnp(&pid, c->cc, &a, &group, (char *const *)command->at, env);
  posix_spawnattr_destroy(&group);
  posix_spawn_file_actions_destroy(&a);
  close(fd[1]);
  if (!rc) {
    c->pid = pid;
    return;
  }
  close(fd[0]);
  cg_fail(s, CIERGE_MISSING, "the C compiler %s cannot be run (%s); set CIERGE_CC or --cc", c->cc, strerror(rc));
}

// Takes what it says; false: it says no more.
static bool listen_to(child *c) {
  char buffer[4096];
  ssize_t n = read(c->out, buffer, sizeof buffer);
  if (n < 0) return errno == EINTR || errno == EAGAIN;
  if (c->text.n < MOST_TEXT) cg_str_addn(&c->text, buffer, (size_t)n);
  return n > 0;
}

// Its exit code. Throws where a signal ended it.
static int finish(cg_session *s, child *c) {
  int status = 0;
  while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR) {}
  close(c->out);
  c->pid = 0;
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  int sig = WTERMSIG(status);
  cg_fail(s, CIERGE_MISSING, "the C compiler %s was ended by signal %d (%s)%s", c->cc, sig, strsignal(sig),
          sig == SIGKILL ? "; is there memory enough?" : "");
}

// The next of them that is done, when it is; its exit code.
static child *next_done(cg_session *s, children *all, int *code) {
  for (;;) {
    struct pollfd wait[MOST_COMPILERS];
    child *of[MOST_COMPILERS];
    nfds_t n = 0;
    for (int i = 0; i < MOST_COMPILERS; i++)
      if (all->at[i].pid) wait[n] = (struct pollfd){all->at[i].out, POLLIN, 0}, of[n++] = &all->at[i];
    waiting = 1;
    poll(wait, n, 1000); // milliseconds, to look at the clock
    waiting = 0;
    if (stopped) stopped = 0, cg_fail(s, CIERGE_IO, "stopped while the C compiler %s ran", of[0]->cc);
    for (nfds_t i = 0; i < n; i++) {
      if (wait[i].revents && !listen_to(of[i])) {
        *code = finish(s, of[i]);
        return of[i];
      }
      if (cg_now() > of[i]->end) cg_fail(s, CIERGE_MISSING, "the C compiler %s did not end within %d seconds", of[i]->cc, MOST_SECONDS);
    }
  }
}

static int run_one(cg_session *s, children *all, cg_cc_command *command, const char **text) {
  CG_PUSH(s, command, NULL);
  start(s, &all->at[0], command, all->env);
  int code;
  *text = cg_str_text(&next_done(s, all, &code)->text);
  return code;
}

// Ours, but for the folder of temporary files: what a compiler leaves there when it is ended goes with the folder.
static char **environment(cg_session *s, const char *folder) {
  int n = 0, k = 0;
  while (environ[n]) n++;
  char **env = CG_NEW_ARRAY(s, char *, n + 2);
  for (int i = 0; i < n; i++)
    if (strncmp(environ[i], "TMPDIR=", 7)) env[k++] = environ[i];
  env[k] = cg_format(s, "TMPDIR=%s", folder);
  return env;
}

static children *children_new(cg_session *s, const char *folder) {
  children *all = CG_NEW(s, children);
  all->env = folder ? environment(s, folder) : environ;
  cg_defer(s, end_all, all);
  return all;
}

const char *cg_cc_version(cg_session *s, const char *cc) {
  const char *text;
  cg_cc_command command = {0};
  CG_PUSH(s, &command, cc);
  CG_PUSH(s, &command, "--version");
  run_one(s, children_new(s, NULL), &command, &text);
  return text;
}

_Noreturn static void refused(cg_session *s, children *all, child *c, int code, cg_cc_command *probe) {
  const char *cc = c->cc, *text = cg_str_text(&c->text), *again;
  end_all(all);
  if (!*text) cg_fail(s, CIERGE_MISSING, "the C compiler %s ended with exit code %d and said nothing", cc, code);
  if (strstr(text, "signal terminated program")) cg_fail(s, CIERGE_MISSING, "the C compiler %s was ended:\n%.3000s", cc, text);
  if (run_one(s, all, probe, &again)) cg_fail(s, CIERGE_MISSING, "the C compiler %s does not work here:\n%.3000s", cc, text);
  cg_fail(s, CIERGE_INTERNAL, "the C compiler %s refused the generated kernels:\n%.3000s", cc, text);
}

void cg_cc_run(cg_session *s, const char *folder, int n, cg_cc_command *command, cg_cc_command *probe) {
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  int most = processors < 1 ? 1 : processors > MOST_COMPILERS ? MOST_COMPILERS : (int)processors;
  children *all = children_new(s, folder);
  for (int begun = 0, done = 0; done < n;) {
    for (int i = 0; i < most && begun < n; i++) {
      if (all->at[i].pid) continue;
      CG_PUSH(s, &command[begun], NULL);
      start(s, &all->at[i], &command[begun++], all->env);
    }
    int code;
    child *c = next_done(s, all, &code);
    if (code) refused(s, all, c, code, probe);
    done++;
  }
}
