"""`pip install` as its users do it: into an empty environment, without torch and with it."""
import shutil
import sys
import zipfile

import common
import numpy
import torch
from common import as_user as run

ENV = common.SCRATCH / "env"
USE = """
import sys
import cierge
cierge.compile(sys.argv[1], output="from_python.cierge")
(y,) = cierge.load("from_python.cierge").context().run(3.0)
assert "torch" not in sys.modules and "numpy" not in sys.modules
print(cierge.__version__, cierge.__file__, y.shape)
"""


def wheel(name, *options, **env):
    folder = common.SCRATCH / name
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-cache-dir", "--disable-pip-version-check", "-w", folder, *options, common.ROOT, MAKEFLAGS="", **env)
    (path,) = folder.glob("cierge-*-py3-none-linux_*.whl")
    return path


def test_wheel():
    path = wheel("with_torch", "-C", f"cmake.define.B={common.BUILD}", CIERGE_LIBTORCH=torch.__path__[0])
    names = {n.split("/", 1)[1] for n in zipfile.ZipFile(path).namelist() if n.startswith("cierge/")}
    assert names == {"__init__.py", "__main__.py", "_model.py", "py.typed", "cierge", "libcierge.so", "libcierge_torch.so"}, names
    with zipfile.ZipFile(path) as z:
        for n in z.namelist():
            assert str(common.ROOT).encode() not in z.read(n) and torch.__path__[0].encode() not in z.read(n), f"{n} says where it was built"

    run(sys.executable, "-m", "venv", ENV)
    run(ENV / "bin/pip", "install", "-q", "--no-index", "--disable-pip-version-check", path)
    native = common.export(common.module(lambda x: x * 2.0 + 1), (torch.tensor(3.0, dtype=torch.float64),), "native")
    (common.SCRATCH / "use.py").write_text(USE)
    version, place, shape = run(ENV / "bin/python", "use.py", native).split()
    assert path.name.startswith(f"cierge-{version}-") and str(ENV) in place and shape == "()"
    assert run(ENV / "bin/cierge", "--version").split()[-1] == version == run(ENV / "bin/python", "-m", "cierge", "--version").split()[-1]

    # LibTorch is the torch that is installed beside it.
    (site,) = (ENV / "lib").glob("python3*/site-packages")
    torch_too = common.export(common.module(lambda x: x * 2), (torch.ones(3),), "torch_too")
    numpy.savez(common.SCRATCH / "in.npz", input_0=numpy.ones(3, "float32"))
    run(ENV / "bin/cierge", "compile", torch_too, "-o", "t.cierge", "--backends", "torch")
    said = run(ENV / "bin/cierge", "run", "t.cierge", "--inputs", "in.npz", code=4)
    assert "no package torch lies beside the plugin" in said, said
    (site / "torch").symlink_to(torch.__path__[0])
    assert "f32[3]" in run(ENV / "bin/cierge", "run", "t.cierge", "--inputs", "in.npz")


def test_without_torch():
    """As anybody builds it, from a copy without what make made."""
    names = wheel("without", CIERGE_LIBTORCH="none", CFLAGS="-O0", LTO="")
    assert "cierge/libcierge_torch.so" not in zipfile.ZipFile(names).namelist() and "cierge/libcierge.so" in zipfile.ZipFile(names).namelist()


if __name__ == "__main__":
    shutil.rmtree(ENV, ignore_errors=True)
    common.main(globals())
