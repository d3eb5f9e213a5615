"""The one place that imports numba: how every kernel is compiled.

Kernels compile on first call, are cached on disk where a folder is writable, release the GIL and
never use ``fastmath``. Numba takes 0.2 s to import, so files that hold kernels are imported inside
the functions that need them.

Numba's own cache sees neither an edit in a file whose helper was inlined nor the switch
``NUMBA_BOUNDSCHECK``. The cache folder is therefore named by a digest of both.
"""

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import config

__all__ = ["borrow", "inline", "is_compiled", "kernel", "prefetch"]

F = TypeVar("F", bound=Callable[..., Any])


def _cache_folder() -> str:
    """Return the cache folder for exactly these sources and this bounds-check switch."""
    digest = hashlib.sha256(f"{numba.__version__} {config.BOUNDSCHECK}".encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        status = path.stat()
        digest.update(f"{path}{status.st_mtime_ns}{status.st_size}".encode())
    if config.CACHE_DIR:
        root = Path(config.CACHE_DIR)
    elif sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA", "~")).expanduser()
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return str(root / "vpn-policy-classifier" / digest.hexdigest()[:16])


_FOLDER = _cache_folder()


def is_compiled() -> bool:
    """Tell whether an earlier run left compiled kernels of this version."""
    return Path(_FOLDER).exists()


def kernel(function: F) -> F:
    """Compile a function over typed arrays and integers, cached where a folder is writable."""
    compiled = numba.njit(nogil=True)(function)
    before, config.CACHE_DIR = config.CACHE_DIR, _FOLDER
    with contextlib.suppress(RuntimeError, OSError):  # no writable folder: compile each time
        compiled.enable_caching()
    config.CACHE_DIR = before
    result: F = compiled
    return result


def inline(function: F) -> F:
    """Compile a small helper of kernels into each of its callers."""
    # Without the wrappers for callers outside kernels: a tenth of the compile time
    result: F = numba.njit(
        nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True
    )(function)
    return result


@numba.extending.intrinsic  # type: ignore[untyped-decorator]
def prefetch(typingctx: Any, array: Any, index: Any, line: Any) -> Any:
    """Ask the processor to load cache line ``line`` of ``array[index]`` (one-dimensional)."""
    from llvmlite import ir
    from numba.core import cgutils, types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array_type = signature.args[0]
        view = context.make_array(array_type)(context, builder, args[0])
        size = ir.Constant(
            ir.IntType(64), context.get_abi_sizeof(context.get_data_type(array_type.dtype))
        )
        i8p = ir.IntType(8).as_pointer()
        base = builder.bitcast(view.data, i8p)
        line = ir.Constant(ir.IntType(64), 64)
        offset = builder.add(builder.mul(args[1], size), builder.mul(args[2], line))
        pointer = builder.gep(base, [offset])
        i32 = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [i8p, i32, i32, i32]), "llvm.prefetch.p0"
        )
        builder.call(function, [pointer, i32(1), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), codegen


@numba.extending.intrinsic  # type: ignore[untyped-decorator]
def borrow(typingctx: Any, array: Any) -> Any:
    """Return the array without its owner: helpers it is passed to then count no references.

    Numba counts references atomically in every helper that is not inlined; over a packet that was
    more than half of the time. The caller of the kernel keeps the array alive.
    """
    from numba.core import cgutils

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        view.meminfo = cgutils.get_null_value(view.meminfo.type)
        view.parent = cgutils.get_null_value(view.parent.type)
        return view._getvalue()

    return array(array), codegen
