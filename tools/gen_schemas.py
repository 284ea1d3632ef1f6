#!/usr/bin/env python3
"""Writes src/ir/schema_aten.inc: the schema of every operator that PyTorch's C++ libraries register in their dispatcher.

Usage: gen_schemas.py [OUT]   (needs torch; default OUT is src/ir/schema_aten.inc beside this script's folder)

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


def literal(text):
    if not text.isascii() or not text.isprintable():
        sys.exit(f"cannot be written as a C string: {text!r}")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("?", "\\?" if "??" in text else "?") + '",\n'


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "src", "ir", "schema_aten.inc")
    texts = rows()
    with open(out, "w", encoding="ascii", newline="\n") as f:
        f.write(f"// {len(texts)} operator schemas of torch {torch.__version__}, as its dispatcher prints them. Generated: do not edit.\n"
                "// Again: python3 tools/gen_schemas.py, with that version of torch installed.\n")
        f.writelines(literal(t) for t in texts)
    print(f"{len(texts)} schemas written to {os.path.normpath(out)}")


if __name__ == "__main__":
    main()
