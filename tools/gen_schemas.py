#!/usr/bin/env python3
"""Writes src/ir/schema_aten.inc: the schema of every operator that PyTorch's C++ libraries register in their dispatcher,
and src/ir/random_aten.inc: the keys of those that may draw random numbers (PyTorch's tag nondeterministic_seeded).

Usage: gen_schemas.py [FOLDER]   (needs torch; default FOLDER is src/ir beside this script's folder)

One C string literal a line, sorted by key (the text before the parenthesis) in strcmp order, for a binary search.
Operators that Python registers (prims::, export::, ...) are left out: they do not exist where there is only LibTorch.
"""
import os
import sys

import torch

NAMESPACES = ("aten", "quantized", "_quantized", "mkldnn", "mkldnn_prepacked", "mkl", "onednn", "quantization", "sparse")


def key(schema):
    return schema.name + ("." + schema.overload_name if schema.overload_name else "")


def registered_by_python(name):
    for line in torch._C._dispatch_dump(name).splitlines():
        if line.startswith("debug:"):
            return ".py" in line or "/dev/null" in line
    return False


def rows():
    wanted = {n for n in torch._C._dispatch_get_all_op_names() if n.split("::")[0] in NAMESPACES}
    found = {}
    for schema in torch._C._jit_get_all_schemas():
        k = key(schema)
        if k in wanted and not registered_by_python(k):
            text = str(schema)
            if found.setdefault(k, text) != text:
                sys.exit(f"two schemas for {k}")
            if text.split("(", 1)[0] != k:
                sys.exit(f"schema of {k} does not start with its key: {text}")
    return [found[k] for k in sorted(found, key=lambda k: k.encode())]


def is_random(text):
    """By PyTorch's tag; a few old operators take a generator and are not tagged."""
    k = text.split("(", 1)[0]
    name, _, overload = k.partition(".")
    namespace, name = name.split("::")
    op = getattr(getattr(getattr(torch.ops, namespace), name), overload or "default")
    return torch.Tag.nondeterministic_seeded in op.tags or "Generator?" in text


def literal(text):
    if not text.isascii() or not text.isprintable():
        sys.exit(f"cannot be written as a C string: {text!r}")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("?", "\\?" if "??" in text else "?") + '",\n'


def write(path, texts, what, more):
    with open(path, "w", encoding="ascii", newline="\n") as f:
        f.write(f"// {len(texts)} {what} torch {torch.__version__}{more}. Generated: do not edit.\n"
                "// Again: python3 tools/gen_schemas.py, with that version of torch installed.\n")
        f.writelines(literal(t) for t in texts)
    print(f"{len(texts)} lines written to {os.path.normpath(path)}")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "src", "ir")
    texts = rows()
    write(os.path.join(folder, "schema_aten.inc"), texts, "operator schemas of", ", as its dispatcher prints them")
    random = [t.split("(", 1)[0] for t in texts if is_random(t)]
    write(os.path.join(folder, "random_aten.inc"), random, "operators of", " that may draw random numbers")


if __name__ == "__main__":
    main()
