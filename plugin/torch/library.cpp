// Opens libraries of custom operators, and remembers which operators each of them registered.
//
// A registration that fails (a namespace taken by another library, a schema that does not read) throws in a static
// initialiser, inside the loader: nothing can catch that, and the process ends. So a library is tried in a child first.
#include "library.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>

#include "region.h"

namespace cierge {
namespace {

std::mutex lock;
std::map<std::string, std::string> libraries; // under lock: operator -> path

// Custom operator libraries are linked with libtorch.so, which nobody needed until now; and they may not say where it is.
void open_libtorch() {
  Dl_info here;
  if (!dladdr((const void *)&c10::Dispatcher::realSingleton, &here) || !here.dli_fname) return;
  std::string path = here.dli_fname;
  size_t slash = path.rfind('/');
  if (slash != std::string::npos) (void)dlopen((path.substr(0, slash) + "/libtorch.so").c_str(), RTLD_NOW | RTLD_LOCAL);
}

std::string open_text(const std::string &file) {
  if (dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return "";
  const char *why = dlerror();
  return why ? why : "it cannot be opened";
}

// ---------------------------------------------------------------- the child

int to_parent = -1;

void tell(const char *text) {
  size_t n = strcspn(text, "\n");
  if (write(to_parent, text, n) < 0) _exit(2);
}

[[noreturn]] void say_and_end() {
  try {
    std::rethrow_exception(std::current_exception());
  } catch (const c10::Error &x) {
    tell(x.what_without_backtrace());
  } catch (const std::exception &x) {
    tell(x.what());
  } catch (...) {
    tell("its registration throws");
  }
  _exit(1);
}

[[noreturn]] void child(const std::string &file, int fd) {
  to_parent = fd;
  std::set_terminate(say_and_end);
  alarm(60);
  std::string why = open_text(file);
  tell(why.c_str());
  _exit(why.empty() ? 0 : 1);
}

// What the child wrote until it ended, or until nothing came for a minute.
std::string read_all(int fd) {
  std::string out;
  char buf[512];
  pollfd p = {fd, POLLIN, 0};
  while (out.size() < 4096) {
    int ready = poll(&p, 1, 60000);
    if (ready < 0 && errno == EINTR) continue;
    ssize_t n = ready > 0 ? read(fd, buf, sizeof buf) : 0;
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    out.append(buf, (size_t)n);
  }
  return out;
}

void try_in_a_child(const std::string &file) {
  int ends[2];
  if (pipe(ends)) return; // then it must go without
  pid_t pid = fork();
  if (!pid) child(file, ends[1]);
  close(ends[1]);
  std::string text = pid > 0 ? read_all(ends[0]) : "";
  close(ends[0]);
  if (pid < 0) return;
  int status = 0;
  if (waitpid(pid, &status, WNOHANG) == 0 && text.empty()) kill(pid, SIGKILL);
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  if (!text.empty()) throw std::runtime_error(text);
  if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGALRM)
    throw std::runtime_error(std::string("its initialisation ends the process: ") + strsignal(WTERMSIG(status)));
}

std::set<std::string> operators() {
  std::set<std::string> out;
  for (const c10::OperatorName &n : c10::Dispatcher::singleton().getAllOpNames()) out.insert(n.overload_name.empty() ? n.name : n.name + "." + n.overload_name);
  return out;
}

} // namespace

void load_library(const char *path) {
  open_libtorch();
  std::string file = path; // a name without a folder is a file here, before it is one of the loader's
  if (file.find('/') == std::string::npos && !access(path, R_OK)) file = "./" + file;
  std::lock_guard<std::mutex> guard(lock);
  if (void *h = dlopen(file.c_str(), RTLD_NOW | RTLD_NOLOAD)) {
    dlclose(h);
    return;
  }
  try_in_a_child(file);
  std::set<std::string> before = operators();
  std::string why = open_text(file);
  if (!why.empty()) throw std::runtime_error(why);
  for (const std::string &op : operators())
    if (!before.count(op)) libraries[op] = path;
}

std::string origin_of(const char *key) {
  {
    std::lock_guard<std::mutex> guard(lock);
    auto found = libraries.find(key);
    if (found != libraries.end()) return found->second;
  }
  auto op = find_operator(key);
  std::string where = op ? op->debug() : "";
  const char prefix[] = "registered at ";
  size_t at = where.find(prefix);
  if (at == std::string::npos) return "";
  where = where.substr(at + sizeof prefix - 1);
  return where.find(".py:") != std::string::npos || where.rfind("/dev/null:", 0) == 0 ? "python " + where : "";
}

} // namespace cierge
