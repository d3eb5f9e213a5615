"""How kernels run: as plain Python while there is little to do, compiled once there is more.

Compiling all that a replay needs takes ten seconds and more; a thousand packets take a quarter of a
second in plain Python. So a process begins in plain Python, counts its work with ``spend``, and
compiles each kernel at the first call after ``PLAIN_WORK``. Compiled code is kept where a folder is
writable (``_native``): later processes bind it at once, however little there is to do, and do not
import numba. Both ways compute the same: tests compare them on whole captures.

``NUMBA_DISABLE_JIT=1`` never compiles, ``NUMBA_BOUNDSCHECK=1`` always does. Compiled kernels
release the GIL and never use ``fastmath``.
"""

import contextlib
import functools
import hashlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, TypeVar, cast

import numpy as np

from classifier import _native

__all__ = [
    "Kernel",
    "borrow",
    "copy_bytes",
    "count_below",
    "expect",
    "inline",
    "instead_of",
    "is_plain",
    "keep_alive",
    "kernel",
    "plain",
    "prefetch",
    "spend",
]

F = TypeVar("F", bound=Callable[..., Any])

#: Units of work (a packet, or what takes as long) that a process does before it compiles.
PLAIN_WORK = 6000


class _Work:
    """How much is left until kernels are compiled, and whom to tell when one is."""

    left = PLAIN_WORK
    notify: Callable[[str], None] | None = None


if os.environ.get("NUMBA_BOUNDSCHECK", "0") != "0":
    _Work.left = 0
if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
    _Work.left = sys.maxsize


def spend(units: int) -> None:
    """Count work that is about to be done: packets, or rows that take as long."""
    if _Work.left != sys.maxsize:
        _Work.left = max(_Work.left - units, 0)


def expect(units: int) -> None:
    """Tell how much work will come: where it is enough to compile, none of it is done plainly."""
    if units > _Work.left:
        spend(units)


def notify(function: Callable[[str], None] | None) -> None:
    """Call ``function`` with a kernel's name before it is compiled (not when it is loaded)."""
    _Work.notify = function


@contextlib.contextmanager
def plain(wanted: bool) -> Iterator[None]:
    """Run kernels as plain Python, whatever there is to do; or compiled from the first call on."""
    before, _Work.left = _Work.left, sys.maxsize if wanted else 0
    try:
        yield
    finally:
        _Work.left = before


_LOCK = threading.RLock()  # what several threads run for the first time is made once


class Kernel:
    """A function over arrays and numbers, plain or compiled.

    Attributes
    ----------
    function : callable
        What was decorated.
    signatures : list of str
        Types of arguments that it was compiled or loaded for so far.
    bound_alone : bool
        Whether what was compiled is called without numba, and can be kept.
    instead : callable or None
        What runs, with the same results, where this would run as plain Python.
    """

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        self.signatures: list[str] = []
        self.bound_alone = True
        self._bound: dict[tuple[Any, ...], Callable[[tuple[Any, ...]], Any]] = {}
        self._not_stored: set[tuple[Any, ...]] = set()
        self.instead: Callable[..., Any] | None = None
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any) -> Any:
        """Run it."""
        if _Work.left != sys.maxsize:
            kinds = _native.raw_kind(args)
            bound = self._bound.get(kinds) or self._bind(kinds, args)
            if bound is not None:
                return bound(args)
        if self.instead is not None:
            return self.instead(*args)
        with _LOCK:
            function = _version(self.function, False)
        with np.errstate(all="ignore"):  # numbers wrap, as they do when compiled
            return function(*[_plain_view(arg) for arg in args])

    def _bind(
        self, kinds: tuple[Any, ...], args: tuple[Any, ...]
    ) -> Callable[[tuple[Any, ...]], Any] | None:
        """Load what was compiled for such arguments; else compile, unless there is little to do."""
        with _LOCK:
            if kinds in self._bound or (_Work.left > 0 and kinds in self._not_stored):
                return self._bound.get(kinds)
            signature = ", ".join(map(_native.kind, args))
            path = _path(self.function, signature)
            bound = _stored(path, args) if path is not None else None
            if bound is None:
                if _Work.left > 0:
                    self._not_stored.add(kinds)
                    return None
                if _Work.notify is not None:
                    _Work.notify(f"{self.function.__module__}.{self.function.__name__}")
                bound, alone = _compiled(self.function, args, path)
                self.bound_alone &= alone
            if signature not in self.signatures:
                self.signatures.append(signature)
            self._bound[kinds] = bound
            return bound


def is_plain() -> bool:
    """Return whether nothing is to be compiled, however much there is to do."""
    return _Work.left == sys.maxsize


_HELPERS: set[FunctionType] = set()


def kernel(function: F) -> F:
    """Make a kernel of a function over typed arrays and integers."""
    return cast("F", Kernel(cast("FunctionType", function)))


def instead_of(of: Callable[..., Any]) -> Callable[[F], F]:
    """Decorate what does the same as a kernel, for where that would run as plain Python."""

    def note(function: F) -> F:
        cast("Kernel", of).instead = function
        return function

    return note


def inline(function: F) -> F:
    """Mark a small helper of kernels; compiled into each of its callers."""
    _HELPERS.add(cast("FunctionType", function))
    return function


def prefetch(array: Any, index: Any, line: Any) -> None:
    """Ask the processor for cache line ``line`` of ``array[index]``; does nothing in Python."""


def borrow(array: Any) -> Any:
    """Return the array, compiled: without its owner, so that helpers count no references."""
    return array


def keep_alive(array: Any) -> None:
    """Keep an array of the kernel's own up to here: numba frees it after its last use by name."""


def copy_bytes(source: Any, start: Any, size: Any, target: Any, at: Any) -> None:
    """Copy ``size`` bytes from ``source[start:]`` to ``target[at:]``; the two must not overlap."""
    target[int(at) : int(at) + int(size)] = source[int(start) : int(start) + int(size)]


def read_file(descriptor: Any, target: Any, start: Any, size: Any) -> int:
    """Read up to ``size`` bytes of a file to ``target[start:]``; 0 at its end, -1 at a failure."""
    room = memoryview(target)[int(start) : int(start) + int(size)]
    try:
        return os.readv(int(descriptor), [room])
    except OSError:
        return -1


def count_below(array: Any, start: Any, key: Any, count: Any) -> int:
    """Count numbers less than ``key`` among the ``count`` from ``array[start]`` on.

    Compiled, one vector comparison that always reads 32 bytes, of uint16 or uint64: the caller knows
    that the array has as many.
    """
    first = int(start)
    return int(np.count_nonzero(np.asarray(array[first : first + int(count)]) < key))


# Plain Python sees arrays as compiled code does: rows have their fields as attributes, and numbers
# narrower than 64 bits are read as whole numbers (NumPy's would wrap at their own width).


class _Narrow(np.ndarray[Any, Any]):
    """An array of narrow integers: single ones are read as int, and cut to the width when stored."""

    def __getitem__(self, key: Any) -> Any:
        value = super().__getitem__(key)
        return int(value) if isinstance(value, np.integer) else value

    def __setitem__(self, key: Any, value: Any) -> None:
        try:
            super().__setitem__(key, value)
        except OverflowError:
            super().__setitem__(key, np.int64(value).astype(self.dtype))


def _field(name: str, dtype: np.dtype[Any]) -> property:
    def get(row: Any) -> Any:
        return row[name]

    def get_narrow(row: Any) -> int:
        return int(row[name])

    def put(row: Any, value: Any) -> None:
        try:
            row[name] = value
        except OverflowError:
            row[name] = np.int64(value).astype(dtype)

    narrow = dtype.kind in "iu" and dtype.itemsize < 8
    return property(get_narrow if narrow else get, put)


@functools.cache
def _row_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the layout with rows that have attributes."""
    fields = {name: _field(name, dtype[name]) for name in dtype.names or ()}
    return np.dtype((type("Row", (np.void,), fields), dtype))


def _plain_view(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.names:
            return value.view(_row_type(value.dtype))
        narrow = value.dtype.kind in "iu" and value.dtype.itemsize < 8
        return value.view(_Narrow) if narrow else value
    if isinstance(value, tuple):
        items = [_plain_view(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


# Functions know each other by the names in their modules. Either way of running has copies of them
# whose names mean the copies of the others.


@functools.cache
def _version(function: FunctionType, compiled: bool) -> Any:
    """Return a kernel or helper as plain Python sees it, or as a dispatcher of numba."""
    copy = FunctionType(
        function.__code__,
        _names_of(function.__module__, compiled),
        function.__name__,
        function.__defaults__,
        _cells_of(function, compiled),
    )
    if not compiled:
        return copy
    functools.update_wrapper(copy, function)
    del copy.__dict__["__wrapped__"]
    return _numba().njit(  # without wrappers for outside callers: a tenth of the compile time
        nogil=True,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        forceinline=function in _HELPERS,
    )(copy)


def _compiled(
    function: FunctionType, args: tuple[Any, ...], path: Path | None
) -> tuple[Callable[[tuple[Any, ...]], Any], bool]:
    """Compile a kernel for such arguments, and keep its object file where that is possible."""
    numba = _numba()
    dispatcher = _version(function, True)
    types = tuple(numba.typeof(arg) for arg in args)
    with _without_machine_code():
        dispatcher.compile(types)
    made = dispatcher.overloads[types]
    returns = made.signature.return_type
    names = list(returns) if isinstance(returns, numba.types.BaseTuple) else [returns]
    try:
        text = " ".join(str(numba.types.unliteral(name)) for name in names)
        code = _native.object_code(made.library.get_llvm_str(), made.fndesc.llvm_func_name, args)
        bound = _native.bind(code, args, text)
    except NotImplementedError:  # numba calls it, and compiles it and its helpers in each process
        _version.cache_clear()
        _NAMES.clear()
        slow = numba.njit(nogil=True)(_version(function, True).py_func)
        return lambda args: slow(*args), False
    if path is not None:
        _native.keep(path, text, code)
    return bound, True


@contextlib.contextmanager
def _without_machine_code() -> Iterator[None]:
    """Let numba stop at LLVM's language, and bring helpers to their last form in their callers alone.

    ``_native`` makes machine code of kernels; numba's own, of each helper too, and each optimized for
    itself, would be a quarter of compiling. Other threads compile before or after, as they always do.
    """
    from numba.core import codegen
    from numba.core.compiler_lock import global_compiler_lock

    library, processor = codegen.CPUCodeLibrary, codegen.JITCPUCodegen
    helpers = {helper.__qualname__ for helper in _HELPERS}
    optimize: Any = getattr(library, "_optimize_final_module", None)

    def optimize_kernels(self: Any) -> None:
        if self.name not in helpers:
            optimize(self)

    steps: list[tuple[Any, str, Any]] = [
        (library, "_optimize_final_module", optimize_kernels),
        (codegen.JITCodeLibrary, "_finalize_specific", lambda self: None),
        (processor, "_add_module", lambda self, module: None),
        (processor, "set_env", lambda self, name, env: None),
    ]
    if not all(hasattr(owner, name) for owner, name, _ in steps):  # another numba: it takes longer
        steps = []
    with global_compiler_lock, contextlib.ExitStack() as changed:
        for owner, name, instead in steps:
            changed.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, instead)
        yield


def _stored(path: Path, args: tuple[Any, ...]) -> Callable[[tuple[Any, ...]], Any] | None:
    """Bind a kernel that an earlier process compiled for such arguments, if it is whole."""
    found = _native.kept(path)
    return None if found is None else _native.bind(found[1], args, found[0])


@functools.cache
def _numba() -> Any:
    """Import numba without scipy.linalg, of which it only asks whether it is there.

    ``numba.np.arraymath`` imports it for that, 0.1 to 0.2 s at each start; functions
    that need it (none here) import it when they are compiled.
    """
    import numba

    if importlib.util.find_spec("scipy") is not None and "numba.np.arraymath" not in sys.modules:
        from numba.np import linalg

        look = linalg.ensure_blas
        linalg.ensure_blas = lambda: None
        try:
            from numba.np import arraymath

            arraymath.ensure_blas = look
        finally:
            linalg.ensure_blas = look
    return numba


def _cells_of(function: FunctionType, compiled: bool) -> tuple[CellType, ...] | None:
    """Return what a function has of the one around it, with kernels and helpers in one version."""
    cells = function.__closure__
    if cells is None:
        return None
    return tuple(CellType(_in_version(cell.cell_contents, compiled)) for cell in cells)


_NAMES: dict[tuple[str, bool], dict[str, Any]] = {}
_STAND_INS = (prefetch, borrow, keep_alive, copy_bytes, read_file, count_below)


def _names_of(module: str, compiled: bool) -> dict[str, Any]:
    """Return the names of a module, with kernels and helpers in one version."""
    if (module, compiled) in _NAMES:  # perhaps not complete yet: its functions know each other
        return _NAMES[module, compiled]
    names = _NAMES[module, compiled] = dict(vars(sys.modules[module]))
    for name, value in list(names.items()):
        names[name] = _in_version(value, compiled)
    return names


def _in_version(value: Any, compiled: bool) -> Any:
    """Return a kernel or helper in a version, and anything else as it is."""
    function = value.function if isinstance(value, Kernel) else value
    if compiled and any(function is stand_in for stand_in in _STAND_INS):
        from classifier import _intrinsics

        return getattr(_intrinsics, function.__name__)
    if isinstance(value, Kernel) or (isinstance(value, FunctionType) and value in _HELPERS):
        return _version(function, compiled)
    return value


# An object file is named by all that it was made of: the code of the kernel and of what it calls,
# the numbers and tables they name, the types of its arguments, the compiler and the processor.


def _path(function: FunctionType, signature: str) -> Path | None:
    """Return the object file of a kernel for such arguments; None where nothing can be kept."""
    made_of = _fingerprint(function)
    folder, settings = _native.folder(), _settings()
    if not made_of or not settings or folder is None:
        return None
    digest = hashlib.sha256(f"{settings} {made_of} {signature}".encode()).hexdigest()
    module = function.__module__.removeprefix(f"{__package__}.")
    return folder / f"{module}.{function.__name__}-{digest[:32]}.o"


@functools.cache
def _settings() -> str:
    """Return everything but the kernel that its code depends on; empty without sources."""
    here = _native.machine()
    numba = importlib.util.find_spec("numba")
    version = Path(str(numba.origin if numba else "")).with_name("_version.py")
    files = [version, Path(_native.__file__), Path(__file__).with_name("_intrinsics.py")]
    files += [path for path in [Path(".numba_config.yaml")] if path.is_file()]
    parts = [sys.version, np.__version__, here.version, here.triple, here.cpu, here.features]
    parts += [f"{key}={value}" for key, value in sorted(os.environ.items()) if _matters(key)]
    try:
        made_by = repr(parts + [path.read_bytes() for path in files])
    except OSError:
        return ""
    return hashlib.sha256(made_by.encode()).hexdigest()


def _matters(variable: str) -> bool:
    return variable.startswith("NUMBA_") and variable != "NUMBA_CACHE_DIR"


@functools.cache
def _fingerprint(function: FunctionType) -> str:
    """Return a digest of a function, what it calls and what it names; empty if not all is known."""
    parts: dict[str, str] = {}
    try:
        _describe_function(function, parts)
    except TypeError:
        return ""
    return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()


def _describe_function(function: FunctionType, parts: dict[str, str]) -> None:
    place = f"{function.__module__}.{function.__qualname__}"
    if place in parts:
        return
    parts[place] = ""  # it may call itself
    names = vars(sys.modules[function.__module__])
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    values = [_description(value, parts) for value in [function.__defaults__, *cells]]
    parts[place] = repr(
        [_code_of(function.__code__), *values]
        + [(n, _description(names[n], parts)) for n in _names_in(function.__code__) if n in names]
    )


def _code_of(code: CodeType) -> list[Any]:
    inner = [_code_of(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), code.co_names, code.co_varnames, code.co_argcount, inner]


def _names_in(code: CodeType) -> list[str]:
    inner = [name for c in code.co_consts if isinstance(c, CodeType) for name in _names_in(c)]
    return [*code.co_names, *inner]


def _description(value: Any, parts: dict[str, str]) -> str:
    """Describe what a kernel names; raises TypeError for what has no exact description."""
    if isinstance(value, Kernel):
        value = value.function
    if any(value is stand_in for stand_in in _STAND_INS):  # _intrinsics is among the settings
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, FunctionType):
        _describe_function(value, parts)
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype!r}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, tuple):
        return f"{type(value)}{[_description(item, parts) for item in value]}"
    if isinstance(value, ModuleType | type):  # of numpy or Python, whose versions are known
        home = value.__name__ if isinstance(value, ModuleType) else value.__module__
        if home.partition(".")[0] not in ("numpy", "builtins", "math"):
            raise TypeError(f"{value!r} in a kernel")
        return f"{home}.{value.__name__}"
    if not isinstance(value, (bool, int, float, str, bytes, np.generic, np.dtype, type(None))):
        raise TypeError(f"{value!r} in a kernel")
    return f"{type(value)}{value!r}"
