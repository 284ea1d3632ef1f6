"""What is said of a TorchScript program's inputs: types, examples, sizes; and programs that are refused."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import numpy as np
import torch
from common import SCRATCH, cli, close, main
from torch import Tensor, nn
from torchscript import check, compiled, declared, refused, run, same, save

import cierge

HERE = pathlib.Path(__file__).name


def add(x: Tensor, y: Tensor):
    return x + y


def scaled(x: Tensor, by: int, half: float, negate: bool):
    y = x * by + half
    return -y if negate else y


def test_inputs_that_are_not_known():
    refused(add, ["f32[2]", ""], "the type of input y (Tensor) is not known", "--inputs FILE", "--input 'y=f32[…]'")
    refused(add, ["f32[2]", "int"], "input y is Tensor in the program: 'int' is no tensor")
    refused(add, ["f32[2]", "3"], "input y is Tensor in the program: '3' is a number")
    refused(add, ["f32[2]", "f31[2]"], "input y: ")
    refused(add, ["f32[2]", "f32[2]"], "the program has no input z: it takes x, y", options=["--input", "z=f32[2]"])
    refused(add, ["f32[2]", "f32[2]"], "--input 'z': it reads like", code=2, options=["--input", "z"])
    refused(scaled, ["f32[2]", "f32[2]", "0.5", "true"], "input by is int in the program: 'f32[2]' is a tensor")
    refused(scaled, ["f32[2]", "2.5", "0.5", "true"], "input by is int in the program: '2.5' is a number")
    refused(scaled, ["f32[2]", "2", "0.5", "1"], "input negate is bool in the program: '1' is a number")


def test_arguments_that_never_fit():
    """A call that cannot go well is PyTorch's to refuse, when it is reached."""
    artifact, _ = compiled(save(torch.jit.script(add), "never"), ["f32[2]", "f32[3]"])
    try:
        run(artifact.context(), (torch.ones(2), torch.ones(3)))
        raise AssertionError("no error")
    except cierge.Error as e:
        assert e.exit_code == 3 and "must match the size of tensor b" in str(e) and HERE in str(e), e


def test_types_by_example():
    """Tensors give their types; numbers are constants of the program, as torch.export makes them, unless --input says otherwise."""
    path = save(torch.jit.script(scaled), "by_example")
    x = torch.randn(2, 3)
    for negate in (False, True):
        np.savez(SCRATCH / "example.npz", x=x.numpy(), by=np.array(3), half=np.array(0.5), negate=np.array(negate))
        for more, constants in (((), 3), (("--input", "by=int"), 2)):
            cli("compile", path, "-o", path.with_suffix(".cierge"), "--inputs", SCRATCH / "example.npz", *more, check=0)
            program = cierge.load(path.with_suffix(".cierge"))
            assert sum(i.constant is not None for i in program.inputs) == constants
            cli("run", path.with_suffix(".cierge"), "--inputs", SCRATCH / "example.npz", "--outputs", SCRATCH / "result.npz", check=0)
            close(np.load(SCRATCH / "result.npz")["output_0"], scaled(x, 3, 0.5, negate))
        np.savez(SCRATCH / "example.npz", x=x.numpy(), by=np.array(4), half=np.array(0.5), negate=np.array(negate))
        cli("run", path.with_suffix(".cierge"), "--inputs", SCRATCH / "example.npz", "--outputs", SCRATCH / "result.npz", check=0)
        close(np.load(SCRATCH / "result.npz")["output_0"], scaled(x, 4, 0.5, negate))


def found(x: Tensor, y: Tensor):
    return torch.nonzero(x)[:, 0].float() + y


def halves(x: Tensor):
    return x.view(2, -1)


def test_sizes_that_types_took_for_granted():
    """A size that appears at run time is taken as no 1 to be stretched: asserted where PyTorch would stretch it, an error where it would."""
    x, y = torch.ones(3), torch.arange(3.)
    two, one = torch.tensor([0., 1, 1]), torch.tensor([0., 0, 1])
    check(torch.jit.script(found), (x, y), name="found", raises=[(two, y)])
    for options in ({"min_region": 5}, {"no_cost_drop": True}, {"backends": "torch"}):  # wherever the tensor of the size is computed
        same(run(compiled(save(torch.jit.script(found), "found"), [declared(x), declared(y)], **options)[0].context(), (x, y)), found(x, y))
    context = compiled(save(torch.jit.script(found), "found"), [declared(x), declared(y)])[0].context()
    for given in ((one, y),):
        try:
            run(context, given)
            raise AssertionError("no error")
        except cierge.Error as e:
            assert e.exit_code == 3 and "sizes of tensors that meet differ" in str(e) and HERE in str(e), e
    check(torch.jit.script(add), (x, y), name="meet", types=["f32[s0]", "f32[3]"], raises=[(torch.ones(2), y)], torch_nodes=0)
    check(torch.jit.script(halves), (torch.ones(4, 3),), (torch.ones(8, 3),), name="halves", types=["f32[s0, 3]"], raises=[(torch.ones(3, 3),)])


def stores(x: Tensor):
    torch.save(x, "/tmp/x.pt")
    return x


def reads(x: Tensor):
    return x + torch.from_file("/etc/hostname", False, 2, dtype=torch.float32)


def test_unsafe_programs():
    for f in (stores, reads):
        refused(f, ["f32[2]"], "aten::" + {"stores": "save", "reads": "from_file"}[f.__name__], "--allow-unsafe-ops")


def stores_and_reads(x: Tensor):
    torch.save(x, "f")
    y = x + torch.from_file("/etc/hostname", False, 2, dtype=torch.float32)
    torch.save(y, "g")
    return y


def test_all_unsafe_operators_at_once():
    line = stores_and_reads.__code__.co_firstlineno
    refused(stores_and_reads, ["f32[2]"], f"test_torchscript_inputs.py:{line + 1}: aten::save writes a file, ", f"test_torchscript_inputs.py:{line + 2}: aten::from_file maps a file, which",
            "--allow-unsafe-ops aten::save,aten::from_file allows them")


class Buffered(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(6))

    def forward(self, x: Tensor):
        return x + self.total


def test_damaged_archives():
    """A byte that changed, an archive that is cut off: an error of this program's own reader, before LibTorch sees it."""
    path = save(torch.jit.script(Buffered()), "damaged")
    whole = path.read_bytes()
    for k, data in enumerate([whole[:200], whole[:-30], whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1:]]):
        bad = SCRATCH / f"damaged-{k}.pt"
        bad.write_bytes(data)
        r = cli("compile", bad, "-o", SCRATCH / "damaged.cierge", "--input", "x=f32[4, 6]")
        assert r.returncode == 3 and r.stderr.startswith("cierge: "), (k, r.returncode, r.stderr)


class Rows(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor):
        flat = x.view(-1, 4)
        if x.shape[0] == 0:
            flat = flat + 1
        image = torch.relu(self.norm(self.conv(x)))
        return (flat.mean(), flat.mean(0), flat.sum(0), flat.prod(), flat.softmax(0), flat.softmax(1), flat.cumsum(0), flat.t() @ flat, image.flatten(1),
                torch.cat([flat, flat * 2]), flat.logsumexp(0), flat.var(0), x[:1])


def greatest(x: Tensor):
    return x.max(0)[0]


def test_no_rows():
    """A size by name is 0 or more, as in PyTorch; what PyTorch refuses of 0 is refused in the call."""
    model = Rows().eval()
    for program in torch.jit.script(model), torch.jit.trace(model, torch.randn(3, 2, 4, 4)):
        context = compiled(save(program, "rows"), ["f32[s0, 2, 4, 4]"])[0].context()
        for n in 0, 1, 3:
            x = torch.randn(n, 2, 4, 4)
            for a, b in zip(map(torch.from_dlpack, context.run(x)), program(x)):
                torch.testing.assert_close(a, b, equal_nan=True)
    context = compiled(save(torch.jit.script(greatest), "greatest"), ["f32[s0, 4]"])[0].context()
    close(torch.from_dlpack(context.run(torch.ones(2, 4))[0]), torch.ones(4))
    try:
        context.run(torch.ones(0, 4))
        raise AssertionError("no error")
    except cierge.Error as e:
        assert "expects elements along dimension 0" in str(e), e


if __name__ == "__main__":
    main(globals())
