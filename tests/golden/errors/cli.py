"""The command line, and the files of arrays that it reads and writes."""
import struct

from kit import Case, archive, npy, npz, safetensors

MUL = "sym s0 = 0..64\nfn @main(%x: f32[s0], %k: f32[]) -> f32[s0] {\n  %y = aten.mul.Tensor(%x, %k)\n  return %y\n}\n"
GOOD = npy("<f4", "(2,)", bytes(8))
K = npy("<f4", "()", bytes(4))
USAGE = [
    [], ["help"], ["--version"], ["fly"], ["compile"], ["compile", "mul.cir"], ["compile", "--fly"], ["compile", "--help"], ["explain"], ["explain", "--fly"], ["explain", "--help"],
    ["explain", "mul.cir", "--rounds", "3"], ["explain", "mul.cir", "--measure", "--rounds", "0"], ["explain", "mul.cir", "--measure"], ["inspect"],
    ["verify"], ["ops", "all"], ["blob"], ["blob", "-d", "m.blobs"], ["bench"], ["bench", "--fly"], ["bench", "mul.cierge", "--rounds", "0"], ["bench", "mul.cierge", "--against", "jax:m"],
    ["study"], ["study", "--fly"], ["study", "--help"], ["study", "mul.cir", "--points", "0"], ["study", "mul.cir", "--beside", "eager"], ["study", "mul.cir", "--inputs", "x.npz"], ["study", "none.cir", "--inputs", "f.npz"],
    ["run"], ["run", "--fly"], ["run", "mul.cierge", "other.cierge"], ["run", "mul.cierge", "--threads", "none"], ["run", "mul.cierge", "--repeat", "0"],
    ["run", "mul.cierge", "--seed", "x"], ["run", "mul.cierge", "--inputs", "a.npz", "--sequence", "b.npz"], ["run", "mul.cierge"],
    ["run", "mul.cierge", "--inputs", "x.csv"], ["run", "mul.cierge", "--inputs", "x.npz", "--outputs", "y.csv"],
    ["run", "mul.cierge", "--inputs", "x.npz", "--outputs", "no/where.npz"], ["run", "mul.cierge", "--inputs", "nowhere.npz"],
    ["run", "strange.cierge", "--inputs", "strange.npz", "--outputs", "y.safetensors"],
    *([command, "--help"] for command in ("verify", "inspect", "bench", "blob", "ops")), ["help", "run"], ["help", "fly"], ["complie", "mul.cir"],
    ["compile", "mul.cir", "--targt", "native"], ["explain", "mul.cir", "--mesure"], ["run", "mul.cierge", "--inptus=x.npz"], ["run", "mul.cierge", "--threads"],
]
NPY = [
    ("no .npy file", b"neither"),
    ("another version of .npy", npy("<f4", "(2,)", bytes(8), version=9)),
    ("a header that is cut off", b"\x93NUMPY\x01\x00\xff\x00"),
    ("no dictionary", npy("", "", header="[]")),
    ("a key that is no text", npy("", "", header="{1: 2}")),
    ("a text that does not end", npy("", "", header="{'descr")),
    ("a structured type", npy("", "", header="{'descr': [('a', '<f4')]}")),
    ("no colon", npy("", "", header="{'descr' '<f4'}")),
    ("no shape", npy("", "", header="{'descr': '<f4'}")),
    ("a shape that is no tuple", npy("<f4", "2", bytes(8))),
    ("a size that is none", npy("<f4", "(-2,)", bytes(8))),
    ("too many dimensions", npy("<f4", "(" + "1, " * 65 + ")", bytes(8))),
    ("another order", npy("<f4", "(2,)", bytes(8), fortran="Maybe")),
    ("an unknown key", npy("", "", header="{'colour': 1}")),
    ("a dtype that torch lacks", npy("<M8", "(2,)", bytes(16))),
    ("data that is cut off", npy("<f4", "(2,)", bytes(7))),
    ("bytes behind the data", npy("<f4", "(2,)", bytes(9))),
    ("an array that is too large", npy("<f4", "(4611686018427387904, 9)", bytes(8))),
    ("a text", npy("<U2", "()", "ab".encode("utf-32-le"))),
    ("texts", npy("<U2", "(1,)", "ab".encode("utf-32-le"))),
    ("a text that is cut off", npy("<U9", "()", "ab".encode("utf-32-le"))),
    ("bytes that are cut off", npy("|S9", "()", b"ab")),
]
NPZ = [
    ("an input that is missing", npz(x=GOOD)),
    ("an input too much", npz(x=GOOD, k=K, z=K)),
    ("names and numbers", npz(x=GOOD, input_1=K)),
    ("a number twice", npz(input_0=GOOD, input_00=GOOD)),
    ("no such number", npz(input_0=GOOD, input_1=K, input_9=K)),
    ("something else than arrays", archive([("readme.txt", "hello")])),
    ("dtypes that are no object", npz(x=GOOD, k=K, __cierge_dtypes__=npy("<U2", "()", "[]".encode("utf-32-le")))),
    ("a dtype of another size", npz(x=GOOD, k=K, __cierge_dtypes__=npy("<U17", "()", '{"x": "bfloat16"}'.encode("utf-32-le")))),
]
F2 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
SAFETENSORS = [
    ("no safetensors file", b"neither of them"),
    ("a header that is no object", safetensors([], bytes(8))),
    ("a tensor without a shape", safetensors({"x": {"dtype": "F32"}}, bytes(8))),
    ("a dtype that torch lacks", safetensors({"x": {**F2, "dtype": "F4"}}, bytes(8))),
    ("too many dimensions", safetensors({"x": {**F2, "shape": [1] * 65}}, bytes(8))),
    ("a size that is none", safetensors({"x": {**F2, "shape": [-2]}}, bytes(8))),
    ("offsets that do not fit", safetensors({"x": {**F2, "data_offsets": [0, 7]}}, bytes(8))),
]


def cases(files):
    files.put("mul.cir", MUL)
    files.put("none.cir", "fn @main(%x: f32[2]) -> f32[2] {\n  return %x\n}\n")
    files.put("f.npz", npz(x=GOOD))
    files.put("x.npz", npz(x=GOOD, k=K))
    files.put("strange.cir", "fn @main(%x: f8e5m2fnuz[2]) -> f8e5m2fnuz[2] {\n  return %x\n}\n")
    dtypes = '{"x": "float8_e5m2fnuz"}'
    files.put("strange.npz", npz(x=npy("|u1", "(2,)", bytes(2)), __cierge_dtypes__=npy(f"<U{len(dtypes)}", "()", dtypes.encode("utf-32-le"))))
    yield Case("a program to run", ["compile", "mul.cir", "-o", "mul.cierge"], alone=True)
    yield Case("another one", ["compile", "strange.cir", "-o", "strange.cierge"], alone=True)
    yield Case("a call that goes well", ["run", "mul.cierge", "--inputs", "x.npz"], out=True)
    yield Case("a measurement", ["bench", "mul.cierge", "--rounds", "1"], out=True)
    for args in USAGE:
        yield Case("cierge " + " ".join(args), args, out=args == ["--version"] or args[:1] == ["help"] or "--help" in args)
    yield Case("no archive of TorchScript", ["blob", "x.npz"])
    files.put("one two.pt", archive([("m/data.pkl", b""), ("m/constants.pkl", b"")]))
    yield Case("the line of a blob, and a copy", ["blob", "-d", "m.blobs", "one two.pt"], out=True)
    for title, data in NPY:
        yield Case(f"npy: {title}", ["run", "mul.cierge", "--inputs", files.fresh("n", "npz", npz(x=data, k=K))])
    for title, data in NPZ:
        yield Case(f"npz: {title}", ["run", "mul.cierge", "--inputs", files.fresh("z", "npz", data)])
    for title, data in SAFETENSORS:
        yield Case(f"safetensors: {title}", ["run", "mul.cierge", "--inputs", files.fresh("s", "safetensors", data)])
