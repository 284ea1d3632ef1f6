"""What a program may not do (files, sockets, Python), what a damaged archive may not do, and every way to fail inside LibTorch."""
import ctypes
import io
import os
import shutil
import struct
import subprocess
import sys
import zipfile

from common import BUILD, ROOT, SCRATCH, cli, close, compile, main, np, torch

os.environ.setdefault("CIERGE_LIB_DIR", str(BUILD))
import cierge  # noqa: E402

Tensor = torch.Tensor
TESTOPS = BUILD / "tests/libtestops.so"
DATA, WRITTEN = SCRATCH / "data.bin", SCRATCH / "written"
DATA.write_bytes(np.arange(4, dtype=np.float32).tobytes())
ALLOW = ("--allow-unsafe-ops", "aten::from_file")


def build():
    where = os.path.dirname(torch.__file__)
    subprocess.run(["make", "-s", "-C", ROOT, f"B={BUILD}", f"TORCH={where}", TESTOPS], check=True, timeout=300)
    torch.ops.load_library(TESTOPS)


def text(name, body, head=""):
    path = SCRATCH / f"{name}.cir"
    path.write_text(f"{head}fn @main(%x: f32[4]) -> f32[4] {{\n{body}}}\n")
    return path


def refuse(r, *words):
    assert r.returncode == 3 and all(w in r.stderr for w in words), (r.returncode, r.stderr)


def inputs(**arrays):
    np.savez(SCRATCH / "in.npz", **arrays)
    return "--inputs", SCRATCH / "in.npz"


X = np.array([1, 2, 3, 4], np.float32)


# ---------------------------------------------------------------- operators that reach beyond tensors


def test_operators_of_the_dispatcher():
    path = text("from_file", f'  %0: f32[4] = aten.from_file("{DATA}", false, 4)\n  %1: f32[4] = aten.add.Tensor(%0, %x)\n  return %1\n')
    refuse(cli("compile", path, "-o", SCRATCH / "x.cierge"), "from_file.cir:2", "aten::from_file", "maps a file", "--allow-unsafe-ops aten::from_file")
    refuse(cli("explain", path), "aten::from_file")
    refuse(cli("compile", path, "-o", SCRATCH / "x.cierge", "--allow-unsafe-ops", "aten::save"), "aten::from_file")
    artifact, _ = compile(path, *ALLOW)
    refuse(cli("run", artifact, *inputs(x=X)), "aten::from_file", "--allow-unsafe-ops")  # the file's word does not count
    cli("run", artifact, *inputs(x=X), *ALLOW, "--outputs", SCRATCH / "out.npz", check=0)
    close(np.load(SCRATCH / "out.npz")["output_0"], torch.from_file(str(DATA), False, 4) + torch.tensor(X))
    try:
        cierge.load(artifact)
        raise AssertionError("it was loaded")
    except cierge.Error as e:
        assert e.exit_code == 3 and "aten::from_file" in str(e), e
    got = cierge.load(artifact, allow_unsafe_ops=["aten::"]).context().run(torch.tensor(X))
    close(torch.from_dlpack(got[0]), torch.arange(4.0) + torch.tensor(X))


def test_namespaces():
    path = text("c10d", '  %0: f32[4] = _c10d_functional.all_reduce(%x, "sum", "0")\n  return %0\n', 'schema "_c10d_functional::all_reduce(Tensor input, str reduce_op, str group_name) -> Tensor"\n')
    refuse(cli("compile", path, "-o", SCRATCH / "x.cierge"), "_c10d_functional::all_reduce", "other processes", "--allow-unsafe-ops")
    for name in ("aten::relu", "nonsense", ""):
        r = cli("compile", path, "-o", SCRATCH / "x.cierge", "--allow-unsafe-ops", name)
        assert r.returncode == (2 if name else 3), (name, r.stderr)


def read_file(x: Tensor, name: str) -> Tensor:
    return x + torch.from_file(name, False, 4)


class Direct(torch.nn.Module):
    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.from_file(self.name, False, 4)


class Function(Direct):
    def forward(self, x: Tensor) -> Tensor:
        return read_file(x, self.name)


class Nested(Direct):
    def forward(self, x: Tensor) -> Tensor:
        for i in range(3):
            if bool(x.sum() > 100 * i):
                if i == 2:
                    x = read_file(x, self.name)
        return x


class Sub(torch.nn.Module):
    def __init__(self, name: str):
        super().__init__()
        self.inner = torch.nn.ModuleList([Direct(name), Direct(name)])

    def forward(self, x: Tensor) -> Tensor:
        for m in self.inner:
            x = m(x)
        return x


@torch.jit.interface
class Step(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        pass


class Interface(torch.nn.Module):
    step: Step

    def __init__(self, name: str):
        super().__init__()
        self.step = Direct(name)

    def forward(self, x: Tensor) -> Tensor:
        return self.step.forward(x)


@torch.jit.script
class Reader:
    def __init__(self, name: str):
        self.name = name

    def read(self, x: Tensor) -> Tensor:
        return read_file(x, self.name)


class Class(Direct):
    def forward(self, x: Tensor) -> Tensor:
        return Reader(self.name).read(x)


class Forked(Direct):
    def forward(self, x: Tensor) -> Tensor:
        return torch.jit.wait(torch.jit.fork(read_file, x, self.name))


class Unused(Direct):
    """Nothing calls it, but a program might."""

    @torch.jit.export
    def other(self, x: Tensor) -> Tensor:
        return read_file(x, self.name)

    def forward(self, x: Tensor) -> Tensor:
        return x + 1


HIDING = (Direct, Function, Nested, Sub, Interface, Class, Forked, Unused)


def script(module, name):
    path = SCRATCH / f"{name}.pt"
    torch.jit.save(torch.jit.script(module), path)
    return path


def torchop(path, name, method=""):
    blobs = SCRATCH / f"{name}.blobs"
    shutil.rmtree(blobs, ignore_errors=True)
    line = cli("blob", "-d", blobs, path, check=0).stdout
    symbol = line.split()[1]
    return text(name, f"  %0: f32[4] = torchop(%x, script={symbol}{method})\n  return %0\n", line)


def compiled_or_not(path, name):
    """A program that calls this script, or the refusal of its archive."""
    r = cli("blob", path)
    return r if r.returncode else cli("compile", torchop(path, name), "-o", SCRATCH / "x.cierge")


def test_wherever_torchscript_hides_it():
    for c in HIDING:
        path = script(c(str(DATA)), f"hide{c.__name__}")
        refuse(cli("compile", torchop(path, f"op{c.__name__}"), "-o", SCRATCH / "x.cierge"), "aten::from_file", "--allow-unsafe-ops")


def test_torchscript_with_permission():
    want = torch.tensor(X) + torch.arange(4.0)
    for c in (Direct, Function):
        artifact, _ = compile(torchop(script(c(str(DATA)), "allowed"), "allowed"), *ALLOW)
        refuse(cli("run", artifact, *inputs(x=X)), "aten::from_file", "--allow-unsafe-ops")
        cli("run", artifact, *inputs(x=X), *ALLOW, "--outputs", SCRATCH / "out.npz", check=0)
        close(np.load(SCRATCH / "out.npz")["output_0"], want)


class Writes(torch.nn.Module):
    def __init__(self, name: str):
        super().__init__()
        self.name = name

    @torch.jit.export
    def __getstate__(self) -> str:
        return self.name

    @torch.jit.export
    def __setstate__(self, name: str):
        self.name = name
        self.training = False
        torch.save(torch.ones(3), name)

    def forward(self, x: Tensor) -> Tensor:
        return x + 1


def test_code_that_runs_while_a_file_is_read():
    path = script(Writes(str(WRITTEN)), "writes")
    op = torchop(path, "writesop")
    assert not WRITTEN.exists()
    refuse(cli("compile", op, "-o", SCRATCH / "x.cierge"), "__setstate__ runs code while the archive is read", "--allow-unsafe-ops __setstate__")
    refuse(cli("compile", op, "-o", SCRATCH / "x.cierge", "--allow-unsafe-ops", "aten::save"), "__setstate__")
    assert not WRITTEN.exists()
    torch.jit.load(path)  # this is what is prevented
    assert WRITTEN.exists()
    WRITTEN.unlink()
    artifact, _ = compile(op, "--allow-unsafe-ops", "__setstate__,aten::save")
    assert WRITTEN.exists()
    WRITTEN.unlink()
    refuse(cli("run", artifact, *inputs(x=X)), "__setstate__")
    assert not WRITTEN.exists()
    cli("run", artifact, *inputs(x=X), "--allow-unsafe-ops", "aten::save,__setstate__", check=0)
    assert WRITTEN.exists()


QUANTISED = ["torch.classes.quantized.", "quantized::"]


def test_quantised_modules_need_the_users_word():
    m = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Flatten(0)), dtype=torch.qint8).eval()
    path = SCRATCH / "quantised.pt"
    torch.jit.save(torch.jit.trace(m, torch.randn(1, 4)), path)
    blobs = SCRATCH / "quantised.blobs"
    line = cli("blob", "-d", blobs, path, check=0).stdout
    program = SCRATCH / "quantised.cir"
    program.write_text(f"{line}fn @main(%x: f32[1, 4]) -> f32[4] {{\n  %0: f32[4] = torchop(%x, script={line.split()[1]})\n  return %0\n}}\n")
    for i in range(len(QUANTISED)):
        refuse(cli("compile", program, "-o", SCRATCH / "x.cierge", *(["--allow-unsafe-ops", ",".join(QUANTISED[:i])] * (i > 0))), "--allow-unsafe-ops " + QUANTISED[i])
    artifact, _ = compile(program, "--allow-unsafe-ops", ",".join(QUANTISED))
    x = torch.randn(1, 4)
    close(torch.from_dlpack(cierge.load(artifact, allow_unsafe_ops=QUANTISED).context().run(x)[0]), m(x))


# ---------------------------------------------------------------- archives


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("b", torch.arange(7.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 + self.b.sum()


def checker():
    """The project's own check of archives, callable from here."""
    path = SCRATCH / "check.so"
    if not path.exists():
        sources = [ROOT / f"src/base/{n}.c" for n in ("script_check", "zip", "session", "alloc", "str", "number", "map", "vec")]
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", f"-I{ROOT / 'src'}", f"-I{ROOT / 'include'}", f"-I{ROOT / 'third_party'}", "-o", path, *sources, "-lz"],
                       check=True)
    check = ctypes.CDLL(path).cg_script_check
    check.restype, check.argtypes = ctypes.c_bool, [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    why = ctypes.create_string_buffer(512)
    return lambda data: None if check(bytes(data), len(data), why, 512) else why.value.decode(errors="replace")


def archive():
    b = io.BytesIO()
    torch.jit.save(torch.jit.script(Small()), b)
    return b.getvalue()


def test_every_flipped_bit():
    check, data = checker(), archive()
    assert check(data) is None
    x = torch.randn(3)
    want, accepted, theirs = Small()(x), [], []
    bad = bytearray(data)
    for bit in range(8 * len(data)):
        bad[bit // 8] ^= 1 << bit % 8
        if check(bad) is None:
            accepted.append(bit)
            try:
                close(torch.jit.load(io.BytesIO(bytes(bad)))(x), want)
            except RuntimeError as e:  # LibTorch refuses more than we do
                theirs.append(str(e))
        bad[bit // 8] ^= 1 << bit % 8
    print(f"{len(data)} bytes: of {8 * len(data)} flipped bits {len(accepted)} are accepted, and change nothing")
    assert len(accepted) < 8 * len(data) // 3  # times, versions, attributes, padding
    assert len(theirs) < 8 and all("failed reading zip archive" in e for e in theirs), theirs


def test_every_truncation():
    check, data = checker(), archive()
    for n in range(len(data)):
        assert check(data[:n]), n
    for n in (1, 10, 1000):
        assert check(data + b"\0" * n) and check(b"\0" * n + data), n


def rewritten(change, method=zipfile.ZIP_STORED, names=lambda n: n):
    source, out = zipfile.ZipFile(io.BytesIO(archive())), io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for n in source.namelist():
            z.writestr(names(n), change(n, source.read(n)))
    return out.getvalue()


def save(data, name):
    path = SCRATCH / f"{name}.pt"
    path.write_bytes(data)
    return path


def never(path, *words):
    """Refused as a blob, within little memory."""
    r = subprocess.run(["bash", "-c", 'ulimit -v 6000000; exec "$@"', "-", BUILD / "cierge", "blob", path], text=True, capture_output=True, timeout=60)
    assert r.returncode == 3 and all(w in r.stderr for w in words), (r.returncode, r.stderr)


def member(data, name):
    """Where the local header and the directory's entry of a member are."""
    local = data.index(b"PK\x03\x04", data.index(name.encode()) - 40)
    central = data.rindex(name.encode()) - 46
    assert data[central:central + 4] == b"PK\x01\x02"
    return local, central


def test_sizes_that_are_not_there():
    good = rewritten(lambda n, d: d)
    name = next(n for n in zipfile.ZipFile(io.BytesIO(good)).namelist() if n.endswith("/data.pkl"))
    local, central = member(good, name)
    for size in (1 << 30, 0xFFFFFFF0, 1):
        for where in (lambda b: struct.pack_into("<I", b, local + 22, size), lambda b: struct.pack_into("<I", b, central + 24, size),
                      lambda b: [struct.pack_into("<II", b, at, size, size) for at in (local + 18, central + 20)]):
            bad = bytearray(good)
            where(bad)
            never(save(bytes(bad), "size"))
    bad = bytearray(good)
    struct.pack_into("<I", bad, central + 42, 0)  # two members share one place
    never(save(bytes(bad), "overlap"))
    never(save(rewritten(lambda n, d: d + bytes(2 << 30) if n.endswith("/data.pkl") else d, zipfile.ZIP_DEFLATED), "bomb"), "inflated")


def test_names_that_leave_the_archive():
    for prefix in ("../", "/etc/", "x/../../"):
        data = rewritten(lambda n, d: d, names=lambda n: prefix + n.split("/", 1)[1])
        r = compiled_or_not(save(data, "names"), "names")
        assert r.returncode in (0, 3), r.stderr  # nothing is ever unpacked: a name is a key
    twice = io.BytesIO(rewritten(lambda n, d: d))
    with zipfile.ZipFile(twice, "a") as z:
        name = next(n for n in z.namelist() if n.endswith("/data.pkl"))
        z.writestr(name, b"other")
    never(save(twice.getvalue(), "twice"))


def test_storages_that_are_smaller_than_they_say():
    data = rewritten(lambda n, d: d.replace(b"K\x07", b"J" + struct.pack("<i", 1 << 28)) if n.endswith("/data.pkl") else d)
    path = save(data, "storage")
    refuse(cli("compile", torchop(path, "storageop"), "-o", SCRATCH / "x.cierge"), "1073741824 bytes", "fewer")


def test_damaged_contents():
    """Content whose CRC is right and whose meaning is not: a text, never a crash."""
    rng = np.random.default_rng(1)
    for k in range(40):
        def change(n, d):
            if not n.endswith((".pkl", ".py")) or not d:
                return d
            d = bytearray(d)
            for at in rng.integers(0, len(d), 2):
                d[at] = rng.integers(0, 256)
            return bytes(d)
        r = compiled_or_not(save(rewritten(change), "content"), "content")
        assert r.returncode in (0, 3, 4), (k, r.returncode, r.stderr)


# ---------------------------------------------------------------- failures inside LibTorch


def failing(how):
    return text(f"fail_{how}", f'  %0: f32[4] = testops.fail(%x, "{how}")\n  return %0\n', 'schema "testops::fail(Tensor x, str how) -> Tensor"\n')


def test_whatever_an_operator_throws():
    library = ("--torch-library", TESTOPS)
    for how, word in (("check", "a check of PyTorch's failed"), ("assert", "an assertion of PyTorch's failed"), ("std", "a std::exception came"), ("int", "no std::exception"),
                      ("text", "no std::exception"), ("out_of_range", "range_check"), ("bad_alloc", "bad_alloc"), ("no_message", "without a message")):
        if how not in ("int", "text"):  # those end Python
            try:
                torch.ops.testops.fail(torch.tensor(X), how)
                raise AssertionError("PyTorch does not fail")
            except (RuntimeError, IndexError, MemoryError):
                pass
        artifact, _ = compile(failing(how), *library)
        r = cli("run", artifact, *inputs(x=X), *library)
        refuse(r, word, "testops::fail", f"fail_{how}.cir:3")
        context = cierge.load(artifact, torch_libraries=[str(TESTOPS)]).context()
        for _ in range(2):  # the context stays usable
            try:
                context.run(torch.tensor(X))
                raise AssertionError("it did not fail")
            except cierge.Error as e:
                assert e.exit_code == 3 and word in str(e), e
    artifact, _ = compile(failing("not"), *library)
    close(torch.from_dlpack(cierge.load(artifact, torch_libraries=[str(TESTOPS)]).context().run(torch.tensor(X))[0]), torch.tensor(X) + 1)


class Raises(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() < 0):
            raise ValueError("the sum is below zero")
        assert bool(x.max() < 100), "too large"
        return x + 1


def test_exceptions_of_torchscript():
    artifact, _ = compile(torchop(script(Raises(), "raises"), "raisesop"))
    context = cierge.load(artifact).context()
    for x, word in ((-torch.tensor(X), "the sum is below zero"), (torch.tensor(X) * 100, "too large")):
        for fail in (lambda: Raises()(x), lambda: context.run(x)):
            try:
                fail()
                raise RuntimeWarning("it did not fail")
            except (ValueError, AssertionError, cierge.Error) as e:
                assert word in str(e), e
        close(torch.from_dlpack(context.run(torch.tensor(X))[0]), torch.tensor(X) + 1)


def test_more_memory_than_there_is():
    path = SCRATCH / "huge.cir"
    path.write_text("sym n = 1..\nfn @main(%x: f32[n]) -> f32[n, n] {\n  %0: f32[n, n] = aten.outer(%x, %x)\n  return %0\n}\n")
    artifact, _ = compile(path, "--backends", "torch")
    context = cierge.load(artifact).context()
    try:
        context.run(torch.zeros(1 << 24))
        raise AssertionError("it did not fail")
    except cierge.Error as e:
        assert e.exit_code in (3, 4) and "memory" in str(e), e
    close(torch.from_dlpack(context.run(torch.tensor(X))[0]), torch.outer(torch.tensor(X), torch.tensor(X)))


if __name__ == "__main__":
    build()
    main(globals())
