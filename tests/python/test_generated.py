"""The C that is generated: names."""
import torch
import torch.nn.functional as F

import common  # finds cierge
import cierge


def run(path, *inputs):
    cierge.compile(path, f"{path}.cierge", require_native=True)
    return [torch.from_dlpack(t) for t in cierge.load(f"{path}.cierge").context(threads=1).run(*inputs)]


def test_names():
    """Two loops of one kernel that compute several places at a time; sizes named like variables."""
    def two(x):
        y = F.softmax(F.leaky_relu(F.pad(x, [40, 0], mode="replicate")), 0)
        return y.min(1)[0], F.gelu(y)
    for dtype in (torch.float16, torch.bfloat16):
        for n in (45, 64):
            torch.manual_seed(n)
            x = torch.randn(n, 1, 1).to(dtype)
            for got, want in zip(run(common.export(common.module(two), (x,), "two"), x), two(x)):
                common.close(got, want)
    names = ("threads", "int", "t0", "i0", "w")
    path = common.SCRATCH / "sizes.cir"
    path.write_text("".join(f"sym {s} = 1..100\n" for s in names) + "fn @main(%x: f32[{0}, {1}, {2}, {3}, {4}]) -> f32[{0}, {1}, {2}, {4}] {{\n"
                    "  %y = aten.mul.Tensor(%x, %x)\n  %z = aten.sum.dim_IntList(%y, dim=[3])\n  return %z\n}}\n".format(*names))
    x = torch.randn(2, 3, 4, 5, 6)
    common.close(run(path, x)[0], (x * x).sum(3))


if __name__ == "__main__":
    common.main(globals())
