"""The binary interface of both libraries is that of tests/abi.txt, by the rule of doc/c-api.md.

`test_abi.py --write` writes the file anew: what is added to it may be added under the same soname; a line that changes or
goes wants another ABI in the Makefile."""
import re
import subprocess
import sys

import common

FILE = common.ROOT / "tests/abi.txt"


def interface():
    program = common.SCRATCH / "abi"
    subprocess.run(["cc", "-I", common.ROOT / "include", common.ROOT / "tests/abi.c", "-o", program], check=True)
    out = []
    for name in ("libcierge_rt", "libcierge"):
        read = lambda tool, *words: subprocess.run([tool, *words, common.BUILD / f"{name}.so"], capture_output=True, text=True, check=True).stdout  # noqa: E731
        out.append(f"library {re.search(r'SONAME.*[[](.*)[]]', read('readelf', '-d'))[1]}")
        out += sorted(f"  {line.split()[-1]}" for line in read("nm", "-D", "--defined-only").splitlines())
    return "\n".join(out) + "\n" + subprocess.run([program], capture_output=True, text=True, check=True).stdout


def test_interface_is_the_recorded_one():
    kept, now = FILE.read_text().splitlines(), interface().splitlines()
    gone, new = [line for line in kept if line not in now], [line for line in now if line not in kept]
    assert not gone, f"programs rely on this, which is gone or changed: {gone}, now {new}: another soname (ABI in the Makefile), then test_abi.py --write"
    assert kept == now, f"new: {new}: test_abi.py --write"


def test_every_function_of_the_header_is_exported():
    header = (common.ROOT / "include/cierge/cierge.h").read_text()
    declared = set(re.findall(r"CIERGE_API [\w *]*?\b(cierge_\w+)\(", header))
    exported = {line.strip() for line in interface().split("library libcierge.so")[1].splitlines() if line.startswith("  cierge_")}
    assert declared == exported, declared ^ exported


def test_version_is_said_once():
    header = (common.ROOT / "include/cierge/cierge.h").read_text()
    numbers = [re.search(rf"CIERGE_VERSION_{part} (\d+)", header)[1] for part in ("MAJOR", "MINOR", "PATCH")]
    assert re.search(r'CIERGE_VERSION "(.*)"', header)[1] == ".".join(numbers)


if __name__ == "__main__":
    if "--write" in sys.argv:
        FILE.write_text(interface())
    common.main(globals())
