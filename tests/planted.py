"""What the sanitizers are there for is seen: kernels with a planted defect end their process with a report."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "python"))
import common  # noqa: E402
from common import SCRATCH, cli, np  # noqa: E402

# Sizes differ, so that no two operators share a kernel.
PROGRAM = """fn @main(%x: f32[16], %i: i64[15]) -> (f32[16], i64[15]) {
  %0: f32[16] = aten.sin(%x)
  %1: f32[16] = aten.cumsum(%0, dim=0)
  %2: f32[16] = aten.cumsum(%1, dim=0)
  %3: i64[15] = aten.bitwise_left_shift.Tensor(%i, %i)
  return %2, %3
}
"""


def planted(change):
    """Compiles with a compiler that changes the kernels' text by a sed command first, and runs. (exit code, report)"""
    cc = SCRATCH / "cc"
    cc.write_text(f"#!/bin/sh\nfor a; do case $a in */kernels?.c) sed -i '{change}' \"$a\";; esac; done\n"
                  f"exec {common.ROOT}/tests/sanitized-cc \"$@\"\n")
    cc.chmod(0o755)
    (SCRATCH / "p.cir").write_text(PROGRAM)
    np.savez(SCRATCH / "p.npz", x=np.ones(16, np.float32), i=8 * np.arange(15))
    quiet = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "", "CIERGE_CC": str(cc), "CIERGE_CACHE": "none"}
    cli("compile", SCRATCH / "p.cir", "-o", SCRATCH / "p.cierge", env=quiet, check=0)
    r = cli("run", SCRATCH / "p.cierge", "--inputs", SCRATCH / "p.npz", env=quiet)
    return r.returncode, r.stderr


def test_nothing_planted():
    assert planted("") == (0, ""), planted("")


def seen(change, report):
    code, text = planted(change)
    assert code and report in text, (code, text)


def test_intermediate_values():
    seen("/k0_sin_part(const/,/^}/s/out0\\[i0\\]/out0[i0 + 1]/", "AddressSanitizer: use-after-poison")
    seen("/int k1_cumsum/,/^}/s/in0\\[j\\]/in0[j + 1]/", "AddressSanitizer: use-after-poison")


def test_inputs():
    seen("/k0_sin_part(const/,/^}/s/in0\\[i0\\]/in0[i0 + 1]/", "AddressSanitizer: heap-buffer-overflow")


def test_undefined():
    seen("s/(uint64_t)b >= sizeof(int64_t) \\* 8/0/", "runtime error: shift exponent 64 is too large")


if __name__ == "__main__":
    common.main(globals())
