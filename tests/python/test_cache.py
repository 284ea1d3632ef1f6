"""The cache of kernels and measurements: what is damaged, or what others could have written, is not used."""
import os
import pathlib
import re
import shutil
import stat

import common
from common import SCRATCH, cli

CACHE = SCRATCH / "kept"
ENV = {"CIERGE_CACHE": str(CACHE)}
MODEL = SCRATCH / "model.cir"
MODEL.write_text("fn @main(%x: f32[4, 64]) -> f32[4] {\n  %0 = aten.exp(%x)\n  %1 = aten.sum.dim_IntList(%0, [1])\n  return %1\n}\n")
OTHER = SCRATCH / "other.cir"
OTHER.write_text(MODEL.read_text().replace("aten.exp", "aten.relu"))
MARK = b"only an entry of the cache says this"
NOBODY = 65534


def artifact(model=MODEL, env=ENV):
    out = SCRATCH / "out.cierge"
    cli("compile", model, "-o", out, env=env, check=0)
    return out.read_bytes()


def parts(entry):
    """(content, key) of an entry's bytes"""
    size = int(re.search(rb"\n[0-9a-f]{32} ([0-9a-f]{16})\n$", entry)[1], 16)
    return entry[:-51 - size], entry[-51 - size:-51]


def fresh():
    """(the artifact as it should be, its entry's path, an entry as well formed whose use can be seen)"""
    if CACHE.is_symlink():
        CACHE.unlink()
    shutil.rmtree(CACHE, ignore_errors=True)
    good = artifact()
    entry, = CACHE.iterdir()
    content, key = parts(entry.read_bytes())
    assert content[:4] == b"\x7fELF" and common.cache_entry(content, key) == entry.read_bytes()
    return good, entry, common.cache_entry(content + MARK, key)


def test_what_a_compilation_leaves():
    good, entry, marked = fresh()
    assert stat.S_IMODE(CACHE.stat().st_mode) == 0o700 and stat.S_IMODE(entry.stat().st_mode) == 0o600
    before = entry.stat()
    assert artifact() == good and os.stat(entry).st_ino == before.st_ino
    entry.write_bytes(marked)
    assert MARK in artifact(), "a good entry is used: without this no test below says anything"
    assert artifact(env={"CIERGE_CACHE": "none"}) == good


def test_damage():
    good, entry, _ = fresh()
    whole = entry.read_bytes()
    content, key = parts(whole)
    damaged = [whole[:n] for n in (0, 3000, len(content), len(whole) - 1)] + [whole + b"\0"]
    for at in (5000, len(content) + 5, len(whole) - 40, len(whole) - 5):
        damaged.append(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
    for bad in damaged:
        entry.write_bytes(bad)
        assert artifact() == good
        assert entry.read_bytes() == whole, "it is replaced by a good one"


def test_an_entry_under_anothers_name():
    good, entry, _ = fresh()
    artifact(OTHER)
    other, = (p for p in CACHE.iterdir() if p != entry)
    whole = entry.read_bytes()
    entry.write_bytes(other.read_bytes())
    assert artifact() == good and entry.read_bytes() == whole
    content, key = parts(whole)  # what stands before and behind the border is another thing
    entry.write_bytes(whole[:-18] + b" %016x\n" % (len(key) - 1))
    assert artifact() == good


def test_what_others_can_write():
    for folder, file in ((0o770, 0o600), (0o1777, 0o600), (0o700, 0o606), (0o700, 0o620)):
        good, entry, marked = fresh()
        entry.write_bytes(marked)
        entry.chmod(file)
        CACHE.chmod(folder)
        assert artifact() == good, (oct(folder), oct(file))
        assert (entry.read_bytes() == marked) == (folder != 0o700), "nothing is written to such a folder"


def test_of_another_user():
    if os.geteuid():
        print("skipped: only root can give files away")
        return
    for what in ("folder", "file"):
        good, entry, marked = fresh()
        entry.write_bytes(marked)
        os.chown(CACHE if what == "folder" else entry, NOBODY, NOBODY)
        assert artifact() == good, what


def test_links_and_other_things():
    good, entry, marked = fresh()
    elsewhere = SCRATCH / "elsewhere.so"
    elsewhere.write_bytes(marked)
    entry.unlink()
    entry.symlink_to(elsewhere)
    assert artifact() == good and elsewhere.read_bytes() == marked and not entry.is_symlink()
    entry.unlink()
    os.mkfifo(entry)  # opening it must not hang
    assert artifact() == good and entry.is_file()
    entry.unlink()
    entry.mkdir()
    assert artifact() == good
    entry.rmdir()
    assert list(CACHE.iterdir()) == []
    entry.write_bytes(marked)
    real = SCRATCH / "real"
    shutil.rmtree(real, ignore_errors=True)
    CACHE.rename(real)
    CACHE.symlink_to(real)
    for folder in (CACHE, f"{CACHE}/", f"{CACHE}//"):
        assert artifact(env={"CIERGE_CACHE": str(folder)}) == good, folder
    assert MARK in artifact(env={"CIERGE_CACHE": f"{real}/"})
    CACHE.unlink()
    for nowhere in ("/proc/self", SCRATCH / "no/such/folder", MODEL):
        assert artifact(env={"CIERGE_CACHE": str(nowhere)}) == good


def test_home():
    good, _, _ = fresh()
    home = SCRATCH / "home"
    home.mkdir()
    env = {k: v for k, v in os.environ.items() if k != "CIERGE_CACHE"} | {"HOME": str(home)}
    os.environ.pop("CIERGE_CACHE", None)
    assert artifact(env=env) == good
    entry, = pathlib.Path(home, ".cache/cierge").iterdir()
    assert artifact(env={"HOME": ""}) == good


def test_measurements():
    """What `compile --tune` keeps is held to the same rule."""
    shutil.rmtree(CACHE, ignore_errors=True)
    model = SCRATCH / "linear.cir"
    model.write_text("fn @main(%x: f32[4, 64], %w: f32[64, 64]) -> f32[4, 64] {\n  %0 = aten.mm(%x, %w)\n  return %0\n}\n")
    tune = lambda: "cierge: tune: " in cli("compile", model, "-o", SCRATCH / "t.cierge", "--tune", env=ENV, check=0).stderr  # noqa: E731
    assert tune() and not tune()
    kept, = CACHE.glob("tune *.txt")
    whole = kept.read_bytes()
    kept.write_bytes(whole.replace(b"mm", b"mn", 1))
    assert tune() and not tune()
    kept.write_bytes(whole[:-1])
    assert tune() and not tune()
    kept.chmod(0o666)
    assert tune() and not tune()
    if not os.geteuid():
        os.chown(kept, NOBODY, NOBODY)
        assert tune() and not tune()
    CACHE.chmod(0o777)
    assert tune() and tune()


def test_two_that_measure_at_once():
    """What another one measured while this one did is kept beside what this one found."""
    shutil.rmtree(CACHE, ignore_errors=True)
    text = "fn @main(%x: f32[4, {0}], %w: f32[{0}, 64]) -> f32[4, 64] {{\n  %0 = aten.mm(%x, %w)\n  return %0\n}}\n"
    models = [SCRATCH / f"mm{n}.cir" for n in (64, 96)]
    for n, model in zip((64, 96), models):
        model.write_text(text.format(n))
    tune = lambda model, **env: "cierge: tune: " in cli("compile", model, "-o", SCRATCH / f"{model.stem}.cierge", "--tune", env={**ENV, **env}, check=0).stderr  # noqa: E731
    other = SCRATCH / "cc-that-waits"
    other.write_text(f"#!/bin/sh\n[ -e {SCRATCH}/once ] || {{ : > {SCRATCH}/once; CIERGE_CC=cc {common.CIERGE} compile {models[1]} -o {SCRATCH}/other.cierge --tune >&2; }}\nexec cc \"$@\"\n")
    other.chmod(0o755)
    assert tune(models[0], CIERGE_CC=str(other)) and (SCRATCH / "once").exists()
    assert not tune(models[0]) and not tune(models[1])


if __name__ == "__main__":
    common.main(globals())
