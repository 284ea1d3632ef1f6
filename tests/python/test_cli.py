"""The command line's contract: inputs, outputs, exit codes, what errors say."""
import io
import json
import zipfile

import numpy as np
import torch

import common
import models
from common import SCRATCH, cli

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
    assert "float32" in text and "2..8" in text, text
    cli("verify", add(), check=0)
    damaged = bytearray(add().read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (SCRATCH / "damaged.cierge").write_bytes(damaged)
    assert cli("verify", SCRATCH / "damaged.cierge").returncode == 3
    path = common.export(Sorts(), (torch.randn(3, 3),), "svd2")
    text = cli("explain", path, check=0).stdout
    assert "svd" in text and "test_cli.py" in text and "left in LibTorch" in text, text
    assert "aten::add.Tensor" in cli("ops", check=0).stdout


if __name__ == "__main__":
    common.main(globals())
