"""An elementwise operator is one row in one table: tests/extra_op/extra_ops.def is that row, for an operator that neither
PyTorch nor cierge has, and nothing else is told of it (doc/adding-an-op.md)."""
import re

import torch

import common
import variant
from common import SCRATCH, cli

variant.build("extra", ["src/ops/op.c"], """-DCG_EXTRA_OPS='"../tests/extra_op/extra_ops.def"'""")

PROGRAM = """schema "user::swish2(Tensor self, Scalar beta=1) -> Tensor"
sym s0 = 2..64 hint 8

fn @main(%x: f32[s0, 6], %y: f32[6]) {
  %0 = aten.mul.Tensor(%x, %y)
  %1 = user.swish2(%0, beta=1.5)
  %2 = aten.add.Tensor(%1, %x)
  %3 = user.swish2(%2)
  return %3
}
"""


def swish2(x, beta=1.0):
    return x / (1 + torch.exp(-beta * x))


def program():
    path = SCRATCH / "swish.cir"
    path.write_text(PROGRAM)
    return path


def test_the_table_is_read():
    rows = cli("ops", check=0).stdout.splitlines()
    keys = [row.split()[0] for row in rows]
    assert keys == sorted(keys) and len(set(keys)) == len(keys)  # rows are found by binary search
    row = next(row for row in rows if row.startswith("user::swish2 "))
    assert "native" in row and "rule" in row and "pointwise" in row, row


def test_text_and_type_inference():
    text = cli("compile", program(), "-o", SCRATCH / "a.cierge", "--dump-after", "infer", "--verify", check=0).stderr
    assert "%1: f32[s0, 6] = user.swish2(%0, beta=1.5)" in text, text
    assert "%3: f32[s0, 6] = user.swish2(%2)" in text, text  # the default is left out again
    again = SCRATCH / "again.cir"
    again.write_text(text)
    read = cli("compile", again, "-o", SCRATCH / "a.cierge", "--dump-after", "infer", check=0).stderr
    assert read.splitlines()[1:] == text.splitlines()[1:], read  # the first line names the file


def test_one_kernel_and_right_numbers():
    artifact, report = common.compile(program(), "--require-native")
    assert [r["backend"] for r in report["regions"]] == ["c"]
    assert re.search(r"native kernels: 1$", cli("inspect", artifact, check=0).stdout, re.M)
    source = cli("compile", program(), "-o", SCRATCH / "b.cierge", "--emit", "c", check=0).stdout
    assert len(re.findall(r"^__attribute__.* int k\d+_\w*swish2", source, re.M)) == 1, source
    for rows in (2, 33):
        x, y = torch.randn(rows, 6), torch.randn(6)
        x[0, :5] = torch.tensor([float("inf"), float("-inf"), float("nan"), -0.0, 88.0])
        got = common.run_native(artifact, x=x, y=y)["output_0"]
        common.close(got, swish2(swish2(x * y, 1.5) + x))


def test_other_dtypes():
    for dtype, name in ((torch.float64, "f64"), (torch.int64, "i64")):
        path = SCRATCH / f"{name}.cir"
        path.write_text('schema "user::swish2(Tensor self, Scalar beta=1) -> Tensor"\n'
                        f"fn @main(%x: {name}[7]) {{\n  %0 = user.swish2(%x, beta=2)\n  return %0\n}}\n")
        x = (torch.randn(7, dtype=torch.float64) * 3).to(dtype)
        got = common.run_native(common.compile(path, "--require-native")[0], x=x)["output_0"]
        common.close(got, swish2(x if dtype.is_floating_point else x.float(), 2))


def test_from_a_pytorch_program():
    @torch.library.custom_op("user::swish2", mutates_args=())
    def op(self: torch.Tensor, beta: float) -> torch.Tensor:
        return swish2(self, beta)

    @op.register_fake
    def _(self, beta):
        return torch.empty_like(self)

    class Net(torch.nn.Module):
        def forward(self, x):
            return op(x.transpose(0, 1) * 2, 0.5).sum(0)

    x = torch.randn(5, 9)
    # LibTorch has never heard of it; without LibTorch the importer takes what a functional program says of the operator.
    path = common.export(Net(), (x,), "swish", functional=True)
    artifact, _ = common.compile(path, "--require-native", env={"CIERGE_LIBTORCH": "none"})
    common.close(common.run_native(artifact, x=x)["output_0"], Net()(x))


if __name__ == "__main__":
    common.main(globals())
