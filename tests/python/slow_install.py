"""`make install` as its users use it: pkg-config, CMake, the static library, another folder, LibTorch's place, uninstall."""
import re
import shutil

import common
import torch
from common import as_user as run

PREFIX = common.SCRATCH / "prefix"
VERSION = re.search(r'CIERGE_VERSION "(.*)"', (common.ROOT / "include/cierge/cierge.h").read_text())[1]
PROGRAM = """
#include <cierge/cierge.h>
#include <stdio.h>
#if CIERGE_VERSION_MAJOR != 0
#error "another version"
#endif
int main(int n, char **v) {
  float data[3] = {1, 2, 3};
  int64_t shape = 3;
  DLTensor x = {.data = data, .device = {kDLCPU, 0}, .ndim = 1, .dtype = {kDLFloat, 32, 1}, .shape = &shape};
  const DLTensor *y;
  cierge_program *p;
  cierge_context *c;
  cierge_status *s = cierge_load(v[1], NULL, &p);
  if (!s) s = cierge_context_new(p, NULL, &c);
  if (!s) s = cierge_input_set(c, 0, &x, CIERGE_READ_ONLY);
  if (!s) s = cierge_run(c);
  if (!s) s = cierge_output_get(c, 0, &y);
  if (s) return fprintf(stderr, "%s\\n", cierge_status_message(s)), cierge_status_exit_code(s);
  printf("%s %g\\n", cierge_version(), ((float *)y->data)[2]);
  return n - 2;
}
"""
CMAKE = """
cmake_minimum_required(VERSION 3.16)
project(user C)
find_package(cierge 0.1 CONFIG REQUIRED)
foreach(kind runtime runtime_static compiler)
  add_executable(with_${kind} main.c)
  target_link_libraries(with_${kind} cierge::${kind})
endforeach()
"""


def install(target, **words):
    """As a user of the build that is being tested: nothing is compiled again."""
    run("make", "-s", "-C", common.ROOT, target, f"B={common.BUILD}", *[f"{k}={v}" for k, v in words.items()], MAKEFLAGS="")


def artifact(name, function, *options):
    path = common.SCRATCH / f"{name}.cierge"
    run(PREFIX / "bin/cierge", "compile", common.export(common.module(function), (torch.ones(3),), name), "-o", path, *options)
    return path


def test_install():
    install("install", PREFIX=PREFIX)
    native, torch_too = artifact("native", lambda x: x + 1), artifact("torch_too", lambda x: x + 1, "--backends", "torch")
    (common.SCRATCH / "main.c").write_text(PROGRAM)
    (common.SCRATCH / "CMakeLists.txt").write_text(CMAKE)

    words = run("pkg-config", "--cflags", "--libs", "cierge_rt", PKG_CONFIG_PATH=f"{PREFIX}/lib/pkgconfig").split()
    run("cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "main.c", "-o", "user", *words)
    assert run("pkg-config", "--modversion", "cierge", PKG_CONFIG_PATH=f"{PREFIX}/lib/pkgconfig").strip() == run("./user", native, LD_LIBRARY_PATH=f"{PREFIX}/lib").split()[0]

    (common.SCRATCH / "header.cpp").write_text("#include <cierge/cierge.h>\nint main() { return !cierge_version(); }\n")
    run("c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "header.cpp", "-o", "header", *words)
    run("./header", LD_LIBRARY_PATH=f"{PREFIX}/lib")

    run("cmake", "-S", ".", "-B", "out", f"-DCMAKE_PREFIX_PATH={PREFIX}")
    run("cmake", "--build", "out")
    static = run("pkg-config", "--static", "--libs-only-l", "cierge_rt", PKG_CONFIG_PATH=f"{PREFIX}/lib/pkgconfig").split()[1:]
    run("cc", "-O2", "-flto", f"-I{PREFIX}/include", "main.c", PREFIX / "lib/libcierge_rt.a", *static, "-o", "optimised")
    assert run("./optimised", native) == f"{VERSION} 4\n"
    for kind in ("runtime", "runtime_static", "compiler"):
        assert run(f"out/with_{kind}", native) == f"{VERSION} 4\n"
    for kind in ("runtime", "compiler"):  # the plugin is found beside them, LibTorch where it was when it was built
        assert run(f"out/with_{kind}", torch_too) == f"{VERSION} 4\n"

    moved = common.SCRATCH / "moved"  # what is installed may be moved
    shutil.copytree(PREFIX, moved, symlinks=True)
    run("cmake", "-S", ".", "-B", "out2", f"-DCMAKE_PREFIX_PATH={moved}")
    run("cmake", "--build", "out2")
    assert run("out2/with_runtime", torch_too) == f"{VERSION} 4\n"

    install("uninstall", PREFIX=PREFIX)
    assert not [p for p in PREFIX.rglob("*") if not p.is_dir()]


def test_a_package_says_nothing_of_where_it_was_built():
    stage = common.SCRATCH / "stage"
    install("install", PREFIX="/usr", LIBDIR="/usr/lib/x86_64-linux-gnu", DESTDIR=stage)
    files = [p for p in stage.rglob("*") if p.is_file() and not p.is_symlink()]
    names = {str(p.relative_to(stage)) for p in files}
    assert {"usr/bin/cierge", f"usr/lib/x86_64-linux-gnu/libcierge_rt.so.{VERSION}", "usr/lib/cierge/libcierge_torch.so", "usr/include/cierge/dlpack/dlpack.h"} <= names, names
    for p in files:
        data = p.read_bytes()
        for place in (common.ROOT, stage, torch.__path__[0]):
            assert str(place).encode() not in data, f"{p} has {place} in it"
    # LibTorch is found by the word of whoever runs it, and the plugin by its place.
    path = common.SCRATCH / "staged.cierge"
    run(stage / "usr/bin/cierge", "compile", common.export(common.module(lambda x: x * 2), (torch.ones(3),), "staged"), "-o", path, "--backends", "torch", CIERGE_LIBTORCH=torch.__path__[0])
    install("uninstall", PREFIX="/usr", LIBDIR="/usr/lib/x86_64-linux-gnu", DESTDIR=stage)
    assert not [p for p in stage.rglob("*") if not p.is_dir()]


if __name__ == "__main__":
    common.main(globals())
