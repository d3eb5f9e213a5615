"""How kernels run: as plain Python while there is little to do, compiled once there is more.

Compiling all that a replay needs takes ten seconds and more, loading what an earlier run compiled
half a second; a thousand packets take a quarter of a second in plain Python. So a process
begins in plain Python, counts its work with ``spend``, and compiles each kernel at the first call
after ``PLAIN_WORK``. Both ways compute the same: tests compare them on whole captures.

``NUMBA_DISABLE_JIT=1`` never compiles, ``NUMBA_BOUNDSCHECK=1`` always does. Compiled kernels are
cached where a folder is writable, release the GIL and never use ``fastmath``. Numba takes 0.2 s to
import; only ``compile`` does. Its own cache sees neither an edit in a file whose helper was
inlined nor the bounds check: a module's folder is named by a digest of both.
"""

import contextlib
import functools
import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numpy as np

__all__ = [
    "Kernel",
    "borrow",
    "copy_bytes",
    "count_below",
    "expect",
    "inline",
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


class Kernel:
    """A function over arrays and numbers, plain or compiled.

    Attributes
    ----------
    function : callable
        What was decorated.
    """

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        self._compiled: Any = None
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any) -> Any:
        """Run it."""
        if _Work.left > 0 and (self._compiled is None or _Work.left == sys.maxsize):
            with np.errstate(all="ignore"):  # numbers wrap, as they do when compiled
                return _version(self.function, False)(*[_plain_view(arg) for arg in args])
        return self.compiled(*args)

    @property
    def compiled(self) -> Any:
        """Numba's dispatcher; compiles at its first call."""
        if self._compiled is None:
            if _Work.notify is not None and not _is_cached(self.function):
                _Work.notify(f"{self.function.__module__}.{self.function.__name__}")
            self._compiled = _version(self.function, True)
        return self._compiled

    @property
    def signatures(self) -> list[Any]:
        """Signatures that it was compiled for so far."""
        return list(self._compiled.signatures) if self._compiled is not None else []


_HELPERS: set[FunctionType] = set()


def kernel(function: F) -> F:
    """Make a kernel of a function over typed arrays and integers."""
    return cast("F", Kernel(cast("FunctionType", function)))


def inline(function: F) -> F:
    """Mark a small helper of kernels; compiled into each of its callers."""
    _HELPERS.add(cast("FunctionType", function))
    return function


def prefetch(array: Any, index: Any, line: Any) -> None:
    """Ask the processor for cache line ``line`` of ``array[index]``; does nothing in Python."""


def borrow(array: Any) -> Any:
    """Return the array, compiled: without its owner, so that helpers count no references."""
    return array


def copy_bytes(source: Any, start: Any, size: Any, target: Any, at: Any) -> None:
    """Copy ``size`` bytes from ``source[start:]`` to ``target[at:]``; the two must not overlap."""
    target[int(at) : int(at) + int(size)] = source[int(start) : int(start) + int(size)]


def count_below(array: Any, start: Any, key: Any, count: Any) -> int:
    """Count numbers less than ``key`` among the ``count`` from ``array[start]`` on.

    Compiled, one vector comparison that always reads 32 bytes of uint16 or 64 of uint64: the caller
    knows that the array has as many.
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
        function.__closure__,
    )
    if not compiled:
        return copy
    numba = _numba()
    from numba.core import config

    functools.update_wrapper(copy, function)
    del copy.__dict__["__wrapped__"]
    if function in _HELPERS:  # without wrappers for outside callers: a tenth of the compile time
        return numba.njit(
            nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True
        )(copy)
    dispatcher = numba.njit(nogil=True)(copy)
    before, config.CACHE_DIR = config.CACHE_DIR, _folder(function.__module__)
    with contextlib.suppress(RuntimeError, OSError):  # no writable folder: compile each time
        dispatcher.enable_caching()
    config.CACHE_DIR = before
    return dispatcher


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


_NAMES: dict[tuple[str, bool], dict[str, Any]] = {}
_STAND_INS = (prefetch, borrow, copy_bytes, count_below)


def _names_of(module: str, compiled: bool) -> dict[str, Any]:
    """Return the names of a module, with kernels and helpers in one version."""
    if (module, compiled) in _NAMES:  # perhaps not complete yet: its functions know each other
        return _NAMES[module, compiled]
    names = _NAMES[module, compiled] = dict(vars(sys.modules[module]))
    for name, value in list(names.items()):
        function = value.function if isinstance(value, Kernel) else value
        if compiled and any(function is stand_in for stand_in in _STAND_INS):
            from classifier import _intrinsics

            names[name] = getattr(_intrinsics, function.__name__)
        elif isinstance(value, Kernel) or (isinstance(value, FunctionType) and value in _HELPERS):
            names[name] = _version(function, compiled)
    return names


@functools.cache
def _folder(module: str) -> str:
    """Return the cache folder of a module's kernels, for exactly the sources that they use."""
    import numba
    from numba.core import config

    digest = hashlib.sha256(f"{numba.__version__} {config.BOUNDSCHECK}".encode())
    for path in sorted(_sources(module)):
        status = path.stat()
        digest.update(f"{path}{status.st_mtime_ns}{status.st_size}".encode())
    if config.CACHE_DIR:
        root = Path(config.CACHE_DIR)
    elif sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA", "~")).expanduser()
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return str(root / "vpn-policy-classifier" / digest.hexdigest()[:16])


_IMPORT = re.compile(r"^from (classifier[\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)


def _sources(module: str) -> set[Path]:
    """Return the files of a module and of all modules of this package that it uses."""
    found: set[Path] = set()
    todo = [module, __name__]
    while todo:
        name = todo.pop()
        file = Path(cast("str", sys.modules[name].__file__))
        if file not in found:
            found.add(file)
            todo += _used(file)
    return found


@functools.cache
def _used(path: Path) -> set[str]:
    """Return the modules of this package whose names a file imports."""
    used = set()
    for room, text in _IMPORT.findall(path.read_text(encoding="utf-8")):
        for item in re.findall(r"(\w+)(?: as \w+)?", text):
            used.add(f"{room}.{item}" if f"{room}.{item}" in sys.modules else room)
    return used & sys.modules.keys()


def _is_cached(function: Callable[..., Any]) -> bool:
    code = function.__code__
    pattern = f"*.{function.__name__}-{code.co_firstlineno}.*.nbi"
    return any(Path(_folder(function.__module__)).rglob(pattern))
