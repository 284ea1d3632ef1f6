"""Artifacts that are damaged, or that no compiler would write: what `cierge verify` says, and what loading them says."""
import subprocess

from kit import Case

LOADED = ["bad_no_kernels", "bad_another_kernel", "bad_kernels_that_are_no_object", "bad_another_processor"]  # sound until they are loaded


def cases(files):
    names = subprocess.run([files.build / "tests/plantool", "plans", files.folder], check=True, capture_output=True, text=True, timeout=60).stdout.split()
    for name in names:
        if name.startswith("bad_"):
            yield Case(name[4:].replace("_", " "), ["run" if name in LOADED else "verify", f"{name}.cierge"])
    yield Case("no temporary file for kernels", ["run", "bad_kernels_that_are_no_object.cierge"], {"TMPDIR": "/nowhere"})
    for path in sorted(files.folder.glob("file_*.cierge")):
        yield Case(f"file: {path.stem[5:].replace('_', ' ')}", ["verify", path.name])
    yield Case("a folder", ["verify", "."])
    yield Case("no file", ["verify", "nowhere.cierge"])
    yield Case("a sound one", ["verify", "good.cierge"], out=True)
    yield Case("what a sound one says of itself", ["inspect", "signature.cierge"], out=True)
    yield Case("inputs that it changes", ["inspect", "reshaping.cierge"], out=True)
    yield Case("state and needs", ["inspect", "good.cierge"], out=True)
    for name in ("divide_by_number", "late_size", "too_much_memory"):
        yield Case(f"memory of {name}", ["inspect", f"{name}.cierge"], out=True)
    for name in ("script", "kernel_code", "loop", "scan", "torch_fail", "torch_newer", "torch_between", "torch_late", "torch_custom"):
        yield Case(f"needs of {name}", ["inspect", f"{name}.cierge"], out=True)
