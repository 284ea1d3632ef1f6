"""Models that cannot be read: .pt2 archives, each with one thing wrong, text programs and their weights."""
from kit import GONE, S0, Case, archive, meta, node, npy, npz, pt2, safetensors, tensor

X = "L['flat_args'][0].size()[0]"
ADD = [("self", tensor("x")), ("other", tensor("p_w"))]
OBJECT = {"as_custom_obj": {"name": "o", "class_fqn": "a.B"}}


def auto(name, args, outs, v2=True):
    op = ("", {"as_operator": name})
    return [("graph.nodes", [node("torch.ops.higher_order.auto_functionalized" + ("_v2" if v2 else ""), [op, *args], outs)])]


def bases(*args, outs=("y", "z")):
    values = [(f"graph.tensor_values.{o}", meta([S0, 4])) for o in outs]
    return values + auto("torch.ops.aten.add_.Tensor", [("_all_bases", {"as_tensors": [{"name": "x"}]}), *args, ("other", tensor("p_w"))], [tensor(o) for o in outs])


def deep_graph(n):
    g = {"inputs": [], "outputs": [], "nodes": [], "tensor_values": {}, "sym_int_values": {}, "sym_bool_values": {}}
    for _ in range(n):
        g = {**g, "nodes": [node("torch.ops.higher_order.cond", [("", {"as_graph": {"name": "g", "graph": g}})], [])]}
    return {"as_graph": {"name": "g", "graph": g}}


def in_spec(depth):
    leaf = '{"type": null, "context": null, "children_spec": []}'
    for _ in range(depth):
        leaf = '{"type": "builtins.tuple", "context": "null", "children_spec": [%s]}' % leaf
    return [{"fqn": "", "signature": {"in_spec": '[1, {"type": "builtins.tuple", "context": "null", "children_spec": [%s]}]' % leaf}}]


NUMBER = {"as_sym_int": {"as_int": 1}}
# title, edits of the program
PROGRAMS = [
    ("a key is missing", [("graph.nodes", GONE)]),
    ("not an object", [("graph.tensor_values", 3)]),
    ("not one member", [("node.inputs.0.arg", {"as_int": 1, "as_float": 2})]),
    ("not an object with one member", [("node.inputs.0.arg", 3)]),
    ("not a text", [("node.target", 7)]),
    ("not an integer", [("schema_version.major", "8")]),
    ("an integer beyond 64 bits", [("range_constraints.s0.min_val", 2**63)]),
    ("not a number", [("node.inputs.1.arg", {"as_float": []})]),
    ("not true or false", [("node.inputs.1.arg", {"as_bool": 1})]),
    ("not an array", [("node.inputs", {})]),
    ("a text with a NUL", [("node.target", "torch.ops\0")]),
    ("outside its range", [("graph.tensor_values.x.layout", 9)]),
    ("another schema version", [("schema_version.major", 9)]),
    ("another schema version, of nobody knows whom", [("schema_version.major", 7), ("torch_version", None)]),
    ("a range that is empty", [("range_constraints.s0.min_val", 99)]),
    ("a name with a strange character", [("graph.inputs.1.as_tensor.name", "x y")]),
    ("an empty name", [("graph.inputs.1.as_tensor.name", "")]),
    ("a name with a digit first", [("graph.tensor_values.1y", meta([4])), ("node.outputs.0", tensor("1y"))]),
    ("two values of one name", [("node.outputs.0", tensor("x"))]),
    ("a value that is not there", [("node.inputs.0.arg", tensor("nobody"))]),
    ("a result of another name", [("node.outputs.0", tensor("nobody"))]),
    ("an input without a type", [("graph.tensor_values.x", GONE)]),
    ("two types of one name", [("graph.tensor_values.twice", meta([4]))], lambda t: t.replace('"twice"', '"x"')),
    # types
    ("a size of another kind", [("graph.tensor_values.x.sizes.0", {"as_text": "4"})]),
    ("a size without an expression", [("graph.tensor_values.x.sizes.0", {"as_expr": {"expr_str": "sin(1)"}})]),
    ("a size that is a float", [("graph.tensor_values.x.sizes.0", {"as_expr": {"expr_str": "IntTrueDiv(7, 2)"}})]),
    ("another device", [("graph.tensor_values.x.device.type", "cuda")]),
    ("a dtype of another number", [("graph.tensor_values.x.dtype", 99)]),
    ("float8_e8m0fnu", [("graph.tensor_values.x.dtype", 33)]),
    ("too many dimensions", [("graph.tensor_values.x.sizes", [{"as_int": 1}] * 65)]),
    ("strides for other dimensions", [("graph.tensor_values.x.strides", [{"as_int": 1}])]),
    ("a sparse input", [("graph.tensor_values.x.layout", 2)]),
    ("a number of another kind", [("graph.sym_int_values.n", {"as_text": "4"}), ("node.inputs.1.arg", {"as_sym_int": {"as_name": "n"}})]),
    # arguments
    ("a number that is not there", [("node.inputs.1.arg", {"as_sym_float": {"as_name": "n"}}), ("graph.sym_float_values.n", {"as_float": 2})]),
    ("a number neither named nor given", [("node.inputs.1.arg", {"as_sym_int": {"as_float": 2}})]),
    ("an optional tensor of another kind", [("node.inputs.1.arg", {"as_optional_tensors": [{"as_int": 1}]})]),
    ("a dtype argument of another number", [("node.inputs.1.arg", {"as_scalar_type": 77})]),
    ("a device argument", [("node.inputs.1.arg", {"as_device": {"type": "cuda"}})]),
    ("an argument that is an object", [("node.inputs.1.arg", OBJECT)]),
    ("an argument of an unknown kind", [("node.inputs.1.arg", {"as_wave": 1})]),
    ("an argument that does not fit", [("node.inputs.1.arg", {"as_string": "two"})]),
    ("an argument that the schema lacks", [("node.inputs.1.name", "others")]),
    ("an argument twice", [("node.inputs.1.name", "self")]),
    ("an argument too few", [("node.inputs.1", GONE)]),
    ("an argument too many", [("node.target", "_operator.neg"), ("node.inputs.1.name", "")]),
    # results
    ("another number of results", [("node.outputs", [])]),
    ("a result without a name", [("node.outputs.0", NUMBER)]),
    ("a result of an unknown kind", [("node.outputs.0", {"as_wave": 1})]),
    # operators
    ("a name without an operator", [("node.target", "torch.ops.aten")]),
    ("an operator's name that is too long", [("node.target", "torch.ops.aten." + "x" * 1000)]),
    ("an unknown control operator", [("node.target", "torch.ops.higher_order.flex_attention")]),
    ("an operator of Python's", [("node.target", "my_function")]),
    ("an operator of prims", [("node.target", "torch.ops.prims.conj.default")]),
    ("an ATen operator of another PyTorch", [("node.target", "torch.ops.aten.add.Rocket")]),
    ("a custom operator", [("node.target", "torch.ops.mine.op.default")]),
    ("a custom operator with a strange name", [("node.target", "torch.ops.mine.o-p"), ("verifiers", [])]),
    ("a custom operator with unnamed arguments", [("node.target", "torch.ops.mine.op"), ("verifiers", []), ("node.inputs.0.name", "")]),
    ("a custom operator with an argument that only the schema explains", [("node.target", "torch.ops.mine.op"), ("verifiers", []), ("node.inputs.0.arg", OBJECT)]),
    # operators with effects
    ("effects of nothing", [("node.target", "torch.ops.higher_order.with_effects"), ("node.inputs.1", GONE)]),
    ("effects of something else", [("node.target", "torch.ops.higher_order.with_effects")]),
    ("effects without a token", [("node.target", "torch.ops.higher_order.with_effects"),
                                 ("node.inputs", node("", [("", {"as_int": 1}), ("", {"as_operator": "torch.ops.aten.relu.default"}), ("self", tensor("x"))], [])["inputs"])]),
    # graphs in graphs
    ("graphs too deep", [("node.target", "torch.ops.higher_order.cond"), ("node.inputs", [{"name": "", "arg": deep_graph(40), "kind": 1}])]),
    ("a sub-graph's input of an unknown kind", [("node.inputs.1.arg", {"as_graph": {"name": "g", "graph": {"inputs": [{"as_wave": 1}], "outputs": [], "nodes": []}}})]),
    # signature
    ("an input of an unknown kind", [("graph.inputs.1", {"as_wave": 1})]),
    ("an input's two names", [("sig.input_specs.1.user_input.arg.as_tensor.name", "z")]),
    ("an input that is an object", [("sig.input_specs.1.user_input.arg", OBJECT)]),
    ("a constant of an unknown kind", [("sig.input_specs.1", {"constant_input": {"name": "c", "value": {"as_wave": 1}}})]),
    ("a parameter of another type", [("graph.tensor_values.p_w", meta([5]))]),
    ("a parameter that is not stored", [("sig.input_specs.0.parameter.parameter_name", "v")]),
    ("an input of no kind", [("sig.input_specs.1", {"wave": {}})]),
    ("another number of inputs", [("graph.inputs.0", GONE)]),
    ("another number of outputs", [("graph.outputs", [])]),
    ("an output that is a list", [("graph.outputs.0", {"as_tensors": [{"name": "y"}]})]),
    ("an output that is a text", [("graph.outputs.0", {"as_string": "label"})]),
    ("an output of no kind", [("sig.output_specs.0", {"wave": {}})]),
    ("a joint graph", [("sig.output_specs.0", {"loss_output": {"arg": {"name": "y"}}})]),
    ("a mutation of something else", [("sig.output_specs.0", {"buffer_mutation": {"arg": {"name": "y"}, "buffer_name": "b"}})]),
    ("a mutation with a shape that does not broadcast", [("sig.output_specs.0", {"parameter_mutation": {"arg": {"name": "y"}, "parameter_name": "w"}})]),
    ("a mutation of another size", [("sig.output_specs.0", {"user_input_mutation": {"arg": {"name": "y"}, "user_input_name": "x"}}), ("graph.tensor_values.y", meta([S0, 3]))]),
    ("a mutation with a number", [("sig.output_specs.0", {"parameter_mutation": {"arg": {"name": "y"}, "parameter_name": "w"}}), ("graph.outputs.0", {"as_int": 1})]),
    ("a mutation of no input", [("sig.output_specs.0", {"user_input_mutation": {"arg": {"name": "y"}, "user_input_name": "y"}})]),
    ("an object that a node uses", [("graph.inputs.+", OBJECT), ("sig.input_specs.+", {"custom_obj": {"arg": {"name": "o", "class_fqn": "a.B"}, "custom_obj_fqn": "o"}}),
                                    ("node.inputs.1.arg", tensor("o"))]),
    # operators that write to their arguments
    ("written to: no operator", [("graph.nodes", [node("torch.ops.higher_order.auto_functionalized", [("x", tensor("x"))], [tensor("y")])])]),
    ("written to: something else than an operator", [("graph.nodes", [node("torch.ops.higher_order.auto_functionalized", [("", tensor("x"))], [tensor("y")])])]),
    ("written to: no base index", bases()),
    ("written to: a base that is not there", bases(("_self_base_index", {"as_int": 3}))),
    ("written to: a base that is no tensor", auto("torch.ops.aten.add_.Tensor", [("_all_bases", {"as_ints": [1]})], [tensor("y")])),
    ("written to: an argument too few", auto("torch.ops.aten.add_.Tensor", [("self", tensor("x"))], [tensor("y")], v2=False)),
    ("written to: an argument that does not fit", bases(("_self_base_index", {"as_none": True}))),
    ("written to: another number of results", bases(("_self_base_index", {"as_int": 0}), outs=("y",))),
    ("written to: no length", auto("torch.ops.aten._foreach_add_.Scalar", [("_all_bases", {"as_tensors": [{"name": "x"}]}), ("_self_length", {"as_int": -1}), ("scalar", {"as_int": 1})],
                                   [tensor("y")])),
    ("written to: a list is returned", auto("torch.ops.aten.unbind.int", [("self", tensor("x"))], [tensor("y")], v2=False)),
    ("written to: a slice of unknown size", bases(("_self_base_index", {"as_int": 0}), ("_self_slice_dim", {"as_int": 7}), ("_self_slice_start", {"as_int": 0}),
                                                  ("_self_slice_end", {"as_int": 1}))),
    ("written to: a view without geometry", bases(("_self_base_index", {"as_int": 0}), ("_self_size", {"as_ints": [1, 2]}), ("_self_stride", {"as_ints": [1]}),
                                                  ("_self_storage_offset", {"as_int": 0}))),
    ("written to: a view of unknown size", bases(("_self_base_index", {"as_int": 0}), ("_self_size", {"as_floats": [1.5]}), ("_self_stride", {"as_ints": [1]}),
                                                 ("_self_storage_offset", {"as_int": 0}))),
    # guards
    ("inputs nested too deep", [("guards_code", ["True"]), ("graph_module.module_call_graph", in_spec(40))]),
]

# guards that cannot be checked, by the reason that is given
GUARDS = [
    "1 + 2", "IntTrueDiv(7, X - 5) == 1", "IntTrueDiv(X, 3) + IntTrueDiv(X, 3) == 1", "IntTrueDiv(X, 3) * IntTrueDiv(X, 3) == 1",
    "IntTrueDiv(X, 3) / 2 == 1", "IntTrueDiv(X, 3) // 2 == 1", "X // 0 == 1", "IntTrueDiv(X, 3) % 2 == 1", "X % 0 == 1", "X ** 99 == 1",
    "IntTrueDiv(X, 3) ** -1 == 1", "0.1 * X + 1 < 2", "0.1 * X * 3 < 2", "5e-324 * (0.5 * X) < 2", "0.1 * X < 0.3", "1e999 * X < 2", "Where(X > 3, IntTrueDiv(X, 3), 1) == 2", "X and True", "not X", "Max(IntTrueDiv(X, 3), 1) == 2",
    "Max(1, IntTrueDiv(X, 3)) == 2", "LShift(X, 99) == 2", "Rational(IntTrueDiv(X, 3), 2) == 1", "f(X)", "X <", "Symbol(X) == 1",
    "Symbol('zf0') == 1", "Float(X) == 1", "Float('one') == 1", "Piecewise(ExprCondPair(1, X > 3), ExprCondPair(2, X > 5)) == 1", "Pow(X) == 1",
    "99999999999999999999 == X", "L['nobody'].size()[0] == 1", "X == " + "a" * 99, "(" * 300 + "X", "-" * 300 + "X", "not " * 300 + "X", "X == 1 1",
    "Symbol('a b') == 1", "IntTrueDiv(X, 3) < IntTrueDiv(X, X - 60)", "(1 == X",
]

# title, edits of the archive
ARCHIVES = [
    ("no ZIP file", None),
    ("a ZIP file of something else", "other.zip", {"readme": "hello"}),
    ("a torch.save", "other.zip", {"m/data.pkl": ""}),
    ("a TorchScript archive", "other.zip", {"m/constants.pkl": "", "m/data.pkl": ""}),
    ("an older layout", "other.zip", {"serialized_exported_program.json": '{"torch_version": "2.5.1"}'}),
    ("an older layout that does not say of when", "other.zip", {"serialized_exported_program.json": "{}"}),
    ("two archives in one", {"n/archive_format": "pt2"}),
    ("another format", {"m/archive_format": "pt3"}),
    ("another version", {"m/archive_version": "1"}),
    ("a version that is too long", {"m/archive_version": "1" * 300}),
    ("big-endian", {"m/byteorder": "big"}),
    ("no model", {"m/models/model.json": GONE}),
    ("an AOTInductor package", {"m/models/model.json": GONE, "m/data/aotinductor/model/a.so": ""}),
    ("several models", {"m/models/other.json": "{}"}),
    ("no JSON", {"m/models/model.json": "{1}"}),
    ("no list of weights", {"m/data/weights/model_weights_config.json": GONE}),
    ("pickled weights", {"m/data/weights/model.pt": ""}),
    ("two weights of one name", {"m/data/weights/model_weights_config.json": '{"config": {"w": {}, "w": {}}}'}),
    ("weights that are not there", {"m/data/weights/weight_0": GONE}),
    ("weights that are cut off", {"m/data/weights/weight_0": "short"}),
]
PAYLOADS = [
    ("a pickled tensor", [("use_pickle", True)]),
    ("a sparse tensor", [("tensor_meta.layout", 1)]),
    ("a stored tensor of symbolic size", [("tensor_meta.sizes.0", {"as_expr": {"expr_str": S0}})]),
    ("a stored tensor of negative offset", [("tensor_meta.storage_offset", {"as_int": -4})]),
]

TEXT = "const @w : f32[4]\nfn @main(%x: f32[4]) -> f32[4] {\n  %y = aten.add.Tensor(%x, @w)\n  return %y\n}\n"
F4 = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
WEIGHTS = [
    ("weights that are no safetensors file", b"short"),
    ("weights without a header", safetensors({}, size=999)),
    ("weights whose header is no JSON", safetensors(b"{1}")),
    ("weights without the tensor", safetensors({"v": F4}, bytes(16))),
    ("weights of another type", safetensors({"w": {**F4, "dtype": "I32"}}, bytes(16))),
    ("weights of a dtype that PyTorch lacks", safetensors({"w": {**F4, "dtype": "F4"}}, bytes(16))),
    ("weights of too many dimensions", safetensors({"w": {**F4, "shape": [1] * 65}}, bytes(16))),
    ("weights that are too large", safetensors({"w": {**F4, "shape": [2**40, 2**40]}}, bytes(16))),
    ("weights with one offset", safetensors({"w": {**F4, "data_offsets": [0]}}, bytes(16))),
    ("weights outside the file", safetensors({"w": {**F4, "data_offsets": [16, 32]}}, bytes(16))),
    ("weights whose offsets do not fit", safetensors({"w": {**F4, "data_offsets": [0, 8]}}, bytes(16))),
    ("weights with a gap", safetensors({"w": F4, "v": {**F4, "data_offsets": [20, 36]}}, bytes(36))),
    ("weights with bytes behind", safetensors({"w": F4}, bytes(20))),
    ("weights whose name holds a zero", safetensors(b'{"w\\u0000": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}')),
    ("weights twice", safetensors(b'{"w": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, "w": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}')),
]


def cases(files):
    def explain(title, name, *more):
        return Case(title, ["explain", name, *more])

    yield explain("the model that the others are made of", files.put("good.pt2", pt2()), "--backends", "c")
    for title, edits, *raw in PROGRAMS:
        yield explain(title, files.fresh("m", "pt2", pt2(edits, raw=raw[0] if raw else None)))
    for title, edits in PAYLOADS:
        yield explain(title, files.fresh("m", "pt2", pt2(payload=edits)))
    for g in GUARDS:
        text = g.replace("X", X)
        yield explain(f"guard {g[:60]}", files.fresh("g", "pt2", pt2([("guards_code", [text])])))
    for title, *how in ARCHIVES:
        if how == [None]:
            data = b"neither"
        elif len(how) == 2:
            data = archive(how[1].items())
        else:
            data = pt2(members=how[0])
        yield explain(title, files.fresh("a", "pt2", data))
    yield explain("no such model", "good.pt2", "--entry", "other")
    yield explain("a pickle", files.put("m.pt", b"\x80\x02"))
    yield explain("TorchScript without LibTorch", files.put("script.pt", archive([("m/data.pkl", b""), ("m/constants.pkl", b"")])))
    yield explain("neither", files.put("m.txt", "hello"))
    yield explain("no file", "nowhere.pt2")
    files.put("t.cir", TEXT)
    for title, data in WEIGHTS:
        yield explain(title, "t.cir", "--weights", files.fresh("w", "safetensors", data))
    files.put("s.cir", TEXT.replace("f32[4]\nfn", "f32[4]{2}\nfn"))
    yield explain("weights with strides", "s.cir", "--weights", files.put("good.safetensors", safetensors({"w": F4}, bytes(16))))
    yield explain("no weights", "t.cir")
    for title, size in (("a blob of another size", 9), ("a blob of another content", 5)):
        files.put("b.cir", f'blob @m = "00112233445566778899aabbccddeeff" size {size}\nfn @main() {{\n  torchop(script=@m)\n}}\n')
        (files.folder / f"blobs-{size}").mkdir()
        files.put(f"blobs-{size}/00112233445566778899aabbccddeeff.pt", "bytes")
        yield Case(title, ["explain", "b.cir", "--blobs", f"blobs-{size}"], alone=True)
    yield explain("no blob", "b.cir")
    # what exports assumed is checked by every call
    files.put("guard.pt2", pt2([("guards_code", [f"{X} % 2 == 0"])]))
    yield Case("a model with a guard", ["compile", "guard.pt2", "-o", "guard.cierge", "--backends", "c"], alone=True)
    files.put("odd.npz", npz(x=npy("<f4", "(3, 4)", bytes(48))))
    yield Case("a guard that does not hold", ["run", "guard.cierge", "--inputs", "odd.npz"])
