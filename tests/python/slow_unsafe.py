"""What a program may not do without the user's word: code that runs while an archive is read, views beyond memory, operators that are
not in the list. Each is refused with a text, at compile time and at load, and what models need is not."""
import io
import pickletools
import re
import struct
import zipfile
from typing import Final, Optional, Tuple

import torch

import common
from common import SCRATCH, cli

Tensor = torch.Tensor
np = common.np


def refused(path, *words, input="x=f32[4]"):
    r = cli("explain", path, "--input", input)
    assert r.returncode == 3 and all(w in r.stderr for w in words), (r.returncode, r.stderr)


def saved(module, name):
    path = SCRATCH / f"{name}.pt"
    torch.jit.save(torch.jit.script(module), path)
    return path


def rewritten(path, change, name):
    """change(member, bytes) -> bytes, or {member: bytes}"""
    out = SCRATCH / f"{name}.pt"
    with zipfile.ZipFile(path) as a, zipfile.ZipFile(out, "w") as z:
        for n in a.namelist():
            new = change(n, a.read(n))
            for k, d in (new if isinstance(new, dict) else {n: new}).items():
                z.writestr(k, d)
    return out


# ---------------------------------------------------------------- code that runs while an archive is read


class OnRead(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.n = 1

    @torch.jit.export
    def __getstate__(self):
        return (self.n, self.training)

    @torch.jit.export
    def __setstate__(self, s: Tuple[int, bool]):
        self.n = s[0]
        self.training = s[1]
        while self.n > 0:
            self.n += 1

    def forward(self, x: Tensor):
        return x + self.n


class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = OnRead(), torch.nn.Linear(4, 4)

    def forward(self, x: Tensor):
        return self.b(x) + self.a.n


def test_setstate():
    for module in (OnRead(), Inner()):
        path = saved(module, "onread")
        refused(path, "__setstate__ runs code while the archive is read", "--allow-unsafe-ops __setstate__ allows it")
        shouting = rewritten(path, lambda n, d: {n.replace(".py", ".PY"): d}, "case")  # LibTorch finds it by that name as well
        refused(shouting, "__setstate__")


class Defaults(torch.nn.Module):
    c: Final[int]

    def __init__(self):
        super().__init__()
        self.c = 5

    def forward(self, x: Tensor, k: int = 3, d: float = float("inf"), dev: torch.device = torch.device("cpu"), o: Optional[Tensor] = None,
                s: str = "a=(b\\\"", n: int = -3, e: float = 1e-5, q: Optional[float] = None, b: bool = True):
        y: Optional[Tensor] = None
        if bool(x.sum() > 0):
            y = x.exp()  # a typed value that is computed, but not while the archive is read
        if y is not None:
            x = x + y
        return x + k + self.c


def test_values_that_are_computed():
    path = saved(Defaults(), "defaults")
    cli("explain", path, "--input", "x=f32[4]", check=0)
    evil = "torch.size(torch.from_file(\"/etc/hostname\", False, 1), 0)"
    code = ["int(3)", evil, f"({evil})", f"annotate(int, {evil})", "annotate(List[int], [i for i in range(3)])[0]", "3 * 4", "[3][0] + 1", "torch.len([1])", "3 if True else 4",
            "not True", "(torch.len)([1])", "[torch.len][0]([1])", "float(\"1\")(2)", "torch.device(\"cpu\").index(1)"]
    for was in ("k: int=3", "c : Final[int] = 5"):
        for new in code:
            bad = rewritten(path, lambda n, d: d.replace(was.encode(), (was[:was.rindex("=") + 1] + " " + new).encode()), "computed")
            assert bad.read_bytes() != path.read_bytes()
            refused(bad, "code/__torch__.py:", "computed while the archive is read")
    odd = rewritten(path, lambda n, d: d.replace(b"c : Final[int] = 5", b"(c) \\\n : Final[int] \\\n = torch.len([1])"), "odd")
    refused(odd, "computed while the archive is read")
    for behind in (b"  e : Final[int] = torch.len([1])\n", b"\n# a method ends\n  e : Final[int] = torch.len([1])\n", b"\t \\\n     e : Final[int] = torch.len([1])\n"):
        refused(rewritten(path, lambda n, d: d + behind, "behind"), "computed while the archive is read")
    deep = rewritten(path, lambda n, d: d.replace(b"k: int=3", b"k: int=" + b"(" * 100000 + b"3" + b")" * 100000), "deep")
    refused(deep, "brackets in too many brackets")
    for chain in (b"x" + b" + x" * 100000, b"- " * 100000 + b"x", b"x" + b".T" * 100000, b"x" + b"[0]" * 100000):
        long = rewritten(path, lambda n, d: re.sub(rb"return .*", b"return " + chain, d), "chain")
        refused(long, "too many parts")


def test_pickles():
    path = saved(Defaults(), "pickles")
    for module, name in ((b"os", b"system"), (b"builtins", b"eval"), (b"torch.distributed.rpc", b"rref"), (b"__torch__.torch", b"classes.quantized.LinearPackedParamsBase"),
                         (b"__torch__", b"torch.classes.quantized.LinearPackedParamsBase"), (b"__torch__.torch.classes.dist_rpc", b"WorkerInfo")):
        for member in ("/data.pkl", "/constants.pkl"):
            bad = rewritten(path, lambda n, d: d[:2] + b"c" + module + b"\n" + name + b"\n" + d[2:] if n.endswith(member) else d, "global")
            words = ("torch.classes.", "--allow-unsafe-ops") if b"classes" in module + name else (member[1:], "which no archive of TorchScript has")
            refused(bad, *words)
    odd = rewritten(path, lambda n, d: d[:2] + b"\x95" + d[2:] if n.endswith("/data.pkl") else d, "opcode")
    refused(odd, "opcode 149")
    cut = rewritten(path, lambda n, d: d[:-3] if n.endswith("/data.pkl") else d, "cut")
    refused(cut, "cut off")


# ---------------------------------------------------------------- what an archive says of its tensors and objects


class Buffer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("b", torch.arange(300.0)[:280].reshape(14, 20)[:, ::5])

    def forward(self, x: Tensor):
        return x + self.b.sum()


def number(n):
    return b"\x8a\x08" + struct.pack("<q", n) if n < 0 or n > 1 << 30 else b"J" + struct.pack("<i", n)


def test_views_beyond_memory():
    path = saved(Buffer(), "view")
    cli("explain", path, "--input", "x=f32[4]", check=0)
    data = zipfile.ZipFile(path).read("view/data.pkl")
    shape = re.search(rb"Q(q.)K\x00(\(K\x0eK\x04t)(\(K\x14K\x05t)", data, re.S)
    assert shape
    for offset, sizes, strides in ((-1, None, None), (30, None, None), (1 << 40, None, None), (0, (15, 5), None), (0, None, (22, 5)), (0, None, (20, -5)), (0, None, (1 << 62, 5)),
                                   (0, (1 << 62, 4), None), (-(1 << 62), None, None)):
        def change(n, d):
            if not n.endswith("/data.pkl"):
                return d
            size = b"(" + b"".join(map(number, sizes)) + b"t" if sizes else shape[2]
            stride = b"(" + b"".join(map(number, strides)) + b"t" if strides else shape[3]
            return d.replace(shape[0], b"Q" + shape[1] + number(offset) + size + stride)
        refused(rewritten(path, change, "beyond"))  # by LibTorch, or by what looks at it afterwards


class A(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.x = 1

    def forward(self, x: Tensor):
        return x + self.x


class B(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.p, self.q, self.r = 1, 2, 3

    def forward(self, x: Tensor):
        return x + self.r


class Holds(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = A(), B()

    def forward(self, x: Tensor):
        return self.b(self.a(x))


def test_objects_of_other_classes():
    path = saved(Holds(), "holds")
    cli("explain", path, "--input", "x=f32[4]", check=0)

    def change(n, d):  # the attribute b holds the object of a
        if not n.endswith("/data.pkl"):
            return d
        ops = list(pickletools.genops(d))
        start = next(i for i, (op, arg, at) in enumerate(ops) if arg == "b")
        first = next(i for i, (op, arg, at) in enumerate(ops) if arg == "a")
        build = next(at for op, arg, at in ops[first:] if op.name == "BUILD") + 1
        end = next(at for op, arg, at in ops[start:] if op.name == "BUILD") + 1
        put = next(at for op, arg, at in ops[start:] if op.name == "BINPUT")
        keep = d[build:build + 2]
        assert keep[:1] == b"q"
        return d[:put + 2] + b"h" + keep[1:2] + d[end:]
    refused(rewritten(path, change, "confused"), "attribute b is a", "is declared")


# ---------------------------------------------------------------- operators


class Leak(torch.nn.Module):
    def forward(self, x):
        return torch.ops.inductor._reinterpret_tensor(x, [16], [1], -8).clone()


class Write(torch.nn.Module):
    def forward(self, x):
        y = torch.ops.inductor._reinterpret_tensor(x, [4], [1], 1000000000)
        y.add_(1.0)
        return y + x


def test_operators_that_are_not_in_the_list():
    for module in (Leak(), Write()):
        name = type(module).__name__
        refused(saved(module, name), "inductor::_reinterpret_tensor may reach beyond the memory of its tensors", "--allow-unsafe-ops inductor::_reinterpret_tensor")
        path = SCRATCH / f"{name}.pt2"
        torch.export.save(torch.export.export(Leak(), (torch.ones(4),)), path)
        r = cli("compile", path, "-o", SCRATCH / "x.cierge")
        assert r.returncode == 3 and "inductor::_reinterpret_tensor" in r.stderr, r.stderr


def text(schema, call, inputs="%x: f32[4]", out="f32[4]"):
    path = SCRATCH / "op.cir"
    path.write_text(f'{schema}fn @main({inputs}) -> {out} {{\n  %0: {out} = {call}\n  return %0\n}}\n')
    return path


def test_at_load_too():
    """A file that was edited after it was compiled."""
    path = text('schema "inductor::resize_storage_bytes_(Tensor x, int n) -> Tensor"\n', "inductor.resize_storage_bytes_(%x, 64)")
    r = cli("compile", path, "-o", SCRATCH / "x.cierge")
    assert r.returncode == 3 and "inductor::resize_storage_bytes_" in r.stderr, r.stderr
    for call in ("aten._sparse_coo_tensor_unsafe(%i, %x, [4])", "aten._convert_indices_from_coo_to_csr(%i, 4)"):
        r = cli("explain", text("", call, "%x: f32[4], %i: i64[4]"))
        assert r.returncode == 3 and "may reach beyond" in r.stderr, r.stderr
    r = cli("compile", text("", "aten._nested_view_from_buffer_copy(%x, %i, %i, %i)", "%x: f32[4], %i: i64[4]"), "-o", SCRATCH / "l.cierge", "--allow-unsafe-ops", "aten::")
    assert r.returncode == 0, r.stderr
    np.savez(SCRATCH / "l.npz", x=np.zeros(4, np.float32), i=np.zeros(4, np.int64))
    r = cli("run", SCRATCH / "l.cierge", "--inputs", SCRATCH / "l.npz")
    assert r.returncode == 3 and "aten::_nested_view_from_buffer_copy" in r.stderr, r.stderr


class Fft(torch.nn.Module):
    def forward(self, x, n):
        return torch.view_as_real(torch.ops.aten._fft_c2c(torch.complex(x, x), [int(n[0].item())], 0, True)).sum()


class Norm(torch.nn.Module):
    def forward(self, x, n):
        w = torch.ones([int(n[0].item())])
        return torch.ops.aten._native_batch_norm_legit_no_training(x, w, w, w, w, 0.1, 1e-5)[0].sum()


class Untrained(torch.nn.Module):
    def forward(self, x, n):
        return torch.ops.aten.native_batch_norm(x, None, None, None, None, bool(n[0].item() == 3), 0.1, 1e-5)[0].sum()


class Attention(torch.nn.Module):
    def forward(self, x, n):
        q = x[:int(n[0].item())].reshape(1, 1, -1, 3)
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, q, q)[0].sum()


class Distances(torch.nn.Module):
    def forward(self, x, n):
        return torch.ops.aten._pdist_forward(x.reshape([int(n[0].item()), -1, 3]).squeeze(0), 2.0).sum()


class Packed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = torch.nn.LSTM(3, 3)

    def forward(self, x, n):
        h = torch.zeros(1, 2, 3)
        return torch.lstm(x, n, [h, h], [torch.ones(12, 3), torch.ones(12, 3), torch.ones(12), torch.ones(12)], True, 1, 0.0, False, False)[0].sum()


class Pools(torch.nn.Module):
    """Derivatives of pooling: the first number says where the largest of the last window lay."""

    def __init__(self, volume: bool):
        super().__init__()
        self.volume = volume

    def forward(self, x, n):
        at = torch.cat([torch.tensor([0]), n]).view(1, 1, 2)
        g = x[:1, :2].view(1, 1, 2)
        if self.volume:
            return torch.ops.aten.max_pool3d_with_indices_backward(g[None], x.view(1, 1, 4, 3), [1, 4, 1], [1, 4, 2], [0, 0, 0], [1, 1, 1], False, at[None]).sum()
        a = torch.ops.aten.max_pool2d_with_indices_backward(g, x.view(1, 4, 3), [4, 1], [4, 2], [0, 0], [1, 1], False, at)
        return a.sum() + torch.ops.aten.adaptive_max_pool2d_backward(g, x.view(1, 4, 3), at)[0, 3, 2] * 2


class Embedded(torch.nn.Module):
    def forward(self, x, n):
        return torch.ops.aten.embedding_dense_backward(x[:1], n, 5, -1, False)[4].sum()


def test_arguments_that_kernels_believe():
    """Each with an argument that its kernel takes, and with one that would lead it beyond its memory."""
    for module, good, bad in ((Fft(), [1], [1 << 20]), (Fft(), [0], [-2]), (Norm(), [3], [1]), (Norm(), [3], [0]), (Untrained(), [3], [1]), (Distances(), [1], [2]), (Attention(), [4], [0]),
                              (Packed(), [2, 2], [1 << 40, 2]), (Packed(), [2, 2], [-5, 9]), (Packed(), [2, 1, 1], [2, 1]),
                              (Pools(False), [11], [12]), (Pools(False), [0], [-2]), (Pools(True), [11], [12]), (Pools(True), [-1], [1 << 40]), (Embedded(), [4], [5]), (Embedded(), [0], [-1])):
        name = f"{type(module).__name__}{len(good)}{good[0]}{bad[0]}"
        path = saved(module, name)
        line = cli("blob", "-d", SCRATCH / f"{name}.blobs", path, check=0).stdout
        n = len(good)
        program = SCRATCH / f"{name}.cir"
        inputs = f"%x: f32[4, 3], %n: i64[{'s0' if n != len(bad) else n}]"
        program.write_text(f"{line}fn @main({inputs}) -> f32[] {{\n  %0: f32[] = torchop(%x, %n, script={line.split()[1]})\n  return %0\n}}\n".replace("fn @main", "sym s0 = 1..9\nfn @main" if n != len(bad) else "fn @main"))
        cli("compile", program, "-o", SCRATCH / f"{name}.cierge", check=0)
        x = torch.arange(12.0).reshape(4, 3)
        for values, code in ((good, 0), (bad, 3)):
            np.savez(SCRATCH / "b.npz", x=x.numpy(), n=np.array(values))
            r = cli("run", SCRATCH / f"{name}.cierge", "--inputs", SCRATCH / "b.npz", "--outputs", SCRATCH / "o.npz")
            assert r.returncode == code, (name, values, r.returncode, r.stderr)
            if not code:
                common.close(torch.from_numpy(np.load(SCRATCH / "o.npz")["output_0"]), module(x, torch.tensor(values)))


if __name__ == "__main__":
    common.main(globals())
