"""A third backend plugs in: tests/toy_backend/toy.c and one line in the table of backends (doc/adding-a-backend.md)."""
import re

import torch

import common
import variant
from common import SCRATCH, cli

variant.build("toy", ["src/backend/backend.c"], "-DCG_EXTRA_BACKEND=cg_backend_toy", "tests/toy_backend/toy.c")

TOY = ("--backends", "toy,c,torch", "--verify")


class Net(torch.nn.Module):
    def forward(self, x, y):
        a = torch.relu(x + y)                 # toy
        b = torch.relu(a.double() - 1)        # not float32: c
        return a * 2 - torch.relu(y), b, torch.linalg.svdvals(a)


def net():
    torch.manual_seed(0)
    inputs = torch.randn(3, 4), torch.randn(3, 4)
    inputs[0][0, 0] = float("nan")
    inputs[1][1, 1] = float("inf")
    return inputs, common.export(Net(), inputs, "net")


def regions(report):
    return sorted(r["backend"] for r in report["regions"])


def test_three_backends_share_a_program():
    inputs, path = net()
    inputs = tuple(torch.nan_to_num(t, posinf=1) for t in inputs)  # svdvals takes finite numbers only
    artifact, report = common.compile(path, *TOY)
    assert set(regions(report)) == {"toy", "c", "torch"}, regions(report)
    assert sum(r["nodes"] for r in report["regions"] if r["backend"] == "toy") == 2, report["regions"]
    common.np.savez(SCRATCH / "in.npz", x=inputs[0], y=inputs[1])
    cli("run", artifact, "--inputs", SCRATCH / "in.npz", "--outputs", SCRATCH / "out.npz", check=0)
    got = common.np.load(SCRATCH / "out.npz")
    for i, want in enumerate(Net()(*inputs)):
        common.close(got[f"output_{i}"], want)


def test_explain_and_the_text_say_who_took_what():
    _, path = net()
    text = cli("explain", path, *TOY, check=0).stdout
    assert re.search(r"^regions: .*in toy", text, re.M)
    assert re.search(r"svdvals .*toy: the toy knows relu only; c: ", text), text
    text = cli("compile", path, "-o", SCRATCH / "net.cierge", "--emit", "ir", *TOY, check=0).stdout
    toys = re.findall(r'fn @toy\S* .*backend="toy".*?\n}', text, re.S)
    nodes = [line for toy in toys for line in toy.splitlines() if " = " in line and "backend=" not in line]
    assert len(nodes) == 2 and all("f32" in n and "aten.relu" in n for n in nodes), text
    source = cli("compile", path, "-o", SCRATCH / "net.cierge", "--emit", "c", *TOY, check=0).stdout
    assert len(re.findall(r"int toy\d+_relu\(", source)) == 2, source


def test_only_where_it_is_asked_for():
    _, path = net()
    assert "toy" not in regions(common.compile(path)[1])


def test_sizes_that_are_not_numbers_go_to_the_next():
    class Relu(torch.nn.Module):
        def forward(self, x):
            return torch.relu(x)

    path = common.export(Relu(), (torch.randn(3, 4),), "dynamic", {"x": {0: torch.export.Dim("b", min=2, max=9)}})
    artifact, report = common.compile(path, *TOY)
    assert regions(report) == ["c"]
    x = torch.randn(5, 4)
    common.close(common.run_native(artifact, x=x)["output_0"], torch.relu(x))


def test_without_libtorch():
    class Relu(torch.nn.Module):
        def forward(self, x, y):
            return torch.relu(x + y)

    inputs, _ = net()
    artifact, report = common.compile(common.export(Relu(), inputs, "native"), "--require-native", *TOY)
    assert regions(report) == ["c", "toy"]
    common.close(common.run_native(artifact, x=inputs[0], y=inputs[1])["output_0"], Relu()(*inputs))


if __name__ == "__main__":
    common.main(globals())
