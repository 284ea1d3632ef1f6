"""cierge from Python: compile exported PyTorch programs to one file, and run that file.

Tensors go in and come out by DLPack: anything with ``__dlpack__`` (torch, NumPy, JAX …) is an input, and outputs are
given to ``from_dlpack`` of whichever library is wanted. Nothing but modules needs torch.

    import cierge
    program = cierge.compile(model, (x,))                     # a torch.nn.Module, a function, an ExportedProgram, a ScriptModule
    y = program(x)                                           # as the module is called

    cierge.compile("model.pt2", output="model.cierge", dim="s0=1..64")
    outputs = cierge.load("model.cierge").context().run(x)   # -> list of cierge.Tensor
    y = torch.from_dlpack(outputs[0])
"""
from __future__ import annotations

import asyncio
import ctypes as C
import functools
import json
import math
import os
import pathlib
import shutil
import struct
import sys
import tempfile
import threading
from typing import Any, Callable, Mapping, TypeVar, Union

_Path = Union[str, "os.PathLike[str]"]
_F = TypeVar("_F", bound=Callable[..., Any])

__all__ = ["compile", "explain", "inspect", "verify", "load", "Program", "Context", "Tensor", "Error"]


class Error(Exception):
    """A failed call: .code is the status's number, .exit_code what the command line would exit with."""

    code: int
    exit_code: int

    def __init__(self, message, code, exit_code):
        super().__init__(message)
        self.code, self.exit_code = code, exit_code

    def __reduce__(self):
        return Error, (str(self), self.code, self.exit_code)


class _DLTensor(C.Structure):
    _fields_ = [("data", C.c_void_p), ("device_type", C.c_int32), ("device_id", C.c_int32), ("ndim", C.c_int32),
                ("code", C.c_uint8), ("bits", C.c_uint8), ("lanes", C.c_uint16), ("shape", C.POINTER(C.c_int64)),
                ("strides", C.POINTER(C.c_int64)), ("byte_offset", C.c_uint64)]


class _DLManagedVersioned(C.Structure):
    _fields_ = [("major", C.c_uint32), ("minor", C.c_uint32), ("manager_ctx", C.c_void_p), ("deleter", C.c_void_p),
                ("flags", C.c_uint64), ("dl_tensor", _DLTensor)]


class _Spec(C.Structure):
    _fields_ = [("name", C.c_char_p), ("kind", C.c_int), ("dtype", C.c_char_p), ("code", C.c_uint8), ("bits", C.c_uint8),
                ("lanes", C.c_uint16), ("rank", C.c_int), ("sizes", C.POINTER(C.c_int64)), ("dims", C.POINTER(C.c_char_p)),
                ("constant", C.c_char_p)]


class _LoadOptions(C.Structure):
    _fields_ = [("size", C.c_size_t), ("libtorch", C.c_char_p), ("lazy", C.c_int), ("torch_libraries", C.POINTER(C.c_char_p)),
                ("allow_unsafe_ops", C.POINTER(C.c_char_p))]


class _ContextOptions(C.Structure):
    _fields_ = [("size", C.c_size_t), ("threads", C.c_int), ("profile", C.c_int)]


_PROFILE = {None: 0, "steps": 1, "trace": 2}
_READ_ONLY = 1  # DLPack's flag
_KINDS = ("tensor", "int", "float", "bool", "none", "string")
_in_capsule, _is_capsule, _new_capsule = C.pythonapi.PyCapsule_GetPointer, C.pythonapi.PyCapsule_IsValid, C.pythonapi.PyCapsule_New
_in_capsule.restype, _in_capsule.argtypes = C.c_void_p, [C.py_object, C.c_char_p]
_is_capsule.restype, _is_capsule.argtypes = C.c_int, [C.py_object, C.c_char_p]
_new_capsule.restype, _new_capsule.argtypes = C.py_object, [C.c_void_p, C.c_char_p, C.c_void_p]


def _find(name):
    here = pathlib.Path(__file__).resolve().parent
    for folder in (os.environ.get("CIERGE_LIB_DIR"), here, here.parent.parent / "build"):
        if folder and (pathlib.Path(folder) / name).exists():
            return str(pathlib.Path(folder) / name)
    raise ImportError(f"{name} is neither in the package (pip install . puts it there) nor in CIERGE_LIB_DIR or build/ (make does)")


_lib = None


def _library():
    global _lib
    if _lib is None:
        _lib = C.CDLL(_find("libcierge.so"))
        p = C.c_void_p
        for name, result, args in (
            ("cierge_version", C.c_char_p, []), ("cierge_status_code", C.c_int, [p]), ("cierge_status_message", C.c_char_p, [p]),
            ("cierge_status_exit_code", C.c_int, [p]), ("cierge_status_free", None, [p]),
            ("cierge_load", p, [C.c_char_p, C.POINTER(_LoadOptions), C.POINTER(p)]), ("cierge_program_free", None, [p]),
            ("cierge_input_count", C.c_size_t, [p]), ("cierge_output_count", C.c_size_t, [p]),
            ("cierge_input_spec", C.POINTER(_Spec), [p, C.c_size_t]), ("cierge_output_spec", C.POINTER(_Spec), [p, C.c_size_t]),
            ("cierge_has_state", C.c_int, [p]), ("cierge_mutated_count", C.c_size_t, [p]), ("cierge_mutated_input", C.c_size_t, [p, C.c_size_t]),
            ("cierge_mutated_spec", C.POINTER(_Spec), [p, C.c_size_t]), ("cierge_mutated_get", p, [p, C.c_size_t, C.POINTER(C.POINTER(_DLTensor))]),
            ("cierge_context_new", p, [p, C.POINTER(_ContextOptions), C.POINTER(p)]), ("cierge_context_free", None, [p]),
            ("cierge_input_set", p, [p, C.c_size_t, p, C.c_uint32]), ("cierge_run", p, [p]),
            ("cierge_output_get", p, [p, C.c_size_t, C.POINTER(C.POINTER(_DLTensor))]),
            ("cierge_output_take", p, [p, C.c_size_t, C.POINTER(p)]), ("cierge_reset", p, [p]), ("cierge_seed", p, [p, C.c_uint64]),
            ("cierge_profile_text", p, [p, C.POINTER(p)]), ("cierge_profile_json", p, [p, C.POINTER(p)]), ("cierge_profile_trace", p, [p, C.POINTER(p)]),
            ("cierge_inspect", p, [C.c_char_p, C.POINTER(p)]), ("cierge_verify", p, [C.c_char_p]), ("cierge_text_free", None, [p]),
            ("cierge_options_new", p, [C.POINTER(p)]), ("cierge_options_add", p, [p, C.c_char_p, C.c_char_p]),
            ("cierge_options_free", None, [p]), ("cierge_compile", p, [C.c_char_p, C.c_char_p, p]),
            ("cierge_compile_text", p, [C.c_char_p, C.c_size_t, C.c_char_p, C.c_char_p, p]),
            ("cierge_explain", p, [C.c_char_p, p, C.POINTER(p)]),
        ):
            f = getattr(_lib, name)
            f.restype, f.argtypes = result, args
    return _lib


def _check(status):
    if status:
        lib = _library()
        e = Error(lib.cierge_status_message(status).decode(errors="replace"), lib.cierge_status_code(status), lib.cierge_status_exit_code(status))
        lib.cierge_status_free(status)
        raise e


def _take_text(pointer):
    text = C.string_at(pointer).decode(errors="replace")
    _library().cierge_text_free(pointer)
    return text


class _Options:
    """Keyword arguments as the command line's options: require_native=True, dim=["s0=1..64"], backends="torch"."""

    def __init__(self, options):
        lib, self.handle = _library(), C.c_void_p()
        _check(lib.cierge_options_new(C.byref(self.handle)))
        for name, value in options.items():
            for v in value if isinstance(value, (list, tuple)) else [value]:
                if v is False or v is None:
                    continue
                _check(lib.cierge_options_add(self.handle, name.replace("_", "-").encode(), ("" if v is True else str(v)).encode()))

    def __del__(self):
        _library().cierge_options_free(self.handle)


def compile(model: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None, *, dynamic_shapes: Any = None, output: _Path | None = None,
            **options: Any) -> Program:
    """Compiles a model and gives the Program.

    model: a torch.nn.Module, exported here with args, kwargs and dynamic_shapes as torch.export.export takes them (in the mode that it
    is in: call eval() first), or a function, likewise; a torch.export.ExportedProgram; a torch.jit.ScriptModule or ScriptFunction, whose
    types args and kwargs show, and its results an example call of a copy where their type does not say them; or the path of a .pt2,
    .pt or .cir file, behind which its output may stand without the name: compile("m.pt2", "m.cierge"). An export with torch.func's
    transforms in it (vmap, jvp) is decomposed by run_decompositions(). output: where the artifact goes, which the Program loads once it
    is used; without it the program alone holds it. options: those of `cierge compile --help`, with _ for - (require_native=True,
    dim=["s0=1..64"], backends="torch").
    """
    kwargs, folder, trees = dict(kwargs or {}), None, None
    if isinstance(args, (str, os.PathLike)):
        if output is not None or not isinstance(model, (str, os.PathLike)):
            raise TypeError("args are the model's arguments; where the artifact goes is said by output=")
        args, output = (), args
    try:
        if isinstance(model, (str, os.PathLike)):
            if args or kwargs or dynamic_shapes is not None:
                raise TypeError("a file has its arguments: args, kwargs and dynamic_shapes are for modules")
            source = model
        else:
            from . import _model
            folder = tempfile.mkdtemp(prefix="cierge-")
            source, trees = _model.written(model, tuple(args), kwargs, dynamic_shapes, folder, options)
        if output is None:
            folder = folder or tempfile.mkdtemp(prefix="cierge-")
        artifact = os.path.join(folder, "model.cierge") if output is None else output
        o = _Options(options)
        _check(_library().cierge_compile(os.fsencode(source), os.fsencode(artifact), o.handle))
        return Program(artifact, torch_libraries=_listed(options.get("torch_library")), allow_unsafe_ops=_listed(options.get("allow_unsafe_ops")), trees=trees,
                       later=output is not None, passing=output is None)
    finally:
        if folder:  # what was mapped stays
            shutil.rmtree(folder, ignore_errors=True)


def _listed(x):
    return [] if x is None else list(x) if isinstance(x, (list, tuple)) else [x]


def compile_text(text: str | bytes, out: _Path, path: _Path | None = None, **options: Any) -> None:
    """Compiles a program in the text form; path: where it would lie. Options weights and blobs say where those are."""
    o, text = _Options(options), text.encode() if isinstance(text, str) else text
    _check(_library().cierge_compile_text(text, len(text), path and os.fsencode(path), os.fsencode(out), o.handle))


def explain(model: _Path, **options: Any) -> str:
    o, text = _Options(options), C.c_void_p()
    _check(_library().cierge_explain(os.fsencode(model), o.handle, C.byref(text)))
    return _take_text(text)


def inspect(path: _Path) -> str:
    text = C.c_void_p()
    _check(_library().cierge_inspect(os.fsencode(path), C.byref(text)))
    return _take_text(text)


def verify(path: _Path) -> None:
    _check(_library().cierge_verify(os.fsencode(path)))


_DELETER = C.CFUNCTYPE(None, C.c_void_p)


_lent = {}  # by address: what was lent and is not returned yet, and the context that it belongs to
_return = _DELETER(lambda managed: _lent.pop(managed, None) and None)


_WORDS = {6: "bool", 0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex"}  # by DLPack's code


class Tensor:
    """An output: for torch.from_dlpack, numpy.from_dlpack …, whose it is then, or as an array of NumPy."""

    shape: tuple[int, ...]
    dtype: str  # "float32" …

    def __init__(self, managed, check=None):
        self._managed, self._check, self._array = managed, check, None
        t = _DLManagedVersioned.from_address(managed).dl_tensor
        self.shape = tuple(t.shape[:t.ndim])
        self.dtype = _WORDS[t.code] + (str(t.bits) if t.code != 6 else "")  # "float32"

    def __repr__(self):
        return f"cierge.Tensor(shape={self.shape}, dtype={self.dtype})"

    def __reduce__(self):
        raise TypeError("an output is neither copied nor pickled: make an array or a tensor of it")

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        if self._array is not None:
            return self._array.__dlpack__()
        if not self._managed:
            raise ValueError("this tensor was handed over already")
        if self._check:
            self._check()
        pointer, self._managed = self._managed, None
        return _new_capsule(pointer, b"dltensor_versioned", None)

    def numpy(self) -> Any:
        """Its memory as an array, the same one each time."""
        if self._array is None:
            import numpy
            if self.dtype == "bfloat16":
                raise TypeError("NumPy has no bfloat16: torch.from_dlpack takes this tensor")
            self._array = numpy.from_dlpack(self)
        return self._array

    def __array__(self, dtype=None, copy=None):
        import numpy
        return numpy.array(self.numpy(), dtype, copy=True) if copy else numpy.asarray(self.numpy(), dtype)

    def __del__(self):
        if getattr(self, "_managed", None):
            deleter = _DLManagedVersioned.from_address(self._managed).deleter
            if deleter:
                _DELETER(deleter)(self._managed)


_AT, _FLAGS = _DLManagedVersioned.dl_tensor.offset, _DLManagedVersioned.flags.offset
_CIERGE_READ_ONLY = 1  # cierge_input_set's flag


class _Torch:
    """What calls need of torch, once somebody has imported it: its exchange of capsules without the checks that are made here."""

    def __init__(self, torch):
        from torch.utils import dlpack
        self.tensor, self.plain, self.lend, self.take = torch.Tensor, (torch.Tensor, torch.nn.Parameter), dlpack.to_dlpack, dlpack.from_dlpack


_seen = None


def _torch():
    global _seen
    if _seen is None and "torch" in sys.modules:
        _seen = _Torch(sys.modules["torch"])
    return _seen


def _borrow(x, written):
    """(what keeps the memory, address of the DLTensor, cierge_input_set's flags). written: the program writes to it."""
    torch = _torch()
    if torch and isinstance(x, torch.tensor):
        if x.is_conj() or x.is_neg():  # they would be lent as they lie
            if written:
                raise BufferError("the program writes to this input, a view that PyTorch conjugates or negates as it is read: give x.resolve_conj().resolve_neg()")
            x = x.resolve_conj().resolve_neg()
        if type(x) in torch.plain and not x.is_sparse:
            capsule = torch.lend(x)
            return capsule, _in_capsule(capsule, b"dltensor"), 0
        x = x.detach()
    if not hasattr(x, "__dlpack__"):
        numpy = sys.modules.get("numpy")
        if not numpy or not isinstance(x, numpy.generic):
            raise TypeError(f"an input is a tensor (anything with __dlpack__), a number or None, not a {type(x).__name__}")
        x = numpy.asarray(x)
    try:
        capsule = x.__dlpack__(max_version=(1, 0))
    except TypeError:  # of an exchange before 1.0, which cannot say that memory is read-only
        try:
            capsule = x.__dlpack__()
        except BufferError:
            if not written and hasattr(x, "flags") and not x.flags.writeable:
                return _borrow(x.copy(), written)
            raise
    if not _is_capsule(capsule, b"dltensor_versioned"):
        return capsule, _in_capsule(capsule, b"dltensor"), 0
    at = _in_capsule(capsule, b"dltensor_versioned")
    return capsule, at + _AT, _CIERGE_READ_ONLY if C.c_uint64.from_address(at + _FLAGS).value & _READ_ONLY else 0


# How a number of a dtype is packed (struct), and DLPack's code of it.
_NUMBERS = {"bool": ("?", 6), "int8": ("b", 0), "int16": ("h", 0), "int32": ("i", 0), "int64": ("q", 0), "uint8": ("B", 1), "uint16": ("H", 1), "uint32": ("I", 1),
            "uint64": ("Q", 1), "float16": ("e", 2), "bfloat16": ("H", 4), "float32": ("f", 2), "float64": ("d", 2), "complex64": ("ff", 5), "complex128": ("dd", 5)}
_OWN = {bool: "bool", int: "int64", float: "float64", complex: "complex128"}
_RANK_OF_CODE = {6: 0, 0: 1, 1: 1, 2: 2, 4: 2, 5: 3}


class _Number:
    """A Python number as a 0-dim tensor: of the dtype that is expected, where that holds numbers of its kind, else of its own."""

    def __init__(self, x, spec):
        own = next(dtype for kind, dtype in _OWN.items() if isinstance(x, kind))
        rank = lambda dtype: _RANK_OF_CODE[_NUMBERS[dtype][1]]  # noqa: E731
        fits = spec and not spec.rank and spec.dtype in _NUMBERS and rank(own) <= rank(spec.dtype) and (own != "bool" or spec.kind == "tensor")
        dtype = spec.dtype if fits else own
        form, code = _NUMBERS[dtype]
        try:
            if dtype == "bfloat16":  # rounded to even
                bits = struct.unpack("I", struct.pack("f", x))[0]
                packed = struct.pack("H", 0x7fc0 if x != x else (bits + 0x7fff + (bits >> 16 & 1)) >> 16)
            else:
                if dtype == "float16" and 65520 <= abs(x):  # rounds to infinity
                    x = math.copysign(math.inf, x)
                packed = struct.pack(form, *(complex(x).real, complex(x).imag) if code == 5 else (x,))
        except (struct.error, OverflowError):
            raise OverflowError(f"input {spec.name}: {x} is outside {dtype}") from None
        self._bytes = C.create_string_buffer(packed, len(packed))
        self._t = _DLTensor(C.addressof(self._bytes), 1, 0, 0, code, 8 * len(packed), 1, None, None, 0)
        self.address = C.addressof(self._t)


class Spec:
    name: str
    kind: str               # "tensor", "int", "float", "bool", "none", "string"
    dtype: str | None       # "float32" …
    rank: int               # -1: dtype and shape are what each call gives
    dims: tuple[str, ...]   # "3", "s0", "2*s0 + 1"
    constant: str | None    # of an input that the export recorded: its value as JSON

    def __init__(self, s):
        self.name, self.kind = s.name.decode(), _KINDS[s.kind]
        self.dtype = s.dtype.decode() if s.dtype else None
        self.rank = s.rank if s.kind == 0 else 0
        self.dims = tuple(s.dims[i].decode() for i in range(s.rank))
        self.constant = s.constant.decode() if s.constant else None

    def __repr__(self):
        return f"{self.name}: {self.dtype or self.kind}{'' if self.rank < 0 else '[' + ', '.join(self.dims) + ']'}"


def _locked(method: _F) -> _F:
    """The context's other methods wait in other threads meanwhile: a call and its outputs are one thing."""
    @functools.wraps(method)
    def locked(self, *args, **kwargs):
        with self._lock:
            return method(self, *args, **kwargs)
    return locked  # type: ignore[return-value]


class Context:
    """Runs a program. State (mutated buffers) lives here.

    Threads may share a context: each method waits until the others' are done, and run() gives the answer to its own inputs. Between
    set_input(), call() and output() another thread's come in; use run() there, or a context for each thread, which do not wait.
    """

    def __init__(self, program, threads=0, profile=None):
        if profile not in _PROFILE:
            raise ValueError(f"profile={profile!r}: None, 'steps' or 'trace'")
        self.program, self._keep, self._handle, self._calls = program, {}, C.c_void_p(), 0
        self._lock = threading.RLock()
        o = _ContextOptions(C.sizeof(_ContextOptions), threads, _PROFILE[profile])
        _check(_library().cierge_context_new(program._handle, C.byref(o), C.byref(self._handle)))
        lib = _library()
        self._at, self._set, self._run, self._take_output = self._handle.value, lib.cierge_input_set, lib.cierge_run, lib.cierge_output_take
        self._specs, self._written, self._outputs = program.inputs, set(program.mutated), range(len(program.outputs))
        self._taken = C.c_void_p()
        self._taken_at = C.byref(self._taken)

    def __del__(self):
        if getattr(self, "_handle", None):
            _library().cierge_context_free(self._handle)

    def __reduce__(self):
        raise TypeError("a context is neither copied nor pickled, for its memory, state and lent inputs are its own: make another one of the program")

    @_locked
    def set_input(self, i: int, x: Any, read_only: bool = False) -> None:
        """Input i of the calls from now on: None for a recorded constant, a number, which takes the input's dtype where that holds numbers of
        its kind, or what has __dlpack__, whose memory is lent until it is set again (a copy's, of what torch conjugates or negates as it is read)."""
        self._give(i, x, _CIERGE_READ_ONLY if read_only else 0)

    def _give(self, i, x, flags=0):
        if x is None:
            keep, address = None, None
        elif isinstance(x, (bool, int, float, complex)):
            keep = _Number(x, self._specs[i] if i < len(self._specs) else None)
            address = keep.address
        else:
            keep, address, more = _borrow(x, i in self._written)
            flags |= more
        status = self._set(self._at, i, address, flags)
        if status:
            _check(status)
        self._keep[i] = keep

    @_locked
    def call(self) -> None:
        """Runs with the inputs as they were set."""
        self._call()

    def _call(self):
        self._calls += 1  # what was borrowed is not the last call's any more, even where this one fails
        status = self._run(self._at)
        if status:
            _check(status)

    def _take(self, i):
        status = self._take_output(self._at, i, self._taken_at)
        if status:
            _check(status)
        return self._taken.value

    @_locked
    def run(self, *inputs: Any, borrow: bool = False) -> list[Tensor | None]:
        """Inputs in order (None for recorded constants), those not given as they were set before; gives the outputs (borrow: see there)."""
        for i, x in enumerate(inputs):
            self._give(i, x)
        self._call()
        return [self.borrow(i) if borrow else self.output(i) for i in self._outputs]

    @_locked
    def output(self, i: int) -> Tensor | None:
        managed = self._take(i)
        return Tensor(managed) if managed else None

    @_locked
    def borrow(self, i: int) -> Tensor | None:
        """Output i where it lies, without a copy, to be read until the next call, or until output(i) takes it.

        An array made of it keeps the context alive, but not its elements: the next call changes them or frees the memory. Copy what
        is wanted longer. A Tensor that no array was made of by then refuses to become one.
        """
        return self._lend(_library().cierge_output_get, i)

    @_locked
    def mutated(self, k: int) -> Tensor:
        """What an input that the program writes to, or gives another shape, is after the last call: the one of this name, or number k of
        program.mutated. Borrowed like an output: in another shape it lies in the context's memory, else it is the tensor that was set.
        """
        if isinstance(k, str):
            names = [s.name for s in self.program.mutated_specs]
            if k not in names:
                raise ValueError(f"the program changes no input {k!r}; it changes: {', '.join(names) or 'none'}")
            k = names.index(k)
        return self._lend(_library().cierge_mutated_get, k)

    def _lend(self, function, i):
        def get():
            if calls != self._calls:
                raise ValueError("this tensor was borrowed until the context's next call, which is over")
            _check(function(self._handle, i, C.byref(t)))

        calls, t = self._calls, C.POINTER(_DLTensor)()
        get()
        if not t:
            return None
        managed = _DLManagedVersioned(major=1, minor=0, deleter=C.cast(_return, C.c_void_p), flags=_READ_ONLY, dl_tensor=t.contents)
        _lent[C.addressof(managed)] = managed, self
        return Tensor(C.addressof(managed), get)

    @_locked
    def _text(self, function):
        text = C.c_void_p()
        _check(function(self._handle, C.byref(text)))
        return _take_text(text)

    def profile(self) -> Any:
        """Where the time of the calls so far went, step by step, as cierge_profile_json of cierge.h says it. Needs profile=."""
        return json.loads(self._text(_library().cierge_profile_json))

    def profile_table(self) -> str:
        """The same to read, with the memory that the context plans with."""
        return self._text(_library().cierge_profile_text)

    def trace(self, path: _Path) -> None:
        """Writes what ran when as a Chrome trace, for Perfetto. Needs profile="trace"."""
        text = self._text(_library().cierge_profile_trace)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    @_locked
    def reset(self) -> None:
        _check(_library().cierge_reset(self._handle))

    @_locked
    def seed(self, seed: int) -> None:
        _check(_library().cierge_seed(self._handle, seed))


class Program:
    """A loaded artifact. Called as the model is, by any number of threads: calls at the same time have contexts of their own, the
    first with all processors, the others with one each. Where it has state, calls are one at a time: what the model changes in its
    buffers lasts from call to call, until reset().

    It can be copied and pickled: by its path where it has one, else with all its bytes. The other program begins as after reset().
    """

    inputs: list[Spec]
    outputs: list[Spec]
    mutated: list[int]          # inputs that a call writes to
    mutated_specs: list[Spec]   # what those are afterwards

    def __init__(self, path, libtorch=None, lazy=False, torch_libraries=(), allow_unsafe_ops=(), trees=None, later=False, passing=False):
        """later: it is loaded once it is used; passing: the file goes away, and the program alone has its contents."""
        self._trees, self._lock, self._file = trees, threading.RLock(), open(path, "rb") if passing else None
        self._own, self._idle, self._stateful = None, [], None  # its first context; those that no call uses now
        self._given = path, libtorch, lazy, torch_libraries, allow_unsafe_ops
        if not later:
            self._load()

    def _where(self):
        return f"/proc/self/fd/{self._file.fileno()}" if self._file else os.path.abspath(self._given[0])

    def __reduce__(self):
        if not self._file:
            return _again, (self._where(), None, self._given[1:], self._trees)
        with open(self._where(), "rb") as f:
            return _again, (None, f.read(), self._given[1:], self._trees)

    def __copy__(self):
        return Program(self._where(), *self._given[1:], trees=self._trees, later="_handle" not in self.__dict__, passing=bool(self._file))

    def __deepcopy__(self, memo):
        return self.__copy__()

    def _load(self):
        path, libtorch, lazy, torch_libraries, allow_unsafe_ops = self._given
        lib, handle = _library(), C.c_void_p()
        libs, allow = ((C.c_char_p * (len(t) + 1))(*[os.fsencode(x) for x in t], None) for t in (torch_libraries, allow_unsafe_ops))
        o = _LoadOptions(C.sizeof(_LoadOptions), os.fsencode(libtorch) if libtorch else None, int(lazy), libs, allow)
        _check(lib.cierge_load(os.fsencode(path), C.byref(o), C.byref(handle)))
        self._handle = handle
        self.inputs = [Spec(lib.cierge_input_spec(handle, i).contents) for i in range(lib.cierge_input_count(handle))]
        self.outputs = [Spec(lib.cierge_output_spec(handle, i).contents) for i in range(lib.cierge_output_count(handle))]
        self.mutated = [lib.cierge_mutated_input(handle, k) for k in range(lib.cierge_mutated_count(handle))]
        self.mutated_specs = [Spec(lib.cierge_mutated_spec(handle, k).contents) for k in range(len(self.mutated))]  # what those are after a call

    def __getattr__(self, name):  # what was compiled for a file is loaded when it is first asked for something: it may be another machine's
        if name not in ("_handle", "inputs", "outputs", "mutated", "mutated_specs"):
            raise AttributeError(f"'Program' object has no attribute {name!r}")
        with self._lock:
            if name not in self.__dict__:
                self._load()
        return self.__dict__[name]

    def __del__(self):
        if self.__dict__.get("_handle"):
            _library().cierge_program_free(self._handle)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The results as the model gives them, tensors of torch where torch is imported, else of NumPy; of a program that was loaded
        from a file, whose arguments are its inputs in order: the list of its outputs, or the only one. What the model writes to its
        inputs is in the caller's tensors; one that it gives another shape (x.t_()) keeps its own here: Context.mutated has that."""
        if not self._trees and kwargs:
            raise TypeError("a program that was loaded from a file takes its inputs in order")
        leaves = self._trees.flatten(args, kwargs, self.inputs) if self._trees else args
        if len(leaves) != len(self.inputs):
            missing = self.inputs[len(leaves):]
            if self._trees or not missing or not all(spec.constant for spec in missing):
                raise TypeError(f"{len(self.inputs)} inputs are expected ({', '.join(map(repr, self.inputs))}), {len(leaves)} are given")
            leaves = (*leaves, *[None] * len(missing))
        try:
            context = self._idle.pop()
        except IndexError:
            context = self._another()
        try:
            with context._lock:
                for i, x in enumerate(leaves):
                    if isinstance(x, str):
                        spec = self.inputs[i]
                        if spec.constant != json.dumps(x):
                            raise ValueError(f"input {spec.name} is the constant {spec.constant} of the export, not {x!r}")
                        x = None
                    context._give(i, x)
                context._call()
                results = [_result(context._take(i), spec) for i, spec in enumerate(self.outputs)]
        finally:
            if not self._stateful:
                self._idle.append(context)
        return self._trees.unflatten(results) if self._trees else results[0] if len(results) == 1 else results

    def _another(self):
        """A context for a call: of a program with state always the same."""
        with self._lock:
            if self._own is None:
                self._stateful = bool(_library().cierge_has_state(self._handle))
                self._own = Context(self)
            elif not self._stateful:
                return Context(self, threads=1)
            return self._own

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """A call for asyncio, in a thread of the loop's executor."""
        return await asyncio.get_running_loop().run_in_executor(None, functools.partial(self, *args, **kwargs))

    def reset(self) -> None:
        """Buffers are again what they were when it was compiled."""
        if _library().cierge_has_state(self._handle):
            self._another().reset()

    def save(self, path: _Path) -> None:
        """Writes the artifact, whole or not at all."""
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(os.path.abspath(path)), prefix=".cierge-", delete=False) as f:
            try:
                with open(self._where(), "rb") as mine:
                    shutil.copyfileobj(mine, f)
                os.chmod(f.name, 0o666 & ~_umask())
                os.replace(f.name, path)
            except BaseException:
                os.unlink(f.name)
                raise

    def __repr__(self):
        return f"cierge.Program({', '.join(map(repr, self.inputs))} -> {', '.join(map(repr, self.outputs))})"

    def context(self, threads: int = 0, profile: str | None = None) -> Context:
        """profile: "steps" times them, for profile(); "trace" also notes when each ran, for trace()."""
        return Context(self, threads, profile)


def _umask():
    old = os.umask(0)
    os.umask(old)
    return old


def _again(path, contents, rest, trees):
    if path:
        return Program(path, *rest, trees=trees, later=True)
    with tempfile.NamedTemporaryFile(prefix="cierge-") as f:
        f.write(contents)
        f.flush()
        return Program(f.name, *rest, trees=trees, passing=True)


def _result(managed, spec):
    if not managed:
        return None
    torch = _torch()
    if torch:
        t = torch.take(_new_capsule(managed, b"dltensor_versioned", None))
    else:
        import numpy
        t = numpy.from_dlpack(Tensor(managed))
    return t if spec.kind == "tensor" else t.item()


def load(path: _Path, **options: Any) -> Program:
    return Program(path, **options)


def __getattr__(name):
    if name == "__version__":
        return _library().cierge_version().decode()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
