"""The command line's contract: inputs, outputs, exit codes, what errors say."""
import io
import json
import os
import re
import subprocess
import warnings
import zipfile

import numpy as np
import torch

import common
import models
from common import CIERGE, SCRATCH, cli

Dim = torch.export.Dim
_made = {}


def once(name, make):
    if name not in _made:
        _made[name] = common.compile(make())[0]
    return _made[name]


class Add(torch.nn.Module):
    def forward(self, x, n, y):
        return x * n + y, None, x.shape[0] * 2


def add():
    return once("add", lambda: common.export(Add(), (torch.randn(3, 4), 5, torch.randn(3, 1)), "add",
                                             {"x": {0: Dim("b", min=2, max=8)}, "n": None, "y": {0: Dim("b", min=2, max=8)}}))


def save(**arrays):
    np.savez(SCRATCH / "in.npz", **arrays)
    return SCRATCH / "in.npz"


def run(artifact, inputs, code=0, *more):
    out = SCRATCH / "o.npz"
    r = cli("run", artifact, "--inputs", inputs, "--outputs", out, *more, check=code)
    return dict(np.load(out)) if code == 0 else r.stderr


X, Y = np.arange(12, dtype=np.float32).reshape(3, 4), np.ones((3, 1), np.float32)


def test_inputs_by_number_and_by_name():
    want = X * 5 + Y
    for arrays in ({"input_0": X, "input_2": Y}, {"x": X, "y": Y}, {"x": X, "n": np.int64(5), "y": Y}):
        got = run(add(), save(**arrays))
        assert sorted(got) == ["output_0", "output_2"], sorted(got)  # None writes no array
        common.close(got["output_0"], want)
        assert got["output_2"].dtype == np.int64 and got["output_2"].shape == () and got["output_2"] == 6


def test_what_does_not_fit_is_named():
    cases = (({"x": X}, ["y", "missing"]), ({"x": X, "y": Y, "z": Y}, ["z"]), ({"x": X, "input_2": Y}, ["never mixed"]),
             ({"x": X.astype(np.float64), "y": Y}, ["x", "float32", "float64"]), ({"x": X[0], "y": Y}, ["x"]),
             ({"x": X[:, :3].copy(), "y": Y}, ["x", "4", "3"]), ({"x": X, "y": np.ones((4, 1), np.float32)}, ["3", "4"]),
             ({"x": np.ones((9, 4), np.float32), "y": np.ones((9, 1), np.float32)}, ["9", "8"]),
             ({"x": X, "n": np.int64(6), "y": Y}, ["n", "5"]))
    for arrays, words in cases:
        text = run(add(), save(**arrays), 3)
        assert text.startswith("cierge: ") and all(w in text for w in words), (arrays.keys(), text)


def test_npz_variants():
    want = X * 5 + Y
    np.savez_compressed(SCRATCH / "in.npz", x=np.asfortranarray(X), y=Y.astype(">f4"))
    common.close(run(add(), SCRATCH / "in.npz")["output_0"], want)
    for version in ((1, 0), (2, 0), (3, 0)):
        with zipfile.ZipFile(SCRATCH / "in.npz", "w") as z:
            for name, a in (("x", X), ("y", Y)):
                b = io.BytesIO()
                np.lib.format.write_array(b, a, version=version)
                z.writestr(name + ".npy", b.getvalue())
        common.close(run(add(), SCRATCH / "in.npz")["output_0"], want)


def test_safetensors_both_ways():
    from safetensors.numpy import load_file, save_file
    save_file({"x": X, "y": Y}, SCRATCH / "in.safetensors")
    cli("run", add(), "--inputs", SCRATCH / "in.safetensors", "--outputs", SCRATCH / "out.safetensors", check=0)
    common.close(load_file(SCRATCH / "out.safetensors")["output_0"], X * 5 + Y)


def test_dtypes_that_numpy_lacks():
    class Half(torch.nn.Module):
        def forward(self, x):
            return x * 2 + 1

    x = torch.randn(2, 3).bfloat16()
    artifact = once("half", lambda: common.export(Half(), (x,), "half"))
    bits = x.view(torch.uint16).numpy()
    got = run(artifact, save(x=bits, __cierge_dtypes__=np.array(json.dumps({"x": "bfloat16"}))))
    assert got["output_0"].dtype == np.uint16
    assert json.loads(str(got["__cierge_dtypes__"])) == {"output_0": "bfloat16"}
    assert torch.equal(torch.from_numpy(got["output_0"]).view(torch.bfloat16), x * 2 + 1)
    assert "bfloat16" in run(artifact, save(x=bits), 3)


def test_state_repeat_and_sequence():
    artifact = once("counter", lambda: common.export(models.Counter(), (torch.randn(4, 3),), "counter_cli"))
    model, xs = models.Counter(), [torch.randn(4, 3) for _ in range(3)]
    files = []
    for i, x in enumerate(xs):
        files.append(SCRATCH / f"s{i}.npz")
        np.savez(files[-1], x=x.numpy())
    with torch.no_grad():
        want = [model(x).clone() for x in xs]
        first = want[0]
        again = [models.Counter()(x) for x in xs]
    out = SCRATCH / "seq.npz"
    cli("run", artifact, "--sequence", *files, "--outputs", out, check=0)
    for i, w in enumerate(want):
        common.close(np.load(out)[f"{i}.output_0"], w)
    cli("run", artifact, "--sequence", *files, "--reset-between", "--outputs", out, check=0)
    for i, w in enumerate(again):
        common.close(np.load(out)[f"{i}.output_0"], w)
    common.close(run(artifact, files[0], 0, "--repeat", "1")["output_0"], first)
    m = models.Counter()
    with torch.no_grad():
        third = [m(xs[0]).clone() for _ in range(3)][-1]
    common.close(run(artifact, files[0], 0, "--repeat", "3")["output_0"], third)
    common.close(run(artifact, files[0], 0, "--repeat", "3", "--reset-between")["output_0"], first)


def test_mutated_inputs_are_written():
    class Bump(torch.nn.Module):
        def forward(self, x):
            x.add_(1)
            return x * 2

    for functional in (False, True):
        artifact = common.compile(common.export(Bump(), (torch.zeros(3),), "bump", functional=functional))[0]
        got = run(artifact, save(x=np.zeros(3, np.float32)))
        common.close(got["output_0"], np.full(3, 2, np.float32))
        common.close(got["mutated_x"], np.ones(3, np.float32))


def test_exit_codes():
    assert cli().returncode == 2
    assert cli("nonsense").returncode == 2
    assert cli("compile").returncode == 2
    assert cli("compile", "m.pt2", "-o", "x", "--target", "z80").returncode == 2
    assert cli("run", SCRATCH / "none.cierge").returncode == 4
    (SCRATCH / "junk.cierge").write_bytes(b"junk" * 100)
    assert cli("run", SCRATCH / "junk.cierge").returncode == 3
    (SCRATCH / "junk.pt2").write_bytes(b"PK" + b"junk" * 100)
    r = cli("compile", SCRATCH / "junk.pt2", "-o", SCRATCH / "x.cierge")
    assert r.returncode == 3 and r.stderr.startswith("cierge: "), r.stderr


class Sorts(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x) + 1


def test_missing_libtorch_and_require_native():
    path = common.export(Sorts(), (torch.randn(3, 3),), "svd")
    r = cli("compile", path, "-o", SCRATCH / "svd.cierge", "--require-native")
    assert r.returncode == 5 and "svd" in r.stderr and "test_cli.py" in r.stderr, r.stderr
    cli("compile", path, "-o", SCRATCH / "svd.cierge", env={"CIERGE_LIBTORCH": "none"}, check=0)
    x = save(x=np.eye(3, dtype=np.float32))
    r = cli("run", SCRATCH / "svd.cierge", "--inputs", x, env={"CIERGE_LIBTORCH": "none"})
    assert r.returncode == 4 and "LibTorch" in r.stderr, r.stderr
    common.close(run(SCRATCH / "svd.cierge", x)["output_0"], np.full(3, 2, np.float32))


def test_deterministic():
    path = common.export(models.CNN(), (torch.randn(1, 3, 16, 16),), "det")
    a, b = SCRATCH / "a.cierge", SCRATCH / "b.cierge"
    cli("compile", path, "-o", a, check=0, env={"CIERGE_CACHE": str(SCRATCH / "cache1")})
    cli("compile", path, "-o", b, check=0, env={"CIERGE_CACHE": str(SCRATCH / "cache2")})
    assert a.read_bytes() == b.read_bytes()


def test_run_time_errors_name_the_line():
    class Look(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(10, 4)

        def forward(self, i):
            return self.table(i)

    artifact = once("look", lambda: common.export(Look(), (torch.tensor([1, 2]),), "look"))
    text = run(artifact, save(i=np.array([1, 10])), 3)
    assert "embedding" in text and "10" in text and "test_cli.py" in text, text


def test_inspect_verify_explain_ops():
    text = cli("inspect", add(), check=0).stdout
    assert "float32" in text and "0..8" in text, text
    cli("verify", add(), check=0)
    damaged = bytearray(add().read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (SCRATCH / "damaged.cierge").write_bytes(damaged)
    assert cli("verify", SCRATCH / "damaged.cierge").returncode == 3
    path = common.export(Sorts(), (torch.randn(3, 3),), "svd2")
    text = cli("explain", path, check=0).stdout
    assert "svd" in text and "test_cli.py" in text and "left in LibTorch" in text, text
    assert "aten::add.Tensor" in cli("ops", check=0).stdout


class Kinds(torch.nn.Module):
    def forward(self, x, n, f, b, mode, mask=None):
        return (x * n + f if b else x), n * 2


def kinds():
    fixed = {"f": None, "b": None, "mode": None, "mask": None}
    return once("kinds", lambda: common.export(Kinds(), (torch.randn(3), 5, 2.5, True, "sum", None), "kinds",
                                               {"x": None, "n": Dim.DYNAMIC, **fixed}))


def test_numbers_none_and_texts():
    x = np.arange(3, dtype=np.float32)
    for given in ({}, {"f": np.float64(2.5)}, {"b": np.bool_(True), "f": np.float64(2.5)}):
        got = run(kinds(), save(x=x, n=np.int64(7), **given))
        common.close(got["output_0"], x * 7 + np.float32(2.5))
        assert got["output_1"] == 14 and got["output_1"].dtype == np.int64 and got["output_1"].shape == ()
    got = run(kinds(), save(input_0=x, input_1=np.int64(0), input_3=np.bool_(True)))
    common.close(got["output_0"], np.full(3, 2.5, np.float32))
    for arrays, words in (({"n": np.int32(7)}, ["n", "int64", "int32"]), ({"n": np.array([7])}, ["n", "int64[1]"]), ({"n": np.float64(7)}, ["float64"]),
                          ({}, ["n", "missing"]), ({"n": np.int64(7), "f": np.float64(2)}, ["f", "2.5"]), ({"n": np.int64(7), "f": np.float32(2.5)}, ["f", "2.5"]),
                          ({"n": np.int64(7), "b": np.bool_(False)}, ["b", "True"]), ({"n": np.int64(7), "mask": np.float32(0)}, ["mask", "None"]),
                          ({"n": np.int64(7), "mode": np.int64(0)}, ["mode", "sum"]), ({"n": np.int64(-1)}, ["n", "-1"])):
        text = run(kinds(), save(x=x, **arrays), 3)
        assert all(w in text for w in words), (arrays, text)


def test_an_int_outside_its_range():
    class Repeats(torch.nn.Module):
        def forward(self, x, n):
            torch._check(n >= 2)
            torch._check(n <= 9)
            return x * n, x.new_zeros(n)

    artifact = once("repeats", lambda: common.export(Repeats(), (torch.randn(3), 5), "repeats", {"x": None, "n": Dim.DYNAMIC}))
    x = np.ones(3, np.float32)
    for n in (2, 9, 5):
        got = run(artifact, save(x=x, n=np.int64(n)))
        common.close(got["output_0"], x * n)
        assert got["output_1"].shape == (n,)
    for n in (1, 10, -1):
        text = run(artifact, save(x=x, n=np.int64(n)), 3)
        assert "input n" in text and "2 to 9" in text and str(n) in text, text


def cir(name, text):
    path = SCRATCH / f"{name}.cir"
    path.write_text(text)
    return path


def test_numbers_that_vary():
    artifact = once("numbers", lambda: cir("numbers", """
fn @main(%x: f32[3], %k: float, %b: bool) -> (f32[3], float, bool) {
  %0: f32[3] = aten.mul.Scalar(%x, %k)
  %1: float = _operator.add(%k, 1.5)
  %2: bool = torch.sym_not(%b)
  return %0, %1, %2
}
"""))
    x = np.arange(3, dtype=np.float32)
    for k, b in ((0.5, True), (-3.0, False)):
        got = run(artifact, save(x=x, k=np.float64(k), b=np.bool_(b)))
        common.close(got["output_0"], x * np.float32(k))
        assert got["output_1"].dtype == np.float64 and got["output_1"] == k + 1.5
        assert got["output_2"].dtype == np.bool_ and got["output_2"] == (not b)
    text = run(artifact, save(x=x, k=np.float32(1), b=np.bool_(True)), 3)
    assert "k" in text and "float64" in text and "float32" in text, text
    assert "bool" in run(artifact, save(x=x, k=np.float64(1), b=np.int64(1)), 3)


def test_an_array_given_twice():
    with warnings.catch_warnings(), zipfile.ZipFile(SCRATCH / "in.npz", "w") as z:
        warnings.simplefilter("ignore")
        for name, a in (("x", X), ("y", Y), ("x", X)):
            b = io.BytesIO()
            np.lib.format.write_array(b, a)
            z.writestr(name + ".npy", b.getvalue())
    text = run(add(), SCRATCH / "in.npz", 3)
    assert '"x.npy"' in text and "two members of this name" in text, text
    assert "twice" in run(add(), save(input_0=X, input_00=X, input_2=Y), 3)


def test_a_size_with_two_values():
    text = run(add(), save(x=X, y=np.ones((4, 1), np.float32)), 3)
    assert re.search(r"\by\b.*\b4\b", text) and re.search(r"= 3\b", text), text


def test_zero_dimensional_and_empty():
    class Sums(torch.nn.Module):
        def forward(self, x, y):
            return x.sum() + y, x * y, x.sum(1)

    artifact = once("sums", lambda: common.export(Sums(), (torch.randn(4, 3), torch.tensor(2.0)), "sums", {"x": {0: Dim("n", min=0, max=9)}, "y": None}))
    for n in (4, 0, 1):
        x, y = np.random.rand(n, 3).astype(np.float32), np.float32(1.5)
        got = run(artifact, save(x=x, y=y))
        for k, want in enumerate(Sums()(torch.from_numpy(x), torch.tensor(1.5))):
            assert got[f"output_{k}"].shape == tuple(want.shape)
            common.close(got[f"output_{k}"], want)
    text = run(artifact, save(x=np.ones((2, 3), np.float32), y=np.ones(1, np.float32)), 3)
    assert "float32[]" in text and "float32[1]" in text, text


class Same(torch.nn.Module):
    def forward(self, x):
        return x.clone(), x.reshape(-1)


def test_no_outputs():
    (SCRATCH / "none.cir").write_text("fn @main(%x: f32[2]) {\n}\n")
    cli("compile", SCRATCH / "none.cir", "-o", SCRATCH / "none.cierge", check=0)
    np.savez(SCRATCH / "one.npz", x=np.zeros(2, np.float32))
    cli("run", SCRATCH / "none.cierge", "--inputs", SCRATCH / "one.npz", "--outputs", SCRATCH / "no.npz", check=0)
    assert dict(np.load(SCRATCH / "no.npz")) == {}


def test_every_dtype():
    from safetensors.torch import load_file, save_file
    names = ("complex64", "complex128", "uint16", "uint32", "uint64", "uint8", "int8", "int16", "int32", "bool", "float16", "bfloat16", "float64",
             "float8_e4m3fn", "float8_e5m2", "complex32")
    for name in names:
        dtype = getattr(torch, name)
        x = torch.arange(6).reshape(2, 3).to(torch.complex64 if dtype.is_complex else torch.float32).to(dtype)
        artifact = common.compile(common.export(Same(), (x,), f"same_{name}"))[0]
        bits = {"bfloat16": torch.uint16, "float8_e4m3fn": torch.uint8, "float8_e5m2": torch.uint8, "complex32": torch.uint32}.get(name)
        a = x.view(bits).numpy() if bits else x.numpy()
        extra = {"__cierge_dtypes__": np.array(json.dumps({"x": name}))} if bits else {}
        for b in (a, np.asfortranarray(a), a if bits else a.astype(a.dtype.newbyteorder(">"))):
            got = run(artifact, save(x=b, **extra))
            for k, want in enumerate((a, a.reshape(-1))):
                assert got[f"output_{k}"].dtype == a.dtype and np.array_equal(got[f"output_{k}"], want), (name, got)
            assert ("__cierge_dtypes__" in got) == bool(bits)
        if name in ("complex128", "complex32"):
            continue  # this safetensors package lacks them
        save_file({"x": x}, SCRATCH / "in.safetensors")
        cli("run", artifact, "--inputs", SCRATCH / "in.safetensors", "--outputs", SCRATCH / "out.safetensors", check=0)
        assert torch.equal(load_file(SCRATCH / "out.safetensors")["output_0"].float(), x.float()) or dtype.is_complex


def test_npz_that_cannot_be_read():
    whole = save(x=X, y=Y).read_bytes()
    for damaged in (whole[:100], b"", whole.replace(b"<f4", b"<f3"), whole.replace(b"'shape': (3, 4)", b"'shape': (9, 4)")):
        (SCRATCH / "bad.npz").write_bytes(damaged)
        assert run(add(), SCRATCH / "bad.npz", 3).startswith("cierge: ")
    assert cli("run", add(), "--inputs", SCRATCH / "nothing.npz").returncode == 4
    np.savez(SCRATCH / "bad.npz", x=X, y=Y, z=np.array("text"))
    assert "text" in run(add(), SCRATCH / "bad.npz", 3)


def test_seeded_random():
    class Random(torch.nn.Module):
        def forward(self, x):
            a = torch.rand(3)
            b = torch.nn.functional.dropout(x, 0.5, training=True)
            return a, b, torch.randn(2, 3), torch.rand(3), torch.randint(0, 100, (4,)), torch.rand(2)

    for functional in (False, True):
        artifact = common.compile(common.export(Random(), (torch.ones(4, 5),), "random", functional=functional))[0]
        x = save(x=np.ones((4, 5), np.float32))
        for seed in (0, 7):
            got = run(artifact, x, 0, "--seed", seed)
            torch.manual_seed(seed)
            for k, want in enumerate(Random()(torch.ones(4, 5))):
                assert torch.equal(torch.from_numpy(got[f"output_{k}"]), want), (seed, k)
        assert not np.array_equal(got["output_0"], got["output_3"])
        got = run(artifact, x, 0, "--seed", "7", "--repeat", "2")
        torch.manual_seed(7)
        Random()(torch.ones(4, 5))
        assert torch.equal(torch.from_numpy(got["output_0"]), Random()(torch.ones(4, 5))[0])


class Divides(torch.nn.Module):
    def forward(self, x, y):
        return x // y, x % y, torch.div(x, y, rounding_mode="trunc")


def test_integer_division():
    artifact = once("divides", lambda: common.export(Divides(), (torch.tensor([7, -7]), torch.tensor([2, 2])), "divides"))
    x, y = np.array([-9, 9]), np.array([4, -4])
    got = run(artifact, save(x=x, y=y))
    for k, want in enumerate(Divides()(torch.from_numpy(x), torch.from_numpy(y))):
        common.close(got[f"output_{k}"], want)
    text = run(artifact, save(x=x, y=np.array([1, 0])), 3)
    assert "zero" in text and "test_cli.py" in text, text
    text = run(artifact, save(x=np.array([np.iinfo(np.int64).min, 1]), y=np.array([-1, 1])), 3)
    assert "test_cli.py" in text, text


class Asserts(torch.nn.Module):
    def forward(self, x):
        torch._assert_async((x > 0).all(), "all must be positive")
        n = x[0].item()
        torch._check(n < 10, lambda: "below ten, please")
        return x + n


def test_asserts_say_their_text():
    import cierge
    for functional in (False, True):
        artifact = common.compile(common.export(Asserts(), (torch.tensor([1, 2]),), "asserts", functional=functional))[0]
        common.close(run(artifact, save(x=np.array([3, 4])))["output_0"], np.array([6, 7]))
        assert "all must be positive" in run(artifact, save(x=np.array([3, 0])), 3)
        text = run(artifact, save(x=np.array([30, 4])), 3)
        assert "u0 <= 9" in text and "test_cli.py" in text, text  # what the export keeps of torch._check
        context = cierge.load(artifact).context()
        for bad in ([3, 0], [30, 4]):
            try:
                context.run(torch.tensor(bad))
                raise SystemExit("no error")
            except cierge.Error as e:
                assert e.exit_code == 3, e
            common.close(torch.from_dlpack(context.run(torch.tensor([3, 4]))[0]), torch.tensor([6, 7]))


def test_a_context_survives_errors():
    import cierge
    divides = once("divides", lambda: common.export(Divides(), (torch.tensor([7, -7]), torch.tensor([2, 2])), "divides"))
    context = cierge.load(divides).context()
    x = torch.tensor([5, 6])
    for wrong in (torch.tensor([0, 1]), torch.tensor([1, 2, 3]), torch.tensor([1.0, 2.0])):
        try:
            context.run(x, wrong)
            raise SystemExit("no error")
        except cierge.Error as e:
            assert e.exit_code == 3, e
        common.close(torch.from_dlpack(context.run(x, torch.tensor([2, 4]))[0]), torch.tensor([2, 1]))


def test_errors_in_libtorch_are_named():
    path = common.export(Sorts(), (torch.randn(3, 3),), "svd3")
    artifact = common.compile(path)[0]
    text = run(artifact, save(x=np.full((3, 3), np.nan, np.float32)), 3)
    assert "svd" in text and "test_cli.py" in text, text


def test_finding_libtorch():
    path = common.export(Sorts(), (torch.randn(3, 3),), "svd4")
    artifact, x = common.compile(path)[0], save(x=np.eye(3, dtype=np.float32))
    for option, env in ((["--libtorch", SCRATCH], {}), ([], {"CIERGE_LIBTORCH": str(SCRATCH)})):
        r = cli("run", artifact, "--inputs", x, *option, env=env)
        assert r.returncode == 4 and str(SCRATCH) in r.stderr and "LibTorch" in r.stderr, r.stderr
    r = cli("compile", path, "-o", SCRATCH / "x.cierge", "--libtorch", SCRATCH)
    assert r.returncode == 4 and str(SCRATCH) in r.stderr, r.stderr
    where = os.path.dirname(torch.__file__)
    for place in (where, where + "/lib"):  # overrules the variable
        cli("run", artifact, "--inputs", x, "--libtorch", place, env={"CIERGE_LIBTORCH": "none"}, check=0)
    r = cli("run", artifact, "--inputs", x, "--libtorch", "none")
    assert r.returncode == 4 and "--libtorch" in r.stderr, r.stderr


def test_bench_times_what_gives_the_same():
    x, artifact = torch.randn(3, 4), SCRATCH / "b.cierge"
    relu, wider = (common.export(common.module(f), (x,), n) for n, f in (("relu", torch.relu), ("wider", lambda x: x.relu().sum(0))))
    negative = common.export(common.module(lambda x: -x), (x,), "negative")
    dropout = common.export(torch.nn.Dropout(0.5).train(), (x,), "dropout")
    np.savez(SCRATCH / "b.npz", x.numpy())
    cli("compile", relu, "-o", artifact, check=0)
    words = "bench", artifact, "--rounds", "3", "--inputs", SCRATCH / "b.npz", "--against"
    said = cli(*words, f"torch:{relu}", check=0).stdout
    assert "f32[3, 4]; threads: all processors\n" in said and "results    differ by at most 0.0e+00 of their size\n" in said and "95 % interval" in said, said
    assert "made up" in cli("bench", artifact, "--rounds", "2", check=0).stdout
    for model, text in (negative, "differ by "), (wider, "is f32[3, 4], of "):
        r = cli(*words, f"torch:{model}", check=5)
        assert text in r.stderr and "they are not one model" in r.stderr and "median" not in r.stdout, r.stderr
    cli("compile", dropout, "-o", artifact, check=0)  # random, from one seed
    assert "0.0e+00" in cli(*words, f"torch:{dropout}", check=0).stdout


def test_emit_writes_the_artifact_too():
    path = common.export(Add(), (torch.randn(3, 4), 5, torch.randn(3, 1)), "emit")
    for what, words in (("c", "int k0_"), ("ir", "fn @main")):
        out = SCRATCH / f"emit-{what}.cierge"
        assert words in cli("compile", path, "-o", out, "--emit", what, check=0).stdout
        common.close(run(out, save(x=X, y=Y))["output_0"], X * 5 + Y)


def test_specialised_sizes():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(24, 16)

        def forward(self, x):
            y = torch.relu(self.fc(x))
            return torch.softmax(y, -1), y.sum(0), y * 2 + 1

    torch.manual_seed(0)
    net = Net().eval()
    path = common.export(net, (torch.randn(4, 24),), "special", {"x": {0: Dim("n", min=1, max=64)}})
    s = re.search(r"(s\d+): ", cli("inspect", common.compile(path)[0], check=0).stdout).group(1)
    out = SCRATCH / "special.cierge"
    for options, sizes in ((["--specialize", f"{s}=1,8"], (1, 8)), (["--dim", f"{s}=1..64,hint=4"], (4,))):
        source = cli("compile", path, "-o", out, "--emit", "c", *options, check=0).stdout
        for n in sizes:
            assert re.search(rf"if \(s\[\d\] == {n}\) return k\d+_", source), source
        for n in (1, 3, 4, 8, 64):
            x = torch.randn(n, 24)
            got = run(out, save(x=x.numpy()))
            with torch.no_grad():
                for k, want in enumerate(net(x)):
                    common.close(got[f"output_{k}"], want)
    for option, value, words in (("--specialize", f"{s}=0", "outside"), ("--specialize", "nope=1", "nope"), ("--specialize", f"{s}=a", "expected"),
                                 ("--specialize", f"{s}=" + ",".join(map(str, range(1, 30))), "at most"), ("--dim", f"{s}=1..900", "allows")):
        r = cli("compile", path, "-o", out, option, value)
        assert r.returncode == 2 and words in r.stderr, r.stderr


def test_explain_counts_the_nodes_of_a_text():
    path = cir("plain", "fn @main(%x: f32[3]) -> f32[3] {\n  %0: f32[3] = aten.relu(%x)\n  %1: f32[3] = aten.neg(%0)\n  return %1\n}\n")
    assert cli("explain", path, check=0).stdout.startswith("inputs: x f32[3]\n2 nodes: 2 native"), cli("explain", path).stdout


if __name__ == "__main__":
    common.main(globals())
