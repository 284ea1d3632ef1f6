"""Custom operators: libraries named, carried, missing, changed, or of no use at all; operators of Python's."""
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys

import common
from common import BUILD, ROOT, SCRATCH, cli, np, torch

os.environ.setdefault("CIERGE_LIB_DIR", str(BUILD))
import cierge  # noqa: E402

LIBRARY, TESTOPS = BUILD / "examples/libmyops.so", BUILD / "tests/libtestops.so"
TORCH = pathlib.Path(torch.__file__).parent
OTHER_SHIFT = SCRATCH / "other" / "libmyops.so"  # the same operators, another content
PLAIN = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}  # compilers run without what is loaded before Python


def build():
    subprocess.run(["make", "-s", "-C", ROOT, f"B={BUILD}", f"TORCH={TORCH}", LIBRARY, TESTOPS], check=True, timeout=300, env=PLAIN)
    torch.ops.load_library(LIBRARY)
    torch.ops.load_library(TESTOPS)
    OTHER_SHIFT.parent.mkdir()
    OTHER_SHIFT.write_bytes(LIBRARY.read_bytes() + b"\0")


class Net(torch.nn.Module):
    def forward(self, x):
        a, b = torch.ops.myops.shift_split(torch.relu(x), [1, 2, -3], 0.5)
        return a * 2, b + x.shape[0]


def net():
    path = SCRATCH / "net.pt2"
    if not path.exists():
        common.export(Net(), (torch.randn(4, 5),), "net", {"x": {0: torch.export.Dim("n", min=1, max=64)}})
    return path


def compiled(*options):
    return common.compile(net(), "--torch-library", LIBRARY, *options)[0]


def inputs(n):
    x = torch.randn(n, 5) * 3
    np.savez(SCRATCH / "in.npz", x=x.numpy())
    return x, SCRATCH / "in.npz"


def run(artifact, n, *options, env=None):
    x, path = inputs(n)
    cli("run", artifact, "--inputs", path, "--outputs", SCRATCH / "out.npz", *options, env=env, check=0)
    return x, np.load(SCRATCH / "out.npz")


def refused(artifact, *words, options=(), env=None):
    r = cli("run", artifact, "--inputs", inputs(2)[1], *options, env=env)
    assert r.returncode == 4 and all(w in r.stderr for w in words), (r.returncode, r.stderr)


def python(code, check=True):
    """In a process of its own: another has other libraries open."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    r = subprocess.run([sys.executable, "-c", "import torch, cierge\n" + code], text=True, capture_output=True, env=env, timeout=120)
    assert not check or not r.returncode, r.stderr
    return r


# ---------------------------------------------------------------- named, carried


def test_runs_at_any_size():
    artifact, report = common.compile(net(), "--torch-library", LIBRARY)
    assert report["nodes"]["torch"] >= 1, report
    for n in (1, 4, 9):
        x, got = run(artifact, n, "--torch-library", LIBRARY)
        for k, want in enumerate(Net()(x)):
            common.close(got[f"output_{k}"], want)


def test_carried_in_the_artifact():
    artifact = compiled("--bundle")
    carried = artifact.stat().st_size
    assert re.search(r"library libmyops\.so is carried", cli("inspect", artifact, check=0).stdout)
    for env in (None, {"CIERGE_NO_MEMFD": "1"}):
        x, got = run(artifact, 3, env=env)
        for k, want in enumerate(Net()(x)):
            common.close(got[f"output_{k}"], want)
    x, got = run(artifact, 3, "--torch-library", LIBRARY)  # named as well: opened once
    common.close(got["output_0"], Net()(x)[0])
    cli("verify", artifact, check=0)
    # two programs that carry it, in one process
    shutil.copy(artifact, SCRATCH / "again.cierge")
    python(f"a, b = (cierge.load(p).context() for p in ({str(artifact)!r}, {str(SCRATCH / 'again.cierge')!r}))\n"
           "x = torch.ones(2, 5)\nassert (torch.from_dlpack(a.run(x)[0]) == torch.from_dlpack(b.run(x)[0])).all()")
    assert compiled().stat().st_size + LIBRARY.stat().st_size <= carried + 8192


def test_several_libraries_from_the_api():
    cierge.compile(net(), output=SCRATCH / "api.cierge", torch_library=[str(TESTOPS), str(LIBRARY)])
    text = cierge.inspect(SCRATCH / "api.cierge")
    assert re.search(r"operator myops::shift_split from libmyops\.so, content [0-9a-f]{32}", text), text
    context = cierge.load(SCRATCH / "api.cierge", torch_libraries=[str(LIBRARY), str(TESTOPS)]).context()
    x = torch.randn(3, 5)
    for got, want in zip(context.run(x), Net()(x)):
        common.close(torch.from_dlpack(got), want)
    cierge.load(SCRATCH / "api.cierge")  # this process has it open, by torch.ops.load_library


def test_a_library_named_without_a_folder():
    shutil.copy(LIBRARY, SCRATCH / "libbare.so")
    r = subprocess.run([common.CIERGE, "compile", net(), "-o", SCRATCH / "bare.cierge", "--torch-library", "libbare.so"], cwd=SCRATCH, text=True, capture_output=True)
    assert r.returncode == 0, r.stderr
    run(SCRATCH / "bare.cierge", 2, "--torch-library", LIBRARY)  # another name, the same content


def test_the_same_bytes_each_time():
    first = compiled("--bundle").read_bytes()
    assert compiled("--bundle").read_bytes() == first


# ---------------------------------------------------------------- missing, changed


def test_missing_libraries_are_named():
    artifact = compiled()
    refused(artifact, "myops::shift_split", "libmyops.so", "--torch-library", "--bundle")
    refused(artifact, "nothing.so", options=("--torch-library", SCRATCH / "nothing.so"))
    r = cli("compile", net(), "-o", SCRATCH / "x.cierge", "--torch-library", SCRATCH / "nothing.so")
    assert r.returncode == 4 and "nothing.so" in r.stderr, r.stderr
    r = cli("compile", net(), "-o", SCRATCH / "x.cierge")
    assert r.returncode == 4 and "myops::shift_split" in r.stderr and "--torch-library" in r.stderr, r.stderr


def test_a_changed_library():
    artifact = compiled()
    refused(artifact, "myops::shift_split", "another library", "compile the program again", options=("--torch-library", OTHER_SHIFT))
    renamed = SCRATCH / "libother.so"
    shutil.copy(OTHER_SHIFT, renamed)
    refused(artifact, "myops::shift_split", "libother.so", "another library", options=("--torch-library", renamed))
    # a process that has another one open already
    load = f"torch.ops.load_library({str(OTHER_SHIFT)!r})\ncierge.load({{!r}})"
    for p in (artifact, compiled("--bundle")):
        r = python(load.format(str(p)), check=False)
        assert r.returncode == 1 and "cierge.Error" in r.stderr and "myops::shift_split" in r.stderr, r.stderr


def test_two_libraries_that_define_the_same():
    copy = SCRATCH / "libtwice.so"
    shutil.copy(OTHER_SHIFT, copy)
    r = cli("compile", net(), "-o", SCRATCH / "x.cierge", "--torch-library", LIBRARY, "--torch-library", copy)
    assert r.returncode == 4 and "libtwice.so" in r.stderr and "Only a single TORCH_LIBRARY" in r.stderr, (r.returncode, r.stderr)


# ---------------------------------------------------------------- of no use


def c_library(name, code, *options):
    path = SCRATCH / name
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", path, *options], input=code, text=True, check=True, env=PLAIN)
    return path


def refuse_library(path, *words):
    for r in (cli("compile", net(), "-o", SCRATCH / "x.cierge", "--torch-library", path), cli("run", compiled(), "--inputs", inputs(2)[1], "--torch-library", path)):
        assert r.returncode == 4 and str(path)[-20:] in r.stderr and all(w in r.stderr for w in words), (r.returncode, r.stderr)


def test_libraries_that_need_python():
    path = c_library("libcalls.so", "int PyList_New(long n); int f(void) { return PyList_New(1); }")
    refuse_library(path, "needs Python", "PyList_New", "TORCH_LIBRARY", "without libtorch_python")
    path = c_library("liblinked.so", "int f;", "-Wl,--no-as-needed", f"-L{TORCH / 'lib'}", "-ltorch_python", "-Wl,--unresolved-symbols=ignore-all")
    refuse_library(path, "needs Python", "linked with libtorch_python.so")
    weak = c_library("libweak.so", "__attribute__((weak)) int PyList_New(long n); int f(void) { return PyList_New ? PyList_New(1) : 0; }")
    cli("compile", net(), "-o", SCRATCH / "x.cierge", "--torch-library", LIBRARY, "--torch-library", weak, check=0)  # it can do without
    python(f"cierge.compile({str(net())!r}, output={str(SCRATCH / 'x.cierge')!r}, torch_library=[{str(LIBRARY)!r}, {str(SCRATCH / 'libcalls.so')!r}])")  # Python is there


def test_files_that_are_no_libraries():
    data, path = LIBRARY.read_bytes(), SCRATCH / "damaged.so"
    for size in (0, 1, 4, 20, 63, 64, 100, 200, 1000, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        refuse_library(path, "damaged.so")
    refuse_library(path, "cut off")
    path.write_bytes(b"#!/bin/sh\nexit 0\n" * 10)
    refuse_library(path, "no shared library")
    for machine, name in ((183, "64-bit ARM"), (243, "RISC-V"), (9999, "unknown machine")):
        path.write_bytes(data[:18] + struct.pack("<H", machine) + data[20:])
        refuse_library(path, "another machine", name)
    subprocess.run(["cc", "-c", "-x", "c", "-", "-o", path], input="int f;", text=True, check=True, env=PLAIN)
    refuse_library(path, "object file")
    refuse_library(SCRATCH, "no regular file")


FUZZ = r"""
#include "base/elf.c"
#include <stdlib.h>
static unsigned long state = 1;
static unsigned random_below(unsigned n) { return (unsigned)((state = state * 6364136223846793005ul + 1442695040888963407ul) >> 33) % n; }
int main(int argc, char **argv) { // FILE DYNAMIC: three bytes of headers, dynamic section or anything are changed
  static unsigned char all[1 << 20];
  FILE *f = fopen(argv[1], "rb");
  size_t n = fread(all, 1, sizeof all, f), dynamic = strtoul(argv[2], NULL, 10), whole = 0;
  for (int k = 0; k < 200000; k++) {
    size_t size = k % 8 ? n : random_below((unsigned)n + 1);
    unsigned char *bad = malloc(size + !size);
    memcpy(bad, all, size);
    for (int i = 0; i < 3 && size > 1000; i++) bad[k % 3 == 0 ? random_below(700) : k % 3 == 1 && dynamic + 600 < size ? dynamic + random_below(600) : random_below((unsigned)size)] = (unsigned char)random_below(256);
    char text[256];
    cg_elf_wants w;
    const char *why = cg_elf_read(bad, size, &w, text, sizeof text);
    if (why && strlen(why) < 10) return 1;
    if (w.python_symbol) whole += strlen(w.python_symbol) > 0;
    free(bad);
  }
  return argc != 3 || whole < 1000; // most changes touch nothing that is read
}
"""


def test_damaged_headers():
    """Whatever is in the file, nothing outside it is read."""
    library = c_library("libsmall.so", "int PyList_New(long n); int f(void) { return PyList_New(1); }")
    data = library.read_bytes()
    table, count = struct.unpack("<Q", data[32:40])[0], struct.unpack("<H", data[56:58])[0]
    headers = [struct.unpack("<IIQ", data[table + 56 * i:table + 56 * i + 16]) for i in range(count)]
    dynamic = next(offset for kind, _, offset in headers if kind == 2)
    subprocess.run(["cc", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-Wno-format-truncation", f"-I{ROOT / 'src'}", "-x", "c", "-", "-o", SCRATCH / "fuzz"], input=FUZZ, text=True, check=True, env=PLAIN)
    env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    r = subprocess.run([SCRATCH / "fuzz", library, str(dynamic)], text=True, capture_output=True, env=env, timeout=200)
    assert r.returncode == 0, r.stderr[-3000:]


def test_libraries_that_cannot_start():
    refuse_library(c_library("libaborts.so", "#include <stdlib.h>\n__attribute__((constructor)) static void f(void) { abort(); }"), "its initialisation ends the process")
    refuse_library(c_library("libundefined.so", "int nowhere_to_be_found(void); int f(void) { return nowhere_to_be_found(); }"), "nowhere_to_be_found")


# ---------------------------------------------------------------- types


def test_types_without_a_meta_kernel():
    text = """schema "testops::only_cpu(Tensor x) -> Tensor"
sym n = 1..9
fn @main(%x: f32[n, 5]) -> f32[n] {
  %0RESULT = testops.only_cpu(%x)
  %1 = aten.relu(%0)
  return %1
}
"""
    path = SCRATCH / "untyped.cir"
    path.write_text(text.replace("RESULT", ""))
    library = ("--torch-library", TESTOPS)
    artifact, _ = common.compile(path, *library)  # a tensor of which the run knows more, in LibTorch
    x, got = run(artifact, 3, *library)
    common.close(got["output_0"], x.sum(-1).relu())
    r = cli("compile", path, "-o", SCRATCH / "x.cierge", "--require-native", *library)
    assert r.returncode == 5 and "testops::only_cpu" in r.stderr and "untyped.cir:4" in r.stderr, r.stderr
    artifact, _ = common.compile(path, *library, "--op-type", "testops::only_cpu=(f32[s0, 5]) -> (f32[s0])")
    x, got = run(artifact, 3, *library)
    common.close(got["output_0"], x.sum(-1).relu())
    for declared, code, word in (("(f32[s0, 6]) -> (f32[s0])", 3, "f32[n, 5]"), ("(f64[s0, 5]) -> (f32[s0])", 3, "f32[n, 5]"), ("(f32[s0, 5]) -> ()", 2, "0 results"),
                                 ("() -> (f32[s0])", 2, "0 tensor arguments"), ("f32[s0, 5]", 2, "reads like")):
        r = cli("compile", path, "-o", SCRATCH / "x.cierge", *library, "--op-type", "testops::only_cpu=" + declared)
        assert r.returncode == code and word in r.stderr, (declared, r.stderr)
    path.write_text(text.replace("RESULT", ": f32[n]"))  # the text itself says it
    artifact, _ = common.compile(path, *library)
    x, got = run(artifact, 4, *library)
    common.close(got["output_0"], x.sum(-1).relu())


# ---------------------------------------------------------------- Python


def test_the_example():
    """One operator in C++, from the command line and from C, and one in Python."""
    subprocess.run(["make", "-s", "-C", ROOT, f"B={BUILD}", f"TORCH={TORCH}", BUILD / "examples/custom_op"], check=True, timeout=300, env=PLAIN)
    r = subprocess.run([sys.executable, ROOT / "examples/custom_op/demo.py"], text=True, capture_output=True, timeout=200, env={**os.environ, "BUILD": str(BUILD)})
    assert r.returncode == 0 and "both operators give PyTorch's results" in r.stdout, r.stdout + r.stderr
    assert "pyops::clip_rows, which is written in Python" in r.stdout and "import cierge" in r.stdout, r.stdout
    assert "no library here registers 'pyops::clip_rows': name the one that does (--torch-library)" in r.stdout, r.stdout


if __name__ == "__main__":
    build()
    common.main(globals())
