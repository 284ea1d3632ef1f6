"""What calls say: inputs that do not fit, programs that raise, LibTorch that is not there or not as it should be, and
calls of the API that make no sense (from plantool, which prints call and answer)."""
import struct
import subprocess

from kit import Case, npy, npz

KERNEL_CODES = {1: "an index", 2: "a division by zero", 3: "no memory in a kernel", 4: "a division that overflows", 9: "a kernel that fails otherwise"}


def i64(*values, shape="()"):
    return npy("<i8", shape, struct.pack(f"<{len(values)}q", *values))


def f32(shape, first=1.0):
    n = 1
    for k in shape:
        n *= k
    return npy("<f4", str(tuple(shape)), struct.pack(f"<{n}f", *([first] + [0.0] * n)[:n]))


def libraries(files):
    """Folders that play LibTorch: sound, and each with one thing wrong."""
    root = files.root
    include = ["-I", str(root / "src"), "-I", str(root / "include")]
    fake = str(root / "tests/unit/fake_torch.c")

    def cc(folder, name, text=None, *flags):
        path = files.folder / folder
        path.mkdir(exist_ok=True)
        source = ["-x", "c", "-"] if text is not None else [fake]
        subprocess.run(["cc", "-O0", "-shared", "-fPIC", *include, *flags, *source, "-o", path / name], input=text, text=True, check=True, timeout=60)

    version = "unsigned long aoti_torch_abi_version(void) { return 0x020d000000000000; }\n"  # 2.13
    cc("torch", "libtorch_cpu.so", version)
    cc("torch", "libc10.so", "int nothing;\n")
    cc("torch", "libcierge_torch.so")
    cc("abi", "libcierge_torch.so", None, "-DFAKE_ABI=99")
    cc("version", "libcierge_torch.so", None, '-DFAKE_VERSION="2.10.0"')
    for name in ("half", "broken", "empty", "text"):
        (files.folder / name).mkdir()
    (files.folder / "half/libtorch_cpu.so").write_text("")
    for f in ("libtorch_cpu.so", "libc10.so"):
        (files.folder / "broken" / f).write_text("no library")
    (files.folder / "text/libcierge_torch.so").write_text("no library")


def cases(files):
    tool = str(files.build / "tests/plantool")
    subprocess.run([tool, "plans", files.folder], check=True, capture_output=True, timeout=60)
    n = 0

    def run(title, program, *args, env=None, **arrays):
        nonlocal n
        n += 1
        files.put(f"in{n}.npz", npz(**arrays))
        return Case(title, ["run", f"{program}.cierge", *(["--inputs", f"in{n}.npz"] if arrays else []), *args], env)

    # inputs
    yield run("a call that goes well", "good", x=f32((2, 4)), n=i64(0))
    yield run("another dtype", "good", x=i64(*range(8), shape="(2, 4)"), n=i64(0))
    yield run("another size", "good", x=f32((2, 5)), n=i64(0))
    yield run("a size below the range", "good", x=f32((0, 4)), n=i64(0))
    yield run("a size above the range", "good", x=f32((65, 4)), n=i64(0))
    yield run("a size that no number gives", "signature", a=f32((4,)), b=f32((1,)), k=i64(2))
    yield run("a size below a range without end", "signature", a=f32((1,)), b=f32((0,)), k=i64(2))
    yield run("two sizes for one symbol", "signature", a=f32((3,)), b=f32((2,)), k=i64(2))
    yield run("a number out of its range", "signature", a=f32((3,)), b=f32((1,)), k=i64(9))
    yield run("another constant", "signature", a=f32((3,)), b=f32((1,)), k=i64(2), c=i64(4))
    yield run("a constant of another kind", "signature", a=f32((3,)), b=f32((1,)), k=i64(2), c=f32(()))
    # steps
    for code, what in KERNEL_CODES.items():
        yield run(what, "kernel_code", n=i64(code))
    yield run("a late size below 0", "late_size", n=i64(-1))
    yield run("a late size of what has no name", "late_size_of_nobody", n=i64(-1))
    yield run("a size that divides by zero", "divide_by_number", n=i64(0))
    yield run("a parameter that divides by zero", "early_parameter", n=i64(0))
    yield run("a late parameter that divides by zero", "late_parameter", n=i64(0))
    yield run("intermediate values beyond all machines", "too_much_memory")
    yield run("a copy of another size", "copy_of_another_size", x=f32((2, 4)), n=i64(0))
    for name in ("part_outside", "item_of_four", "assertion", "argument_of_another_size", "branch_of_another_size", "update_of_another_size",
                 "scan", "scan_of_two_lengths", "scan_of_another_size"):
        yield run(name.replace("_", " "), name, x=f32((2, 4)), n=i64(0))
    yield run("scan of nothing", "scan_of_nothing", x=f32((0, 4)), n=i64(0))
    for name in ("add_too_big", "and_of_floats", "trunc_nan", "trunc_inf", "float_division", "float_floor_division", "float_modulo", "zero_to_minus_one",
                 "root_of_minus_one", "power_too_big", "shift_by_minus_one", "int_division", "int_floor_division", "square_root"):
        yield run(name.replace("_", " "), name)
    # LibTorch
    libraries(files)
    x = {"x": f32((4,), 101.0)}
    yield run("LibTorch is none", "torch_fail", **x)
    yield run("--libtorch none", "torch_fail", "--libtorch", "none", **x)
    yield run("a folder without LibTorch", "torch_fail", "--libtorch", "empty", **x)
    yield run("LibTorch without libc10", "torch_fail", "--libtorch", "half", **x)
    yield run("LibTorch that cannot be opened", "torch_fail", env={"CIERGE_LIBTORCH": "broken"}, **x)
    for title, folder in (("no plugin", "empty"), ("a plugin that cannot be opened", "text"), ("a plugin of another cierge", "abi"), ("a plugin for another LibTorch", "version")):
        yield run(title, "torch_fail", "--libtorch", "torch", env={"CIERGE_PLUGIN_DIR": str(files.folder / folder)}, **x)
    env = {"CIERGE_PLUGIN_DIR": str(files.folder / "torch"), "CIERGE_LIBTORCH": "torch"}
    for name in ("torch_fail", "torch_shape", "torch_kind", "torch_type", "torch_rank", "torch_late", "torch_late_kind", "torch_late_dtype", "torch_new", "torch_twice", "torch_newer", "torch_older", "torch_between", "torch_custom"):
        yield run(name.replace("_", " "), name, env=env, **x)
    yield run("an operator library", "torch_fail", "--torch-library", "mine.so", env=env, **x)
    # the API
    yield Case("calls of the API", ["api", files.folder], env, program=tool, out=True)
