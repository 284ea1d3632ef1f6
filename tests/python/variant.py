"""A second cierge beside the built one, with a few objects compiled anew: what a test adds to cierge is added like this."""
import os
import shutil
import subprocess

import common


def build(name, changed, flags, extra_source=""):
    """Builds the program with `flags` for the sources `changed`, and `extra_source` compiled in; from here on cli() runs it."""
    folder = common.SCRATCH / name
    shutil.copytree(common.BUILD / "obj", folder / "obj")  # keeps the times, so make leaves the rest alone
    for source in changed:
        (folder / "obj" / source).with_suffix(".o").unlink()
    env = {**os.environ, "CPPFLAGS": flags}
    for inherited in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        env.pop(inherited, None)
    r = subprocess.run(["make", "-s", f"B={folder}", f"EXTRA_SRC={extra_source}", folder / "cierge"], cwd=common.ROOT, env=env,
                       text=True, capture_output=True)
    if r.returncode:
        raise SystemExit(f"{name} does not build:\n{r.stderr[:4000]}")
    os.environ["CIERGE_PLUGIN_DIR"] = str(common.BUILD.resolve())
    common.CIERGE = folder / "cierge"
