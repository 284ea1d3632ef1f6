"""Options, sizes named on the command line, and programs that read well and cannot be compiled."""
from kit import Case, meta, node, pt2, safetensors, tensor

ADD = "fn @main(%x: f32[s0, 4]) -> f32[s0, 4] {\n  %y = aten.add.Tensor(%x, %x)\n  return %y\n}\n"
OPTIONS = [
    ("--target", "pdp-11"), ("--backends", "cuda"), ("--backends", ""), ("--emit", "assembly"), ("--dump-after", "lunch"), ("--torch-ops", "relu"), ("--allow-unsafe-ops", "aten::relu"), ("--min-region", "0"), ("--torch-mode", "fast"),
    ("--precision", "int3"), ("--fuse-precision", "f16"),
    ("--dim", "s0"), ("--dim", "s9=1"), ("--dim", "s0=x"), ("--dim", "s0=0..8"), ("--dim", "s0=2..8,9"), ("--dim", "s0=hint=99"),
    ("--specialize", "s0"), ("--specialize", "s0=1,99"), ("--specialize", "s0=1;2"), ("--specialize", "s0=" + ",".join(map(str, range(1, 18)))),
]
PROGRAMS = [
    ("an output that no caller can have", "fn @main(%x: f32[4]) -> str {\n  return \"four\"\n}\n"),
    ("a sub-graph without a backend", "fn @main(%x: f32[4]) -> f32[4] {\n  %y: f32[4] = @f(%x)\n  return %y\n}\nfn @f(%a: f32[4]) -> f32[4] backend=\"cuda\" {\n  return %a\n}\n"),
    ("a size that nobody gives", "sym u0 = 1..8\nfn @main(%x: f32[4]) -> f32[u0] {\n  %y: f32[u0] = aten.ones(size=[u0])\n  return %y\n}\n"),
    ("an input that no caller can give", "fn @main(%x: f32[4], %t: str) -> f32[4] {\n  return %x\n}\n"),
    ("an operator that needs LibTorch", "fn @main(%x: f32[4, 4]) -> f32[4] {\n  %u: f32[4, 4], %s: f32[4], %v: f32[4, 4] = aten.linalg_svd(%x)\n  return %s\n}\n"),
]

UNSAFE = ["aten::from_file(str filename, bool? shared=None, int? size=0) -> Tensor", "aten::save(Tensor item, str filename) -> Tensor", "debugprims::load_tensor(str abs_path) -> Tensor",
          "c10d::send(Tensor x, int to) -> Tensor", "prim::PythonOp(Tensor x) -> Tensor", "inductor::_reinterpret_tensor(Tensor self, int[] size, int[] stride, int offset) -> Tensor"]

KINDS = """sym u0 = 0..2304
fn @main(%x: f32[48, 48], %c: c64[48], %i: i64[2000, 800], %w: f32[48, 48]) -> (f32[48], f32[48, 48], c64[48], i64[u0, 2], i64[2000, 800], f32[48, 48]) {
  %b = aten.relu(%x)
  %s: f32[48] = aten.linalg_svdvals(%b)
  %t = aten.exp(%b)
  %d = aten.mul.Tensor(%c, %c)
  %n: i64[u0, 2] = aten.nonzero(%b)
  %j = aten.add.Tensor(%i, %i)
  %h: f32[48, 48] = aten.linalg_matrix_exp(%w)
  %v = aten.t(%h)
  %k: f32[48, 48] = aten.linalg_matrix_exp(%v)
  return %s, %t, %d, %n, %j, %k
}
"""
RESHAPE = """sym s0 = 0.. hint 2
fn @main(%x: f32[s0, 3], %y: f32[2, 2]) {
  %v = aten.t_(%x)
  %w = aten.mul_.Tensor(%x, 2)
  %a = aten.t_(%y)
  %b = aten.t_(%y)
  return
}
"""
NORM = """param @w: f32[2, 1, 1]
const @g: f32[2]
const @v: f32[2]
fn @main(%x: f32[1, 1, 8]) -> f32[1, 2, 8] {
  %c = aten.conv1d(%x, @w)
  %y, %m, %s = aten._native_batch_norm_legit_no_training(%c, @g, @g, @g, @v, 0.1, 0.5)
  return %y
}
"""
NOTHING = "fn @main() -> int {\n  %n: int = _operator.add(1, 2)\n  return %n\n}\n"


def cases(files):
    files.put("add.cir", "sym s0 = 1..64\n" + ADD)
    files.put("fixed.cir", ADD.replace("s0", "3"))
    for option, value in OPTIONS:
        yield Case(f"{option} {value[:40]}", ["explain", "add.cir", option, value])
    yield Case("--dim of a model of fixed sizes", ["explain", "fixed.cir", "--dim", "s0=4"])
    for title, text in PROGRAMS:
        yield Case(title, ["compile", files.fresh("p", "cir", text), "-o", "out.cierge", "--backends", "c,torch"])
    for schema in UNSAFE:
        name, of = schema.split("(")[0], {"str": '"f"', "str ": '"f"', "int[]": "[4]", "int": "4", "bool?": "false", "int?": "4"}
        args = ", ".join(of.get(a.split()[0], "%x") for a in schema.split("(")[1].split(")")[0].split(", "))
        head = "" if name == "aten::from_file" else f'schema "{schema}"\n'
        text = f"{head}fn @main(%x: f32[4]) -> f32[4] {{\n  %y: f32[4] = {name.replace('::', '.')}({args})\n  return %y\n}}\n"
        yield Case(f"{name}, which no program may call", ["explain", files.fresh("u", "cir", text)])
    lines = ["%a: f32[4] = aten.relu(%x)", "%b = aten.save(%x, \"f\")", "%c = aten.save(%a, \"f\")", "%y: f32[4] = aten.from_file(\"f\", false, 4)"]
    text = f'schema "{UNSAFE[1]}"\nfn @main(%x: f32[4]) -> f32[4] {{' + "".join(f"\n  {x}" for x in lines) + "\n  return %y\n}\n"
    yield Case("several that no program may call", ["explain", files.fresh("u", "cir", text)])
    # a pass that reads the weights' bytes
    norm = files.put("norm.cir", NORM)
    files.put("norm.safetensors", safetensors({n: {"dtype": "F32", "shape": s, "data_offsets": [8 * i, 8 * i + 8]} for i, (n, s) in enumerate((("w", [2, 1, 1]), ("g", [2]), ("v", [2])))}, bytes(24)))
    yield Case("--dump-after fold-norm", ["compile", norm, "-o", "norm.cierge", "--dump-after", "fold-norm", "--target", "x86-64-v3"])
    # what --require-native refuses, what explain and the report say
    svd = files.put("svd.cir", PROGRAMS[-1][1])
    yield Case("--require-native", ["compile", svd, "-o", "out.cierge", "--require-native"])
    yield Case("explain: all in LibTorch", ["explain", svd], out=True)
    trace = 'Traceback:\n  File "/home/me/model.py", line 12, in forward\n    y = f(x)\n'
    place = {"stack_trace": trace, "nn_module_stack": "L['self'],,M;L['self'].f,f,F"}
    located = [("node.metadata", place), ("graph.nodes.+", node("torch.ops.aten.linalg_svdvals.default", [("A", tensor("y"))], [tensor("z")])), ("graph.tensor_values.z", meta([4])),
               ("graph.nodes.1.metadata", place), ("graph.outputs.0", tensor("z")), ("sig.output_specs.0", {"user_output": {"arg": tensor("z")}})]
    files.put("located.pt2", pt2(located))
    kinds = files.put("kinds.cir", KINDS)
    yield Case("explain: an input that gets another shape", ["explain", files.fresh("reshape", "cir", RESHAPE)], out=True)
    yield Case("explain: each kind of reason", ["explain", kinds, "--torch-ops", "aten.exp"], out=True)
    yield Case("explain: kilobytes", ["explain", files.put("svd60.cir", PROGRAMS[-1][1].replace("[4, 4]", "[60, 60]").replace("[4]", "[60]"))], out=True)
    yield Case("explain: --min-region", ["explain", kinds, "--min-region", "4"], out=True)
    yield Case("explain: --backends torch", ["explain", kinds, "--backends", "torch"], out=True)
    yield Case("explain: nothing to run", ["explain", files.put("nothing.cir", NOTHING)], out=True)
    yield Case("explain: one node in LibTorch", ["explain", "located.pt2"], out=True)
    yield Case("a report", ["compile", "located.pt2", "-o", "located.cierge", "--report", "located.json"], show="located.json")
    (files.folder / "pipe").symlink_to("/proc/self/fd/2")  # as /dev/stderr is
    yield Case("a report to where no file can be", ["compile", "located.pt2", "-o", "located2.cierge", "--report", "pipe"])
    for text in ("a::b", "a::b=((((((f32", "a::b=(f32[2]) -> (f32[2]", "a::b=(f32[2]) -> (f32[2]) 7", "a::b=(f99) -> ()"):
        yield Case("an operator's type that does not read", ["compile", "located.pt2", "-o", "located2.cierge", "--op-type", text])
    yield Case("over the model", ["compile", "located.pt2", "-o", "located.pt2"])
    (files.folder / "again.pt2").symlink_to("located.pt2")
    yield Case("over the model by another name", ["compile", "again.pt2", "-o", "located.pt2"])
    yield Case("a report over the artifact", ["compile", "located.pt2", "-o", "located.cierge", "--report", "located.cierge"])
