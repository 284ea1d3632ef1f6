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
import ctypes as C
import functools
import json
import os
import pathlib
import shutil
import sys
import tempfile
import threading

__all__ = ["compile", "explain", "inspect", "verify", "load", "Program", "Context", "Tensor", "Error"]


class Error(Exception):
    """A failed call: .code is the status's number, .exit_code what the command line would exit with."""

    def __init__(self, message, code, exit_code):
        super().__init__(message)
        self.code, self.exit_code = code, exit_code


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
_api = C.pythonapi
_api.PyCapsule_GetPointer.restype, _api.PyCapsule_GetPointer.argtypes = C.c_void_p, [C.py_object, C.c_char_p]
_api.PyCapsule_IsValid.restype, _api.PyCapsule_IsValid.argtypes = C.c_int, [C.py_object, C.c_char_p]
_api.PyCapsule_New.restype, _api.PyCapsule_New.argtypes = C.py_object, [C.c_void_p, C.c_char_p, C.c_void_p]


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
            ("cierge_mutated_count", C.c_size_t, [p]), ("cierge_mutated_input", C.c_size_t, [p, C.c_size_t]),
            ("cierge_mutated_spec", C.POINTER(_Spec), [p, C.c_size_t]), ("cierge_mutated_get", p, [p, C.c_size_t, C.POINTER(C.POINTER(_DLTensor))]),
            ("cierge_context_new", p, [p, C.POINTER(_ContextOptions), C.POINTER(p)]), ("cierge_context_free", None, [p]),
            ("cierge_input_set", p, [p, C.c_size_t, C.POINTER(_DLTensor), C.c_uint32]), ("cierge_run", p, [p]),
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


def compile(model, args=(), kwargs=None, *, dynamic_shapes=None, output=None, **options):
    """Compiles a model and gives the Program.

    model: a torch.nn.Module, exported here with args, kwargs and dynamic_shapes as torch.export.export takes them (in the mode that it
    is in: call eval() first), or a function, likewise; a torch.export.ExportedProgram; a torch.jit.ScriptModule or ScriptFunction, whose
    types args and kwargs show, and its results an example call of a copy where their type does not say them; or the path of a .pt2,
    .pt or .cir file, behind which its output may stand without the name: compile("m.pt2", "m.cierge"). output: where the artifact goes,
    which the Program loads once it is used; without it the program alone holds it. options: those of `cierge compile --help`, with _ for - (require_native=True, dim=["s0=1..64"], backends="torch").
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
        return Program(artifact, torch_libraries=_listed(options.get("torch_library")), allow_unsafe_ops=_listed(options.get("allow_unsafe_ops")), trees=trees, now=output is None)
    finally:
        if folder:  # what was mapped stays
            shutil.rmtree(folder, ignore_errors=True)


def _listed(x):
    return [] if x is None else list(x) if isinstance(x, (list, tuple)) else [x]


def compile_text(text, out, path=None, **options):
    """Compiles a program in the text form; path: where it would lie. Options weights and blobs say where those are."""
    o, text = _Options(options), text.encode() if isinstance(text, str) else text
    _check(_library().cierge_compile_text(text, len(text), path and os.fsencode(path), os.fsencode(out), o.handle))


def explain(model, **options):
    o, text = _Options(options), C.c_void_p()
    _check(_library().cierge_explain(os.fsencode(model), o.handle, C.byref(text)))
    return _take_text(text)


def inspect(path):
    text = C.c_void_p()
    _check(_library().cierge_inspect(os.fsencode(path), C.byref(text)))
    return _take_text(text)


def verify(path):
    _check(_library().cierge_verify(os.fsencode(path)))


_DELETER = C.CFUNCTYPE(None, C.c_void_p)


_lent = {}  # by address: what was lent and is not returned yet, and the context that it belongs to
_return = _DELETER(lambda managed: _lent.pop(managed, None) and None)


class Tensor:
    """An output: give it to torch.from_dlpack, numpy.from_dlpack … once; it is theirs then."""

    def __init__(self, managed, check=None):
        self._managed, self._check = managed, check
        t = C.cast(managed, C.POINTER(_DLManagedVersioned)).contents.dl_tensor
        self.shape = tuple(t.shape[i] for i in range(t.ndim))

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        if not self._managed:
            raise ValueError("this tensor was handed over already")
        if self._check:
            self._check()
        pointer, self._managed = self._managed, None
        return _api.PyCapsule_New(pointer, b"dltensor_versioned", None)

    def __del__(self):
        if getattr(self, "_managed", None):
            deleter = C.cast(self._managed, C.POINTER(_DLManagedVersioned)).contents.deleter
            if deleter:
                _DELETER(deleter)(self._managed)


def _borrow(x):
    """(capsule, pointer to the DLTensor in it): valid while the capsule lives."""
    if getattr(x, "is_neg", bool)():  # as torch says of a conjugated tensor; of this one it would lend the bits as they lie
        raise BufferError("Can't export tensors with the negative bit set: give x.resolve_neg()")
    capsule = x.__dlpack__()
    if _api.PyCapsule_IsValid(capsule, b"dltensor_versioned"):
        p = _api.PyCapsule_GetPointer(capsule, b"dltensor_versioned")
        return capsule, C.pointer(C.cast(p, C.POINTER(_DLManagedVersioned)).contents.dl_tensor)
    return capsule, C.cast(_api.PyCapsule_GetPointer(capsule, b"dltensor"), C.POINTER(_DLTensor))


class _Number:
    """A Python number as a 0-dim int64, float64 or bool tensor."""

    def __init__(self, value):
        if isinstance(value, bool):
            self._cell, code, bits = C.c_uint8(value), 6, 8
        elif isinstance(value, int):
            self._cell, code, bits = C.c_int64(value), 0, 64
        else:
            self._cell, code, bits = C.c_double(value), 2, 64
        self._t = _DLTensor(C.cast(C.pointer(self._cell), C.c_void_p), 1, 0, 0, code, bits, 1, None, None, 0)

    def pointer(self):
        return C.pointer(self._t)


class Spec:
    def __init__(self, s):
        self.name, self.kind = s.name.decode(), _KINDS[s.kind]
        self.dtype = s.dtype.decode() if s.dtype else None
        self.rank = s.rank if s.kind == 0 else 0  # -1: dtype and shape are what each call gives
        self.dims = tuple(s.dims[i].decode() for i in range(s.rank))
        self.constant = s.constant.decode() if s.constant else None

    def __repr__(self):
        return f"{self.name}: {self.dtype or self.kind}{'' if self.rank < 0 else '[' + ', '.join(self.dims) + ']'}"


def _locked(method):
    """The context's other methods wait in other threads meanwhile: a call and its outputs are one thing."""
    @functools.wraps(method)
    def locked(self, *args, **kwargs):
        with self._lock:
            return method(self, *args, **kwargs)
    return locked


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

    def __del__(self):
        if getattr(self, "_handle", None):
            _library().cierge_context_free(self._handle)

    @_locked
    def set_input(self, i, x, read_only=False):
        """Input i of the calls from now on: a number, None for a recorded constant, or what has __dlpack__, whose memory is lent until it is set again."""
        keep, pointer = (None, None) if x is None else (n := _Number(x), n.pointer()) if isinstance(x, (bool, int, float)) else _borrow(x)
        _check(_library().cierge_input_set(self._handle, i, pointer, 1 if read_only else 0))
        self._keep[i] = keep

    @_locked
    def call(self):
        """Runs with the inputs as they were set."""
        self._calls += 1  # what was borrowed is not the last call's any more, even where this one fails
        _check(_library().cierge_run(self._handle))

    @_locked
    def run(self, *inputs, borrow=False):
        """Inputs in order (None for recorded constants), those not given as they were set before; gives the outputs (borrow: see there)."""
        for i, x in enumerate(inputs):
            self.set_input(i, x)
        self.call()
        return [(self.borrow if borrow else self.output)(i) for i in range(_library().cierge_output_count(self.program._handle))]

    @_locked
    def output(self, i):
        managed = C.c_void_p()
        _check(_library().cierge_output_take(self._handle, i, C.byref(managed)))
        return Tensor(managed.value) if managed.value else None

    @_locked
    def borrow(self, i):
        """Output i where it lies, without a copy, to be read until the next call, or until output(i) takes it.

        An array made of it keeps the context alive, but not its elements: the next call changes them or frees the memory. Copy what
        is wanted longer. A Tensor that no array was made of by then refuses to become one.
        """
        return self._lend(_library().cierge_output_get, i)

    @_locked
    def mutated(self, k):
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

    def profile(self):
        """Where the time of the calls so far went, step by step, as cierge_profile_json of cierge.h says it. Needs profile=."""
        return json.loads(self._text(_library().cierge_profile_json))

    def profile_table(self):
        """The same to read, with the memory that the context plans with."""
        return self._text(_library().cierge_profile_text)

    def trace(self, path):
        """Writes what ran when as a Chrome trace, for Perfetto. Needs profile="trace"."""
        text = self._text(_library().cierge_profile_trace)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    @_locked
    def reset(self):
        _check(_library().cierge_reset(self._handle))

    @_locked
    def seed(self, seed):
        _check(_library().cierge_seed(self._handle, seed))


class Program:
    """A loaded artifact. Called as the model is, in any thread (one call at a time: contexts of their own do not wait); what it
    changes in its buffers lasts from call to call, until reset()."""

    def __init__(self, path, libtorch=None, lazy=False, torch_libraries=(), allow_unsafe_ops=(), trees=None, now=True):
        self._trees, self._own, self._lock = trees, None, threading.RLock()
        self._given = path, libtorch, lazy, torch_libraries, allow_unsafe_ops
        if now:
            self._load()

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

    def __call__(self, *args, **kwargs):
        """The results as the model gives them, tensors of torch where torch is imported, else of NumPy; of a program that was loaded
        from a file, whose arguments are its inputs in order: the list of its outputs, or the only one. What the model writes to its
        inputs is in the caller's tensors; one that it gives another shape (x.t_()) keeps its own here: Context.mutated has that."""
        if not self._trees and kwargs:
            raise TypeError("a program that was loaded from a file takes its inputs in order")
        leaves = self._trees.flatten(args, kwargs, self.inputs) if self._trees else list(args)
        if len(leaves) != len(self.inputs):
            raise TypeError(f"{len(self.inputs)} inputs are expected ({', '.join(map(repr, self.inputs))}), {len(leaves)} are given")
        torch = sys.modules.get("torch")
        given = [None if x is None or isinstance(x, str) else x.detach() if torch and isinstance(x, torch.Tensor) else x for x in leaves]
        for x, spec in zip(leaves, self.inputs):
            if isinstance(x, str) and spec.constant != json.dumps(x):
                raise ValueError(f"input {spec.name} is the constant {spec.constant} of the export, not {x!r}")
        results = [None if t is None else _result(t, spec, torch) for t, spec in zip(self._context().run(*given), self.outputs)]
        return self._trees.unflatten(results) if self._trees else results[0] if len(results) == 1 else results

    def _context(self):
        with self._lock:
            if self._own is None:
                self._own = Context(self)
            return self._own

    def reset(self):
        """Buffers are again what they were when it was compiled."""
        self._context().reset()

    def context(self, threads=0, profile=None):
        """profile: "steps" times them, for profile(); "trace" also notes when each ran, for trace()."""
        return Context(self, threads, profile)


def _result(t, spec, torch):
    if torch:
        t = torch.from_dlpack(t)
    else:
        import numpy
        t = numpy.from_dlpack(t)
    return t if spec.kind == "tensor" else t.item()


def load(path, **options):
    return Program(path, **options)


def __getattr__(name):
    if name == "__version__":
        return _library().cierge_version().decode()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
