"""What the documents quote is there: files of the tour, rows of the table, code of the examples."""
import pathlib
import re

import common

DOC = common.ROOT / "doc"


def text(name):
    return (DOC / name).read_text()


def test_links_lead_somewhere():
    for page in DOC.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (DOC / target).exists(), f"{page.name}: {target}"


def test_tour_names_every_file():
    named, roots = set(), []
    for line in text("tour.md").splitlines():
        if line.startswith("#"):
            roots = re.findall(r"`([\w/]+)/`", line)
        elif line.startswith("- "):
            for file in re.findall(r"`([\w./-]+)`", line.split(":")[0]):
                found = [r for r in roots if (common.ROOT / r / file).exists()]
                assert found, f"no such file: {file} in {roots}"
                named.update(str(pathlib.Path(r, file)) for r in found)
    there = [p for folder in ("src", "plugin") for p in (common.ROOT / folder).rglob("*.*") if p.is_file()]
    missing = sorted(str(p.relative_to(common.ROOT)) for p in there if str(p.relative_to(common.ROOT)) not in named)
    assert not missing, f"not in the tour: {missing}"


def test_rows_and_code_are_quoted_as_they_are():
    ops = (common.ROOT / "src/ops/ops.def").read_text() + (common.ROOT / "tests/extra_op/extra_ops.def").read_text()
    rows = re.findall(r'^[A-Z_]+\("[a-z]+::.*$', text("adding-an-op.md"), re.M)
    assert len(rows) >= 6 and all(r in ops for r in rows), [r for r in rows if r not in ops]
    for page, files in (("adding-an-op.md", ["src/ops/lower_view.c", "src/ops/decompose_misc.c"]), ("adding-a-backend.md", ["tests/toy_backend/toy.c"]),
                        ("c-api.md", ["examples/run.c"])):
        source = "".join((common.ROOT / f).read_text() for f in files)
        for block in re.findall(r"```c\n(.*?)```", text(page), re.S):
            lines = [line for line in block.splitlines() if line.strip() and "…" not in line]
            if lines[0] in source:  # a quotation, not code of its own
                assert all(line in source for line in lines), [line for line in lines if line not in source]


def test_codes_are_all_there():
    header = (common.ROOT / "include/cierge/cierge.h").read_text()
    for name, code in re.findall(r"^  XX\((\w+), (\d)", header, re.M):
        row = next(r for r in text("c-api.md").splitlines() if f"`CIERGE_{name}`" in r)
        assert f"| {code} |" in row, row


if __name__ == "__main__":
    common.main(globals())
