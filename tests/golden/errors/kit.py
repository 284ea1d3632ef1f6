"""What the cases of all areas share: small files made from nothing, and one run of the program."""
import copy
import io
import json
import os
import pathlib
import re
import struct
import subprocess
import zipfile

GONE = object()
NOISE = [(r"-\d+(\.\w+)", r"\1"), (r"cierge-(bench-|study-)?\w{6}\b", r"cierge-\1XXXXXX"), (r"(section plan, offset|offset 128,) \d+", r"\1 N"),
         (r"^(  (?:plan|torch|weights|kernels|whole file)) +\d+ bytes( at)?( \d+)?", r"\1 N bytes\2 N"),
         (r"arena: \d+ bytes, at least \d+", r"arena: N bytes, at least N"),  # the sanitizers' gaps between values count
         (r" *[\d.]+ us +(\d+) calls +[\d.]+ %", r" N us \1 calls N %"), (r" +\d+\.\d{4}\b", " N")]


class Case:
    """One run: `cierge ARGS` in the scratch folder. What it prints is normalised and kept.
    out: stdout too; alone: it writes what later cases read; program: another one than cierge;
    show: a file that it writes."""

    def __init__(self, title, args, env=None, out=False, alone=False, program=None, show=None):
        self.title, self.args, self.env, self.out, self.alone = title, [str(a) for a in args], env or {}, out, alone
        self.program, self.show = program, show

    def run(self, program, folder):
        env = {k: v for k, v in os.environ.items() if not k.startswith("CIERGE_")}
        env = {**env, "CIERGE_LIBTORCH": "none", "CIERGE_CACHE": "none", "LC_ALL": "C", "TMPDIR": str(folder), **self.env}
        p = subprocess.run([self.program or program, *self.args], cwd=folder, env={k: v for k, v in env.items() if v is not None}, capture_output=True,
                           stdin=subprocess.DEVNULL, timeout=60)
        text = p.stderr.decode("utf-8", "replace") + (p.stdout.decode("utf-8", "replace") if self.out else "")
        if self.show:
            text += (folder / self.show).read_text("utf-8")
        text = text.replace(str(folder), "FOLDER")
        for noise, clean in NOISE:
            text = re.sub(noise, clean, text, flags=re.M)
        text = text.strip()
        return f"# {self.title}\nexit {p.returncode}\n" + (text + "\n\n" if text else "\n")


class Files:
    """The scratch folder; names are short, as messages show them."""

    def __init__(self, folder):
        self.folder, self.n = pathlib.Path(folder), 0

    def put(self, name, data):
        path = self.folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return name

    def fresh(self, prefix, ending, data):
        self.n += 1
        return self.put(f"{prefix}-{self.n}.{ending}", data)  # the number is not printed: a new case changes no other's text


def npy(descr, shape, data=b"", fortran=False, version=1, header=None):
    text = header if header is not None else f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n"
    raw = text.encode()
    size = struct.pack("<H", len(raw)) if version == 1 else struct.pack("<I", len(raw))
    return b"\x93NUMPY" + bytes([version, 0]) + size + raw + data


def archive(members):
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w") as z:
        for name, data in members:
            z.writestr(zipfile.ZipInfo(name), data)
    return b.getvalue()


def npz(**arrays):
    return archive([(f"{name}.npy", data) for name, data in arrays.items()])


def safetensors(header, data=b"", size=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if size is None else size) + raw + data


# ---------------------------------------------------------------- .pt2

def tensor(name):
    return {"as_tensor": {"name": name}}


def meta(sizes, dtype=7, **more):
    """TensorMeta; a size is a number or an expression."""
    size = [{"as_int": n} if isinstance(n, int) else {"as_expr": {"expr_str": n, "hint": None}} for n in sizes]
    return {"dtype": dtype, "sizes": size, "requires_grad": False, "device": {"type": "cpu", "index": None}, "layout": 7, **more}


def node(target, args, outs):
    """args: pairs of a name and a value as the format tags it."""
    return {"target": target, "inputs": [{"name": n, "arg": a, "kind": 1} for n, a in args], "outputs": outs, "metadata": {}}


S0 = "Symbol('s0', positive=True, integer=True)"
PROGRAM = {  # y = x + w, x: f32[s0, 4], w: f32[4]
    "graph_module": {
        "graph": {
            "inputs": [tensor("p_w"), tensor("x")],
            "outputs": [tensor("y")],
            "nodes": [node("torch.ops.aten.add.Tensor", [("self", tensor("x")), ("other", tensor("p_w"))], [tensor("y")])],
            "tensor_values": {"p_w": meta([4]), "x": meta([S0, 4]), "y": meta([S0, 4])},
            "sym_int_values": {}, "sym_bool_values": {}, "sym_float_values": {},
        },
        "signature": {
            "input_specs": [{"parameter": {"arg": {"name": "p_w"}, "parameter_name": "w"}}, {"user_input": {"arg": tensor("x")}}],
            "output_specs": [{"user_output": {"arg": tensor("y")}}],
        },
        "module_call_graph": [],
    },
    "schema_version": {"major": 8, "minor": 1},
    "range_constraints": {"s0": {"min_val": 2, "max_val": 64}},
    "verifiers": ["TRAINING"], "torch_version": "2.13.0", "guards_code": [],
}
PAYLOAD = {"path_name": "weight_0", "is_param": True, "use_pickle": False, "tensor_meta": meta([4])}
SHORT = {"graph": "graph_module.graph", "node": "graph_module.graph.nodes.0", "sig": "graph_module.signature"}


def edit(root, path, value):
    """Sets what a dotted path leads to; '+' behind a list; GONE takes away."""
    first, *rest = path.split(".")
    keys = SHORT.get(first, first).split(".") + rest
    for k in keys[:-1]:
        root = root[int(k)] if isinstance(root, list) else root[k]
    k = keys[-1]
    if k == "+":
        root.append(value)
    elif value is GONE:
        del root[int(k) if isinstance(root, list) else k]
    else:
        root[int(k) if isinstance(root, list) else k] = value


def pt2(edits=(), payload=None, members=None, raw=None):
    """The archive of PROGRAM with these edits; members: others, by name (GONE: not there); raw: the JSON's text."""
    program = copy.deepcopy(PROGRAM)
    for path, value in edits:
        edit(program, path, value)
    entry = copy.deepcopy(PAYLOAD)
    for path, value in payload or ():
        edit(entry, path, value)
    text = json.dumps(program)
    all_members = {
        "m/archive_format": "pt2", "m/archive_version": "0", "m/byteorder": "little",
        "m/models/model.json": raw(text) if raw else text,
        "m/data/weights/model_weights_config.json": json.dumps({"config": {"w": entry}}),
        "m/data/constants/model_constants_config.json": json.dumps({"config": {}}),
        "m/data/weights/weight_0": struct.pack("<4f", 1, 2, 3, 4),
        **(members or {}),
    }
    return archive([(k, v) for k, v in all_members.items() if v is not GONE])
