#!/usr/bin/env python3
"""Golden tests of error messages: for each area errors/AREA.py makes broken inputs and runs the program over them;
errors/AREA.txt is what it said. Every text of these parts of the source must be shown by one of them, or stand in
errors/unreached.txt with the reason why no test here can show it.

    errors.py [AREA…] [--bless] [--build DIR]
"""
import argparse
import concurrent.futures
import difflib
import importlib
import os
import pathlib
import re
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent / "errors"
ROOT = HERE.parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD", ROOT / "build"))
sys.path.insert(0, str(HERE))
AREAS = ["frontend", "compile", "artifact", "runtime", "cli"]
FOLDERS = [*AREAS, "arrays"]  # of src/: those whose texts must be shown


def expected_and_got(area, build, bless):
    """None, or what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        import kit
        files = kit.Files(folder)
        files.build, files.root = build, ROOT
        got = ""
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            batch = []
            for case in importlib.import_module(area).cases(files):
                batch.append(pool.submit(case.run, build / "cierge", files.folder))
                if case.alone:  # what follows needs what this one wrote
                    batch[-1].result()
            got = "".join(f.result() for f in batch)
    path = HERE / f"{area}.txt"
    if bless:
        path.write_text(got, "utf-8")
        return None
    want = path.read_text("utf-8")
    return None if got == want else "".join(difflib.unified_diff(want.splitlines(True), got.splitlines(True), "expected", "got"))


# ---------------------------------------------------------------- is every text shown

TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|#include[^\n]*|PRI[a-z]\d+|\n|\S', re.S)
CONVERSION = re.compile(r"%[-#+ 0-9.*]*(?:hh|h|ll|l|z|j)?([a-zA-Z%])")
ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}


def texts(source):
    """Line and text of each string literal that has words; neighbours are one."""
    line, start, text = 1, 0, None
    for m in TOKEN.finditer(source + "\n;"):
        t = m[0]
        if t[0] == '"':
            if text is None:
                start, text = line, ""
            text += t[1:-1]
        elif t.startswith("PRI") and text is not None:
            text += "d"
        elif t != "\n" and not t.startswith(("//", "/*")) and text is not None:
            if " " in text and re.search("[A-Za-z]", CONVERSION.sub("", re.sub(r"\\.", "", text))):
                yield start, text
            text = None
        line += t.count("\n")


def is_shown(text, lines):
    """Whether some line could be the format's result; of a text of several lines, each is looked for alone."""
    for a, b in ESCAPES.items():
        text = text.replace(a, b)
    for part in text.split("\n"):
        constant = [c for c in re.split("%%|" + CONVERSION.pattern.replace("([", "(?:[", 1), part)]
        longest = max(constant, key=len).strip()
        if not re.search("[A-Za-z]", longest):
            continue
        looks = re.compile(re.sub("\0+", lambda m: ".*?", re.escape(CONVERSION.sub(lambda m: "%" if m[1] == "%" else "\0", part.strip())).replace("\\\0", "\0")))
        if not any(longest in line and looks.search(line) for line in lines):
            return False
    return True


def unreached():
    """What unreached.txt lists: "file: text" each ("file: *": all of its texts), under lines that say why."""
    lines = (HERE / "unreached.txt").read_text("utf-8").splitlines()
    return [x.strip() for x in lines if x.startswith("  ")]


def coverage():
    shown = [line for a in AREAS for line in (HERE / f"{a}.txt").read_text("utf-8").splitlines()]
    listed, wrong = unreached(), []
    missing = []
    for folder in FOLDERS:
        for path in sorted((ROOT / "src" / folder).glob("*.c")):
            for line, text in texts(path.read_text("utf-8")):
                entry = f"{folder}/{path.name}: {text}".strip()
                if is_shown(text, shown):
                    continue
                all_of_it = f"{folder}/{path.name}: *"
                if all_of_it in listed:
                    entry = all_of_it
                missing.append(entry)
                if entry not in listed:
                    wrong.append(f"src/{folder}/{path.name}:{line}: no golden text shows this, and errors/unreached.txt does not list it: {text}")
    wrong += [f"errors/unreached.txt: a golden text shows this, or the source no longer has it: {x}" for x in listed if x not in missing]
    return "\n".join(wrong) or None


def run(build, bless, areas=()):
    """(passed, failed); areas: these, and not whether every text is shown."""
    passed = failed = 0
    for area in [*(areas or AREAS), *([] if areas else ["coverage"])]:
        wrong = coverage() if area == "coverage" else expected_and_got(area, build.resolve(), bless)
        passed, failed = passed + (wrong is None), failed + (wrong is not None)
        if wrong:
            print(f"FAILED errors/{area}:\n{wrong}")
    return passed, failed


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("areas", nargs="*", help=", ".join(AREAS))
    a.add_argument("--bless", action="store_true")
    a.add_argument("--build", type=pathlib.Path, default=BUILD)
    a = a.parse_args()
    passed, failed = run(a.build, a.bless, a.areas)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
