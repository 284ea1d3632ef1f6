"""What this machine can do: the registers' and memory's rates by limits.c, and what PyTorch's sgemm makes of them."""
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def cpu():
    info = dict(line.split(":", 1) for line in reversed(open("/proc/cpuinfo").readlines()) if ":" in line)
    info = {k.strip(): v.strip() for k, v in info.items()}
    has = [f for f in ("avx2", "avx512f", "avx512_vnni", "amx_tile") if f in info.get("flags", "").split()]
    return {"name": info.get("model name", platform.processor()), "model": " ".join(info.get(k, "?") for k in ("vendor_id", "cpu family", "model", "stepping")),
            "cores": os.cpu_count(), "has": has, "system": f"{platform.system()} {platform.release()}"}


def sgemm(threads, n=1024):
    code = ("import sys, time, torch\n"
            "threads, n = map(int, sys.argv[1:])\n"
            "torch.set_num_threads(threads)\n"
            "a, b, c = (torch.randn(n, n) for _ in range(3))\n"
            "best = 1e9\n"
            "for _ in range(60):\n"
            "    t = time.perf_counter(); torch.mm(a, b, out=c); best = min(best, time.perf_counter() - t)\n"
            "print(2 * n ** 3 / best / 1e9)\n")
    return float(subprocess.run([sys.executable, "-c", code, str(threads), str(n)], capture_output=True, text=True, check=True).stdout)


def rates(threads, earlier={}):
    """The best seen now and earlier."""
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/limits"
        subprocess.run([os.environ.get("CC", "cc"), "-O3", "-march=native", "-fopenmp", HERE / "limits.c", "-o", program, "-lm"], check=True)
        fma, read, copy = map(float, subprocess.run([program, str(threads)], capture_output=True, text=True, check=True).stdout.split())
    now = {"fma_gflops": fma, "sgemm_gflops": sgemm(threads), "read_gb_s": read, "copy_gb_s": copy}
    return {k: max(v, earlier.get(k, 0)) for k, v in now.items()}
