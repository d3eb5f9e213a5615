"""Compiled kernels as object files: kept in a folder, bound and called without numba.

How this works: numba compiles a kernel to a function of plain numbers and addresses: where the
result goes, where an error goes, then the arguments one after the other, an array as its owner,
parent, items, item size, address, shape and strides. ``object_code`` takes that function's module,
links in what kernels need to allocate scratch memory and a function that calls it with arguments
from a row of words, and checks that it is called as is expected here and that nothing but the C
library is missing. In that row an array is the address of its Python object, from whose head the
rest is read as NumPy's own macros read it: a hundred words less to be made for each call. ``bind``
makes an object callable, in this process or a later one: llvmlite loads it, ctypes calls it and
releases the GIL. llvmlite takes 0.02 s to import and 0.4 ms for a kernel, if one engine loads them
all: so each is under a name of its own, which stands before its object. Importing numba takes 0.25 s.

An object belongs to the types of its arguments, which ``kind`` names: whoever calls it with others
reads memory that is not there. Owner and parent are null, as the caller holds the arrays.

Files are kept in ``folder``, each with a digest before it; what calls them says what names them.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import pickle
import secrets
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "bind",
    "folder",
    "is_loaded",
    "keep",
    "kept",
    "kind",
    "machine",
    "object_code",
    "object_of",
    "raw_kind",
]


def _symbol(text: str) -> str:
    """Return what the function of a module is called in its object file."""
    return f"kernel_{hashlib.sha256(text.encode()).hexdigest()[:32]}"


_C_LIBRARY = {"free", "malloc", "memcpy", "memmove", "memset", "read"}
_C_LIBRARY |= {"cos", "exp", "exp2", "fmod", "log", "log10", "log1p", "log2", "pow", "sin", "sqrt"}

_SCALARS: dict[type, Any] = {int: ctypes.c_int64, float: ctypes.c_double, bool: ctypes.c_uint8}
_SCALARS |= {np.int64: ctypes.c_int64, np.float64: ctypes.c_double, np.bool_: ctypes.c_uint8}
_SCALARS |= {np.uint64: ctypes.c_uint64}
_TYPES = {ctypes.c_void_p: ("i8*", "ptr"), ctypes.c_int64: ("i64",), ctypes.c_uint64: ("i64",)}
_TYPES |= {ctypes.c_double: ("double",), ctypes.c_uint8: ("i8",)}

# What a kernel may return: nothing, a number, or several whole numbers.
_RESULTS = {"int64": ctypes.c_int64, "uint64": ctypes.c_uint64, "float64": ctypes.c_double}
_RESULTS |= {"bool": ctypes.c_bool}


def raw_kind(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a key that differs where ``kind`` does; made at every call."""
    return tuple(
        [
            (arg.dtype, arg.ndim, arg.flags.num & 0x503)  # C and F order, aligned, writable
            if isinstance(arg, np.ndarray)
            else (type(arg), raw_kind(arg))
            if isinstance(arg, tuple)
            else type(arg)
            for arg in args
        ]
    )


def kind(arg: Any) -> str:
    """Name the type of an argument, as far as compiled code depends on it."""
    if isinstance(arg, np.ndarray):
        flags = arg.flags
        order = "C" if flags.c_contiguous else "F" if flags.f_contiguous else "A"
        more = ("" if flags.writeable else " readonly") + ("" if flags.aligned else " unaligned")
        return f"{arg.dtype!r}[{arg.ndim}{order}{more}]"
    if isinstance(arg, tuple):
        name = type(arg).__name__ + repr(getattr(arg, "_fields", ""))
        return f"{name}({', '.join(map(kind, arg))})"
    return "int64" if type(arg) is int else np.dtype(type(arg)).name


def _flat_types(arg: Any) -> list[Any]:
    if isinstance(arg, np.ndarray):
        pointer, word = ctypes.c_void_p, ctypes.c_int64
        return [pointer, pointer, word, word, pointer] + [word] * (2 * arg.ndim)
    if isinstance(arg, tuple):
        return [kind for item in arg for kind in _flat_types(item)]
    if type(arg) not in _SCALARS:
        raise NotImplementedError(f"a kernel takes no {type(arg).__name__}")
    return [_SCALARS[type(arg)]]


# PyArrayObject_fields: address, number of dimensions, addresses of shape and strides
_ADDRESS = object.__basicsize__
_SHAPE, _STRIDES = _ADDRESS + 16, _ADDRESS + 24


def _is_laid_out_so(array: NDArray[Any]) -> bool:
    """Tell whether the head of an array's object is as compiled code takes it to be."""

    def word(address: int) -> int:
        return int(ctypes.c_int64.from_address(address).value)

    shape, strides = word(id(array) + _SHAPE), word(id(array) + _STRIDES)
    ends = [(word(shape + 8 * i), word(strides + 8 * i)) for i in range(array.ndim)]
    return word(id(array) + _ADDRESS) == array.ctypes.data and ends == list(
        zip(array.shape, array.strides, strict=True)
    )


def _words(args: tuple[Any, ...], out: list[Any]) -> list[Any]:
    """Return the row of words for arguments, which must live as long as it is used."""
    for arg in args:
        if isinstance(arg, np.ndarray):
            out.append(id(arg))
        elif isinstance(arg, tuple):
            _words(arg, out)
        else:
            out.append(arg if isinstance(arg, float) else int(arg))
    return out


def _formats(args: tuple[Any, ...]) -> str:
    """Return how ``struct`` packs that row."""
    return "".join(
        "Q"
        if isinstance(arg, np.ndarray | np.uint64)
        else _formats(arg)
        if isinstance(arg, tuple)
        else "d"
        if isinstance(arg, float)
        else "q"
        for arg in args
    )


class _Error(ctypes.Structure):
    """What numba says of an error: pickled type, arguments and place, made when it compiled."""

    _fields_ = (("text", ctypes.c_void_p), ("size", ctypes.c_int32))


class _Machine:
    """The processor that is compiled for, and what was loaded."""

    def __init__(self) -> None:
        import llvmlite
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.llvm = llvm
        self.version = llvmlite.__version__
        self.triple = llvm.get_process_triple()
        self.cpu = llvm.get_host_cpu_name()
        self.features = llvm.get_host_cpu_features().flatten()
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), self.target())
        self._loaded: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def target(self) -> Any:
        """Return what makes code, with the settings of numba's own."""
        x86 = self.triple.startswith(("x86", "i386", "i686"))
        return self.llvm.Target.from_triple(self.triple).create_target_machine(
            cpu=self.cpu,
            features=self.features,
            opt=3,
            reloc="static" if x86 else "default",
            codemodel="jitdefault",
        )

    def load(self, code: bytes) -> int:
        """Load an object, before which the name of its function stands; return where that is."""
        name, _, machine_code = code.partition(b"\n")
        with self._lock:
            if name not in self._loaded:
                self._engine.add_object_file(self.llvm.ObjectFileRef.from_data(machine_code))
                self._engine.finalize_object()
                self._loaded[name] = int(self._engine.get_function_address(name.decode()))
            return self._loaded[name]

    def load_with(self, code: bytes, calls: Mapping[str, int]) -> int:
        """Load an object that calls functions by name, which are at these addresses."""
        for name, address in calls.items():
            self.llvm.add_symbol(name, address)
        return self.load(code)


_machine: _Machine | None = None
_MAKING = threading.Lock()


def machine() -> _Machine:
    """Return what compiles and loads here."""
    global _machine
    with _MAKING:  # a second one would take the first one's code with it
        if _machine is None:
            _machine = _Machine()
    return _machine


def is_loaded() -> bool:
    """Return whether what compiles and loads is there already: it takes 20 to 50 ms once."""
    return _machine is not None


@functools.cache
def folder() -> Path | None:
    """Return where object files are kept, None for nowhere."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if not given and sys.platform == "win32":
        given = os.environ.get("LOCALAPPDATA")
    elif not given:
        given = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(given).expanduser() / "vpn-policy-classifier" if given else None
    except RuntimeError:  # no home
        return None


def kept(path: Path) -> tuple[str, bytes] | None:
    """Return the note and the code that `keep` wrote, if they are whole."""
    try:
        head, code = path.read_bytes().split(b"\n", 1)
        digest, note = head.decode("ascii").split(" ", 1)
    except (OSError, ValueError):
        return None
    return (note, code) if digest == hashlib.sha256(code).hexdigest() else None


def keep(path: Path, note: str, code: bytes) -> None:
    """Write an object file, where a folder is writable."""
    digest = hashlib.sha256(code).hexdigest()
    temporary = path.with_name(f".{path.name[-30:]}.{secrets.token_hex(8)}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(f"{digest} {note}\n".encode() + code)
        temporary.replace(path)


def object_of(text: str, name: str) -> bytes:
    """Make an object file of a module, as LLVM writes it; ``name`` is its function."""
    here, symbol = machine(), _symbol(text)
    module, target = here.llvm.parse_assembly(text), here.target()
    for function in module.functions:
        if function.name == name:
            function.name = symbol
        elif not function.is_declaration:
            function.linkage = "internal"
    # The usual passes take 60 ms for 2 % less time of a look-up, none at all 12 % more.
    passes = here.llvm.create_new_module_pass_manager()
    if hasattr(passes, "add_sroa_pass"):  # from llvmlite 0.45
        passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.add_instruction_combine_pass()
    options = here.llvm.PipelineTuningOptions()
    passes.run(module, here.llvm.create_pass_builder(target, options))
    return symbol.encode() + b"\n" + bytes(target.emit_object(module))


def object_code(module_text: str, name: str, args: tuple[Any, ...]) -> bytes:
    """Make an object file of a compiled kernel.

    Parameters
    ----------
    module_text : str
        Its module, as LLVM writes it.
    name : str
        Of the function in it.
    args : tuple
        What it is going to be called with, or the like of it.

    Raises
    ------
    NotImplementedError
        If it is called otherwise than expected, or needs what is not there without numba.
    """
    here = machine()
    symbol = _symbol(module_text)
    module = here.llvm.parse_assembly(module_text)
    function = module.get_function(name)
    wanted = [ctypes.c_void_p, ctypes.c_void_p, *(t for arg in args for t in _flat_types(arg))]
    found = [str(argument.type) for argument in function.arguments]
    if len(found) != len(wanted) or any(
        is_type not in _TYPES[want] and not (want is ctypes.c_void_p and is_type.endswith("*"))
        for is_type, want in zip(found, wanted, strict=True)
    ):
        raise NotImplementedError(f"{name} takes {found}")
    module.link_in(here.llvm.parse_assembly(_allocation()))
    module.link_in(here.llvm.parse_assembly(_from_words(symbol, name, found, args)))
    for other in module.functions:
        if other.is_declaration:
            if not other.name.startswith("llvm.") and other.name not in _C_LIBRARY:
                raise NotImplementedError(f"{name} needs {other.name}")
        elif other.name != symbol:
            other.linkage = "internal"
    return symbol.encode() + b"\n" + bytes(here.target().emit_object(module))


def _from_words(symbol: str, name: str, types: list[str], args: tuple[Any, ...]) -> str:
    """Return a module whose function ``symbol`` calls a kernel with arguments from a row of words.

    As text: its words mean the same to an LLVM with types of pointers and to one without.
    """
    word = "ptr" if "ptr" in types else "i64*"
    lines: list[str] = []

    def new(text: str) -> str:
        lines.append(f"  %v{len(lines)} = {text}")
        return f"%v{len(lines) - 1}"

    def read(address: str, offset: int) -> str:
        place = new(f"inttoptr i64 {new(f'add i64 {address}, {offset}')} to {word}")
        return new(f"load i64, {word} {place}")

    def array(given: str, arg: NDArray[Any]) -> list[str]:
        ends = []
        for field in (_SHAPE, _STRIDES):
            first = read(given, field)
            ends += [read(first, 8 * i) for i in range(arg.ndim)]
        size = "1"
        for length in ends[: arg.ndim]:
            size = new(f"mul i64 {size}, {length}")
        return ["0", "0", size, str(arg.itemsize), read(given, _ADDRESS), *ends]

    at = 0

    def values(args: tuple[Any, ...]) -> list[str]:
        nonlocal at
        found: list[str] = []
        for arg in args:
            if isinstance(arg, tuple):
                found += values(arg)
                continue
            given = read("%words", at)
            at += 8
            found += array(given, arg) if isinstance(arg, np.ndarray) else [given]
        return found

    passed = []
    for kind, value in zip(types, ["%result", "%error", *values(args)], strict=True):
        cast = {"i64": "", "double": "bitcast", "i8": "trunc"}.get(kind, "inttoptr")
        passed.append(f"{kind} {new(f'{cast} i64 {value} to {kind}') if cast else value}")
    lines += [f"  %status = call i32 @{name}({', '.join(passed)})", "  ret i32 %status"]
    head = f"define i32 @{symbol}(i64 %result, i64 %error, i64 %words) {{"
    return "\n".join([f"declare i32 @{name}({', '.join(types)})", head, *lines, "}"])


def _allocation() -> str:
    """Return numba's two functions for arrays that kernels make, as a module of its own.

    Only the count of references and the address of the data are read by compiled code.
    """
    from llvmlite import ir
    from numba.core.runtime.nrtdynmod import _meminfo_struct_type as header

    word, byte = ir.IntType(64), ir.IntType(8).as_pointer()
    if list(map(str, header.elements)) != [str(t) for t in (word, byte, byte, byte, word)]:
        raise NotImplementedError("numba describes memory otherwise")
    module = ir.Module()
    malloc = ir.Function(module, ir.FunctionType(byte, [word]), "malloc")
    free = ir.Function(module, ir.FunctionType(ir.VoidType(), [byte]), "free")
    allocate = ir.FunctionType(byte, [word, ir.IntType(32)])
    made = ir.Function(module, allocate, "NRT_MemInfo_alloc_aligned")
    build = ir.IRBuilder(made.append_basic_block())
    size, align = made.args[0], build.zext(made.args[1], word)
    most = word(1 << 48)  # nor may the sum wrap
    room = build.add(build.add(size, align), word(40))
    raw = build.call(malloc, [build.select(build.icmp_unsigned("<", size, most), room, word(-1))])
    with build.if_then(build.icmp_unsigned("==", raw, byte(None))):
        build.ret(raw)
    start = build.add(build.ptrtoint(raw, word), build.add(align, word(39)))
    words = build.bitcast(raw, word.as_pointer())
    for at, value in ((0, word(1)), (1, word(0)), (2, word(0)), (4, size)):
        build.store(value, build.gep(words, [word(at)]))
    build.store(build.and_(start, build.neg(align)), build.gep(words, [word(3)]))
    build.ret(raw)
    freed = ir.Function(module, ir.FunctionType(ir.VoidType(), [byte]), "NRT_MemInfo_call_dtor")
    build = ir.IRBuilder(freed.append_basic_block())
    build.call(free, freed.args)
    build.ret_void()
    return str(module)


def bind(code: bytes, args: tuple[Any, ...], returns: str) -> Callable[[tuple[Any, ...]], Any]:
    """Load an object file; return what calls its kernel.

    Parameters
    ----------
    code : bytes
        What ``object_code`` made.
    args : tuple
        Arguments of the types that it was made for; later ones must have them too.
    returns : str
        ``none``, or a type of number, as often as it returns one: ``int64 int64``.

    Raises
    ------
    NotImplementedError
        If such results cannot be read.
    """
    names = [] if returns == "none" else returns.split()
    if not all(name in _RESULTS for name in names) or len(set(names)) > 1:
        raise NotImplementedError(f"a kernel returns no {returns}")
    number: Any = _RESULTS[names[0]] if names else ctypes.c_void_p
    result: Any = number * max(len(names), 1)
    error = ctypes.POINTER(_Error)
    if not _is_laid_out_so(np.zeros((2, 3))[:, 1:]):
        raise NotImplementedError("NumPy describes arrays otherwise")
    pack = struct.Struct(_formats(args)).pack
    prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
    function = prototype(machine().load(code))

    def call(args: tuple[Any, ...]) -> Any:
        value, problem = result(), error()
        try:
            words = pack(*_words(args, []))
        except struct.error:
            raise OverflowError("a number does not fit into 64 bits") from None
        if function(ctypes.addressof(value), ctypes.addressof(problem), words):
            raise _exception(problem.contents)
        return None if not names else value[0] if len(names) == 1 else tuple(value)

    return call


def _exception(problem: _Error) -> Exception:
    # Part of the object whose code has just run: who can write the one can write the other
    error, arguments, _ = pickle.loads(ctypes.string_at(problem.text, problem.size))
    raised: Exception = error(*(arguments or ()))
    return raised
