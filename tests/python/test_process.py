"""The program among others: the terminal, PATH, outputs that are full, C compilers that fail, signals."""
import os
import pathlib
import signal
import subprocess
import time

import numpy as np
import torch

import common
import models
from common import CIERGE, SCRATCH, cli


def test_found_by_path():
    """The plugin lies beside the program, however that was found."""
    (SCRATCH / "svd.cir").write_text("fn @main(%x: f32[3, 2]) {\n  %0: f32[2] = aten.linalg_svdvals(%x)\n  return %0\n}\n")
    np.savez(SCRATCH / "svd.npz", x=np.eye(3, 2, dtype=np.float32))
    env = {**os.environ, "PATH": f"{pathlib.Path(CIERGE).resolve().parent}:{os.environ['PATH']}"}
    for command in (["compile", "svd.cir", "-o", "svd.cierge"], ["run", "svd.cierge", "--inputs", "svd.npz", "--outputs", "svd-out.npz"]):
        r = subprocess.run(["cierge", *command], cwd=SCRATCH, env=env, capture_output=True, text=True, timeout=60)
        assert r.returncode == 0, r.stderr
    common.close(np.load(SCRATCH / "svd-out.npz")["output_0"], np.ones(2, np.float32))


def on_terminal(*words):
    """(exit code, what is read from the terminal that stderr is)."""
    main, terminal = os.openpty()
    r = subprocess.run([CIERGE, *words], stderr=terminal, stdout=subprocess.PIPE, env={**os.environ, "CIERGE_CACHE": "none"})
    os.close(terminal)
    text = b""
    try:
        while piece := os.read(main, 65536):
            text += piece
    except OSError:  # so ends a terminal that nobody has open any more
        pass
    os.close(main)
    return r.returncode, text.decode()


def test_a_terminal_shows_what_is_done():
    """One line, which is gone in the end, and before an error; nothing of it where stderr is no terminal."""
    path = common.export(models.MLP(), (torch.randn(2, 37),), "progress")
    for model, code in ((path, 0), (SCRATCH / "nowhere.pt2", 4)):
        got, text = on_terminal("compile", model, "-o", SCRATCH / "progress.cierge")
        assert got == code, text
        assert "\rcierge: reading the model" in text, text
        if not code:
            assert "pass 13 of 13: partition" in text and "kB of C, by" in text and text.rstrip(" \r\n").endswith("writing the artifact"), text
        last = text.replace("\r\n", "\n").split("\r")[-1]
        assert last == ("" if not code else f"cierge: {model}: No such file or directory\n"), repr(text)
    assert cli("compile", path, "-o", SCRATCH / "progress.cierge", check=0).stderr == ""


def test_output_that_cannot_be_written():
    with open("/dev/full", "w") as full:
        r = subprocess.run([common.CIERGE, "ops"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert r.returncode == 4 and "standard output cannot be written" in r.stderr, r


def test_control_characters_of_a_file():
    """Names of a file do not steer the terminal."""
    path = common.SCRATCH / "control.cir"
    for name, shown in (("\x1b[31mred", "\\x1b[31mred"), ("\x9b31m", "\\xc2\\x9b31m"), ("\x7f", "\\x7f")):
        path.write_text(f'fn @main(%x: f32[2]) -> f32[2] {{\n  %y = "aten::{name}"(%x)\n  return %y\n}}\n')
        r = subprocess.run([common.CIERGE, "explain", path], capture_output=True, text=True)
        assert r.returncode == 3 and shown in r.stderr and name not in r.stderr, r


def test_a_c_compiler_that_fails():
    """Whose fault it is: the compiler's (exit 4), or that of the C it was given (1)."""
    program = SCRATCH / "cc.cir"
    program.write_text("fn @main(%x: f32[37]) -> f32[37] {\n  %y = aten.tanh(%x)\n  return %y\n}\n")
    ways = {
        "silent": ("exit 1", 4, "ended with exit code 1 and said nothing"),
        "killed": ("kill -9 $$", 4, "was ended by signal 9"),
        "talks": ("head -c 50000000 /dev/zero | tr '\\0' x; exit 1", 4, "does not work here"),
        "broken": ("echo no such option; exit 1", 4, "does not work here:\nno such option"),
        "bug": ('case "$*" in *kernels0*) echo "kernels0.c:1: error: no"; exit 1;; esac; exec cc "$@"', 1, "refused the generated kernels"),
    }
    for name, (script, code, text) in ways.items():
        cc = SCRATCH / name
        # LD_PRELOAD: a sanitizer's runtime that the tests run under is not for the programs that a script starts
        cc.write_text(f'#!/bin/sh\nunset LD_PRELOAD\n[ "$1" = --version ] && exit 0\n{script}\n')
        cc.chmod(0o755)
        r = cli("compile", program, "-o", SCRATCH / "cc.cierge", env={"CIERGE_CC": str(cc), "CIERGE_CACHE": "none"})
        assert r.returncode == code and text in r.stderr, (name, r.returncode, r.stderr[:300])


def test_what_is_ended_leaves_nothing():
    """Neither the C compiler, nor what that started, nor files."""
    program = SCRATCH / "cc.cir"
    program.write_text("fn @main(%x: f32[37]) -> f32[37] {\n  %y = aten.tanh(%x)\n  return %y\n}\n")
    cc, temporary = SCRATCH / "slow", SCRATCH / "temporary"
    temporary.mkdir()
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        started = SCRATCH / f"started{sig}"
        cc.write_text(f'#!/bin/sh\nunset LD_PRELOAD\n[ "$1" = --version ] && exit 0\nsleep 1000 &\necho $$ $! > {started}.new; mv {started}.new {started}; wait\n')
        cc.chmod(0o755)
        heard = lambda sig=sig: signal.signal(sig, signal.SIG_DFL)  # noqa: E731  what a shell runs in the background ignores some
        p = subprocess.Popen([common.CIERGE, "compile", program, "-o", SCRATCH / "slow.cierge"], preexec_fn=heard, env=dict(os.environ, CIERGE_CC=str(cc), CIERGE_CACHE="none", TMPDIR=str(temporary)), stderr=subprocess.PIPE)
        while not started.exists():
            assert p.poll() is None, p.stderr.read()
            time.sleep(0.01)
        assert list(temporary.iterdir())
        p.send_signal(sig)
        assert p.wait(30) == -sig, p.returncode
        assert not list(temporary.iterdir()) and not (SCRATCH / "slow.cierge").exists()
        for pid in map(int, started.read_text().split()):
            state = pathlib.Path(f"/proc/{pid}/stat")
            deadline = time.monotonic() + 30
            while state.exists() and state.read_text().rsplit(")")[1].split()[0] != "Z":
                assert time.monotonic() < deadline, f"process {pid} goes on"
                time.sleep(0.01)


if __name__ == "__main__":
    common.main(globals())
