"""Conjugation and negation that PyTorch puts off: values are what they mean, whichever copies of the program are left out."""
import common
import torch
from common import SCRATCH, close, export, module

import cierge

VIEW = torch.view_as_real


def written(x):
    y, z, n = x.clone(), x.clone(), x.clone()
    y.conj().imag.mul_(3)
    c = z.conj()
    c.add_(1j)
    torch._neg_view(n.real).add_(1)
    return y, z, c, n


def complexes(c, r):
    """Copies behind a lazy result, views of bits behind a copy, writes through lazy views, results of composites that are lazy."""
    return (VIEW(c.conj().resolve_conj()), VIEW(c.conj().clone()), c.conj().imag, c.conj().imag + 1, c.conj().imag.resolve_neg() + 0,
            c.mH @ c, VIEW(c.H.contiguous()), VIEW(c.adjoint().clone()), VIEW(torch.fft.ifft(r).resolve_conj()), torch.fft.ifft(r),
            VIEW(torch.svd(c)[2].resolve_conj()).abs(), torch._neg_view(c), torch.view_as_complex(c.conj().imag.resolve_neg().reshape(3, 2, 2)),
            VIEW(torch.cat([c.conj(), c])), VIEW(c.conj()[::2].contiguous()), VIEW(c.conj().to(torch.complex64, copy=True)), c.conj(),
            torch.vdot(c[0].conj(), c[1]), torch.einsum("ij,ik->jk", c.conj(), c), VIEW(c.conj_physical()), c.real.contiguous(), *written(c))


def bits(c, r):
    """Bits taken for another type, behind a copy that changed only strides."""
    return (torch.view_as_complex(r[:, :2].contiguous()), c.clone().view(torch.float32),
            r.t().contiguous().view(torch.int16), c.conj().clone().view(torch.float32))


def reals(r, i):
    return (torch._neg_view(r), torch._neg_view(torch._neg_view(r)) + 1, torch._neg_view(i), torch.ops.aten._neg_view(i.to(torch.int8)), r.conj() + 1,
            torch.conj_physical(r), torch.real(r) * 2, r.resolve_neg() + r.resolve_conj())


def plain(values):
    return [v.detach().resolve_conj().resolve_neg().clone() for v in values]


def agree(path, inputs, want, **options):
    cierge.compile(path, output=path.with_suffix(".cierge"), **options)
    got = [torch.from_dlpack(t) for t in cierge.load(path.with_suffix(".cierge")).context().run(*inputs)]
    for k, (g, w) in enumerate(zip(got, plain(want), strict=True)):
        torch.testing.assert_close(g, w, msg=lambda m: f"output {k} {options}: {m}")


def arguments():
    torch.manual_seed(0)
    return torch.randn(3, 4, dtype=torch.complex64), torch.randn(3, 4)


def test_exported():
    c, r = arguments()
    for f, inputs in ((complexes, (c, r)), (bits, (c, r)), (reals, (r, torch.tensor([0, 1, 255], dtype=torch.uint8)))):
        for functional in (False, True):
            path = export(module(f), inputs, f.__name__, functional=functional)
            want = torch.export.load(path).module()(*inputs)
            agree(path, inputs, want)
            agree(path, inputs, want, backends="torch")
            agree(path, inputs, want, backends="torch", torch_mode="script")


def test_traced():
    c, r = arguments()
    path = SCRATCH / "lazy.pt"
    torch.jit.save(torch.jit.trace(module(complexes), (c, r), check_trace=False), path)
    agree(path, (c, r), torch.jit.load(path)(c, r), input=["c=c64[3,4]", "r=f32[3,4]"])


def test_inputs():
    path = export(module(lambda r: r * 2), (torch.ones(3),), "lazy_input")
    cierge.compile(path, output=path.with_suffix(".cierge"))
    context = cierge.load(path.with_suffix(".cierge")).context()
    close(context.run(torch._neg_view(torch.ones(3)))[0], torch.full((3,), -2.0))


if __name__ == "__main__":
    common.main(globals())
