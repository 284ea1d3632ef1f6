"""Whole models, both dialects: fully native, run where there is no LibTorch, any batch size, PyTorch's results."""
import os

import torch

import common
import models

os.environ.setdefault("CIERGE_LIB_DIR", str(common.BUILD))
import cierge  # noqa: E402

Dim = torch.export.Dim


def native(model, inputs, name, dynamic, others):
    """Compiles both dialects with --require-native and compares at several sizes."""
    torch.manual_seed(0)
    for functional in (False, True):
        path = common.export(model, inputs, name, dynamic, functional)
        artifact, report = common.compile(path, "--require-native", env={"CIERGE_LIBTORCH": "none"})
        assert report["nodes"]["torch"] == 0, report
        for x in (inputs, *others):
            with torch.no_grad():
                want = model(*x)
            got = common.run_native(artifact, **{f"input_{i}": t.numpy() for i, t in enumerate(x)})
            common.close(got["output_0"], want)


def test_mlp():
    torch.manual_seed(1)
    native(models.MLP().eval(), (torch.randn(4, 37),), "mlp", {"x": {0: Dim("n", min=1, max=512)}}, [(torch.randn(n, 37),) for n in (1, 7, 130)])


def test_cnn():
    torch.manual_seed(2)
    native(models.CNN().eval(), (torch.randn(2, 3, 30, 26),), "cnn", {"x": {0: Dim("n", min=1, max=64)}}, [(torch.randn(n, 3, 30, 26),) for n in (1, 5)])


def test_bert_of_another_width():
    torch.manual_seed(3)

    def tokens(batch, length):
        mask = torch.ones(batch, length, dtype=torch.int64)
        mask[0, length // 2:] = 0
        return torch.randint(0, 500, (batch, length)), mask

    dims = {0: Dim("batch", min=1, max=32), 1: Dim("length", min=2, max=64)}
    native(models.bert().eval(), tokens(2, 10), "bert", {"ids": dims, "mask": dims}, [tokens(1, 5), tokens(4, 33)])


def test_state():
    for functional in (False, True):
        model = models.Counter()
        path = common.export(model, (torch.randn(4, 3),), "counter", functional=functional)
        artifact, _ = common.compile(path)
        x = torch.randn(4, 3)
        model.total.zero_()
        with torch.no_grad():
            want = [model(x).clone() for _ in range(3)]
        context = cierge.load(artifact).context()
        for _ in range(2):
            for w in want:
                common.close(torch.from_dlpack(context.run(x)[0]), w)
            context.reset()


def test_branches_and_nested_outputs():
    from torch.utils import _pytree as pytree
    model = models.Branchy().eval()
    for functional in (False, True):
        path = common.export(model, (torch.randn(5, 4),), "branchy", {"x": {0: Dim("n", min=2, max=64)}}, functional)
        artifact, _ = common.compile(path)
        context = cierge.load(artifact).context()
        for x in (torch.randn(5, 4), -torch.ones(3, 4), torch.ones(9, 4)):
            want = pytree.tree_leaves(model(x), is_leaf=lambda v: v is None)
            got = context.run(x)
            assert len(got) == len(want)
            for g, w in zip(got, want):
                assert (g is None) == (w is None)
                if w is not None:
                    common.close(torch.from_dlpack(g), w)


def test_while_loop():
    model = models.Loop().eval()
    for functional in (False, True):
        path = common.export(model, (torch.randn(3), torch.tensor(4)), "loop", functional=functional)
        context = cierge.load(common.compile(path)[0]).context()
        for n in (0, 1, 7):
            x = torch.randn(3)
            for got, want in zip(context.run(x, torch.tensor(n)), model(x, torch.tensor(n))):
                common.close(torch.from_dlpack(got), want)


def test_example_program_with_threads():
    import subprocess
    path = common.export(models.MLP(), (torch.randn(4, 37),), "mlp_example", {"x": {0: Dim("n", min=1, max=512)}})
    out = subprocess.run([common.BUILD / "examples" / "run", common.compile(path)[0]], capture_output=True, text=True, timeout=60)
    assert out.returncode == 0 and out.stdout.count("batch 2") == 2 and out.stdout.count("batch 5") == 2, out


def test_x87_stays_usable():
    """Kernels leave the caller's long double arithmetic alone, also those for processors without AVX."""
    for shape in ((5,), (5, 5), (3, 9)):
        x = torch.randn(shape)
        path = common.export(Softmaxes(), (x,), "softmaxes")
        artifact, _ = common.compile(path, "--require-native", "--target", "x86-64-v2", env={"CIERGE_LIBTORCH": "none"})
        context = cierge.load(artifact).context()
        for _ in range(3):
            got = [torch.from_dlpack(t) for t in context.run(x)]
            assert common.np.longdouble(2) + common.np.longdouble(1) == 3
        for g, w in zip(got, Softmaxes()(x)):
            common.close(g, w)


class Softmaxes(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x, 0), torch.log_softmax(x, -1)


if __name__ == "__main__":
    common.main(globals())
