#!/usr/bin/env python3
"""Golden tests of the IR's text: each tests/golden/*.txt holds a program and what the compiler makes of it.

    // run: print               or `pass NAME …`: the words for build/tests/irtool, on the first line
    …the program…
    // expect:                  or `// expect 3:` where irtool must fail with this exit code
    …the output…

    run.py                      runs all; run.py FILE… runs these
    run.py --bless              writes what came out as what is expected (read the diff)
    run.py --tool PATH          another irtool
For `// run: print` that succeeds, the output is read and printed once more, and must not change.
Without files, errors.py runs too: the messages of everything that does not work on texts.
"""
import argparse
import difflib
import pathlib
import re
import subprocess
import sys
import tempfile

import errors

here = pathlib.Path(__file__).resolve().parent
EXPECT = re.compile(r"^// expect(?: (\d+))?:\n", re.M)


def run(tool, words, path):
    p = subprocess.run([tool, *words, path], capture_output=True, timeout=60)
    return p.returncode, p.stdout.decode("utf-8", "replace") + p.stderr.decode("utf-8", "replace")


def difference(expected, got):
    return "".join(difflib.unified_diff(expected.splitlines(True), got.splitlines(True), "expected", "got"))


def check(tool, path, bless):
    """None, or what is wrong."""
    text = path.read_text("utf-8")
    first = re.match(r"// run: (\S.*)\n", text)
    if not first:
        return "the first line is not `// run: …`"
    words = first[1].split()
    mark = EXPECT.search(text)
    program = text[: mark.start()] if mark else text.rstrip("\n") + "\n"
    code, out = run(tool, words, path)
    if bless:
        path.write_text(program + ("// expect:\n" if code == 0 else f"// expect {code}:\n") + out, "utf-8")
    elif not mark:
        return "it has no `// expect:`: run with --bless, and read what that wrote"
    elif code != int(mark[1] or 0) or out != text[mark.end() :]:
        return f"exit code {code}\n" + difference(text[mark.end() :], out)
    if words == ["print"] and code == 0:
        with tempfile.TemporaryDirectory() as d:
            again = pathlib.Path(d, path.name)
            again.write_text(out, "utf-8")
            if run(tool, words, again) != (0, out):
                return "printing what was printed gives something else\n" + difference(out, run(tool, words, again)[1])
    return None


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("files", nargs="*", type=pathlib.Path)
    a.add_argument("--bless", action="store_true")
    a.add_argument("--tool", default=str(errors.BUILD / "tests/irtool"))
    a = a.parse_args()
    passed = failed = 0
    for path in a.files or sorted(here.glob("*.txt")):
        wrong = check(a.tool, path, a.bless)
        passed, failed = passed + (wrong is None), failed + (wrong is not None)
        if wrong is not None:
            print(f"FAILED {path.name}: {wrong}")
    if not a.files:
        more = errors.run(pathlib.Path(a.tool).resolve().parents[1], a.bless)
        passed, failed = passed + more[0], failed + more[1]
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
