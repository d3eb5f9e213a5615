"""Small functions over whole numbers, made machine code in milliseconds, that Python calls as its own.

How this works: a kernel takes numba a second to compile and 10 microseconds to call, as its arrays are
wrapped. For what is done for one address at a time that is too much. ``function`` translates the source
of a function, and of those it calls, straight to LLVM and makes an object of it like those that CPython
is full of: called with the addresses of its arguments, no wrapping at all.

What can be translated is little: assignments, ``if``, ``while``, ``break``, ``return``; the operators
``+ - * << >> & | ^``, comparisons, ``and``, ``or``, ``not``. All numbers are unsigned, have 64 bits and wrap.
``read_byte``, ``read_word`` and ``read_long`` read memory without any check; `PythonCall` is a function of
CPython, all of them of its stable ABI. Errors these set are to be cleared. The GIL is kept: giving it up
for less than a microsecond means to wait for other threads each time.

What was made is kept as kernels are (``_native``), named by the code of all functions it was made of.
"""

import ast
import ctypes
import hashlib
import inspect
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from classifier import _native

__all__ = [
    "PythonCall",
    "builtin",
    "is_at_hand",
    "read_byte",
    "read_long",
    "read_word",
    "type_in_head",
]

_FASTCALL = 0x80  # METH_FASTCALL: the callable's own object, an array of arguments, their number
_COMPILED = ("co_name", "co_code", "co_consts", "co_names", "co_varnames")  # say what runs
_READERS = {"read_byte": 8, "read_word": 32, "read_long": 64}
_OPERATORS: dict[type, str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.LShift: "shl",
    ast.RShift: "lshr",
    ast.BitAnd: "and_",
    ast.BitOr: "or_",
    ast.BitXor: "xor",
}
_COMPARISONS: dict[type, str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


@dataclass(frozen=True)
class PythonCall:
    """A function of CPython, called with numbers and addresses, that returns one."""

    name: str

    def __call__(self, *args: int) -> int:
        """Stand for the call in functions that are going to be translated."""
        raise NotImplementedError

    @property
    def address(self) -> int:
        """Where it is."""
        return ctypes.cast(getattr(ctypes.pythonapi, self.name), ctypes.c_void_p).value or 0


def read_byte(address: int, index: int) -> int:
    """Read an item of 8 bits of an array."""
    raise NotImplementedError


def read_word(address: int, index: int) -> int:
    """Read an item of 32 bits of an array."""
    raise NotImplementedError


def read_long(address: int, index: int) -> int:
    """Read an item of 64 bits of an array."""
    raise NotImplementedError


def type_in_head() -> bool:
    """Return whether the second word of an object is its type, and one thread at a time runs Python.

    Addresses have 64 bits there.
    """
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    alone = getattr(sys, "_is_gil_enabled", lambda: True)()
    words = ctypes.c_size_t * 2
    samples: list[Any] = ["", 0, None, words]
    return alone and all(words.from_address(id(one))[1] == id(type(one)) for one in samples)


class _Definition(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_made: dict[FunctionType, _Definition] = {}
_LOCK = threading.Lock()  # a second definition would free the first, which objects are made of


def builtin(function: Callable[[int, int, int], int], own: int) -> Callable[..., Any]:
    """Return a callable object that runs a function in machine code.

    Parameters
    ----------
    function : callable
        Takes the address of the object that ``own`` is, that of an array with the addresses of the
        arguments, and their number; returns the address of an object, which the caller is going to own.
        It must check arguments itself.
    own : int
        What the function gets first, as an int object; it lives as long as what is returned.

    Raises
    ------
    OSError
        If the function's source is not there, or not what runs.
    """
    assert isinstance(function, FunctionType)
    with _LOCK:
        if function not in _made:
            code = _machine_code(function)
            definition = _Definition(function.__name__.encode(), code, _FASTCALL, None)
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(definition))  # outlives all made of it
            _made[function] = definition
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = (
        ctypes.py_object,
        [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p],
    )
    made: Callable[..., Any] = make(ctypes.addressof(_made[function]), own, None)
    return made


def is_at_hand(function: Callable[..., Any]) -> bool:
    """Return whether ``builtin`` takes about a millisecond, as all that it needs is there."""
    assert isinstance(function, FunctionType)
    if function in _made:
        return True
    path = _path(function) if _native.is_loaded() else None
    return path is not None and path.is_file()


def _machine_code(function: FunctionType) -> int:
    """Return where a function and what it calls are: translated, or kept by an earlier process."""
    path = _path(function)
    found = None if path is None else _native.kept(path)
    if found is None:
        from llvmlite import ir

        module = ir.Module()
        entry = _Translation(ir, module).function(function)
        code = _native.object_of(str(module), entry.name)
        if path is not None:
            _native.keep(path, "", code)
    else:
        code = found[1]
    calls = [value for value in _parts(function)[1] if isinstance(value, PythonCall)]
    return _native.machine().load_with(code, {call.name: call.address for call in calls})


def _path(function: FunctionType) -> Path | None:
    """Return the file of a function's code; None where nothing can be kept."""
    folder, name = _native.folder(), _name(function)
    return None if folder is None or not name else folder / name


@cache
def _name(function: FunctionType) -> str:
    """Return a name that differs where a function's code does; empty without our own sources."""
    here = _native.machine()
    functions, values = _parts(function)
    codes = [[repr(getattr(one.__code__, name)) for name in _COMPILED] for one in functions]
    try:
        makers = [Path(__file__).read_bytes(), Path(_native.__file__).read_bytes()]
    except OSError:
        return ""
    parts = [sys.version, here.version, here.triple, here.cpu, here.features, codes, values, makers]
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    return f"{function.__name__}-{digest[:32]}.o"


def _parts(function: FunctionType) -> tuple[list[FunctionType], list[Any]]:
    """Return a function with all that it calls, and the numbers and functions of CPython they name."""
    functions, values = [function], []
    for one in functions:  # grows on the way
        for name in one.__code__.co_names:
            value = one.__globals__.get(name)
            if not isinstance(value, FunctionType):
                values.append(value)
            elif value not in functions and value.__name__ not in _READERS:
                functions.append(value)
    return functions, values


def _tree(function: FunctionType) -> ast.FunctionDef:
    """Return the source of a function; OSError where it is not there, or has changed since."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    made = [one for one in compile(tree, "", "exec").co_consts if isinstance(one, CodeType)]
    kept, found = function.__code__, made[0] if made else None
    if found is None or any(getattr(found, name) != getattr(kept, name) for name in _COMPILED):
        raise OSError(f"the source of {function.__name__} has changed")
    (defined,) = tree.body
    assert isinstance(defined, ast.FunctionDef)
    return defined


class _Translation:
    """Functions in one module of LLVM's, each translated when it is first called."""

    def __init__(self, ir: Any, module: Any) -> None:
        self.ir = ir
        self.module = module
        self.word = ir.IntType(64)
        self._done: dict[FunctionType, Any] = {}

    def function(self, function: FunctionType) -> Any:
        if function not in self._done:
            tree = _tree(function)
            names = [argument.arg for argument in tree.args.args]
            kind = self.ir.FunctionType(self.word, [self.word] * len(names))
            made = self.ir.Function(self.module, kind, f"f{len(self._done)}")
            self._done[function] = made
            _Body(self, made, function.__globals__).define(names, tree.body)
        return self._done[function]

    def python_call(self, called: PythonCall, n_args: int) -> Any:
        """Return a function of CPython, which is named: where it is differs between processes."""
        kind = self.ir.FunctionType(self.word, [self.word] * n_args)
        known = self.module.globals.get(called.name)
        return known or self.ir.Function(self.module, kind, called.name)


class _Body:
    """The body of one function. Variables are places in memory, which LLVM makes registers of."""

    def __init__(self, parent: _Translation, made: Any, names: dict[str, Any]) -> None:
        self._parent = parent
        self._made = made
        self._names = names
        self._entry = parent.ir.IRBuilder(made.append_basic_block())
        self._build = parent.ir.IRBuilder(made.append_basic_block())
        self._places: dict[str, Any] = {}
        self._ends: list[Any] = []  # of the loops around

    def define(self, names: list[str], body: list[ast.stmt]) -> None:
        for name, value in zip(names, self._made.args, strict=True):
            self._store(name, value)
        first = self._build.block
        self._run(body)
        if not self._build.block.is_terminated:
            self._build.ret(self._number(0))
        self._entry.branch(first)

    def _number(self, value: int) -> Any:
        return self._parent.ir.Constant(self._parent.word, value & 0xFFFFFFFFFFFFFFFF)

    def _store(self, name: str, value: Any) -> None:
        if name not in self._places:
            self._places[name] = self._entry.alloca(self._parent.word)
        self._build.store(value, self._places[name])

    def _run(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if not self._build.block.is_terminated:  # nothing is reached behind a return
                getattr(self, f"_{type(statement).__name__}")(statement)

    def _Assign(self, node: ast.Assign) -> None:
        given = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        values = [self._value(value) for value in given]
        for target in node.targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            for name, value in zip(names, values, strict=True):
                assert isinstance(name, ast.Name)
                self._store(name.id, value)

    def _AugAssign(self, node: ast.AugAssign) -> None:
        assert isinstance(node.target, ast.Name)
        left = self._build.load(self._places[node.target.id])
        self._store(node.target.id, self._operation(node.op, left, self._value(node.value)))

    def _Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self._value(node.value)

    def _Return(self, node: ast.Return) -> None:
        assert node.value is not None
        self._build.ret(self._value(node.value))

    def _Break(self, _: ast.Break) -> None:
        self._build.branch(self._ends[-1])

    def _If(self, node: ast.If) -> None:
        then, other, end = (self._made.append_basic_block() for _ in range(3))
        self._branch(node.test, then, other)
        for block, body in ((then, node.body), (other, node.orelse)):
            self._build.position_at_end(block)
            self._run(body)
            if not self._build.block.is_terminated:
                self._build.branch(end)
        self._build.position_at_end(end)

    def _While(self, node: ast.While) -> None:
        assert not node.orelse
        test, body, end = (self._made.append_basic_block() for _ in range(3))
        self._build.branch(test)
        self._build.position_at_end(test)
        self._branch(node.test, body, end)
        self._build.position_at_end(body)
        self._ends.append(end)
        self._run(node.body)
        self._ends.pop()
        if not self._build.block.is_terminated:
            self._build.branch(test)
        self._build.position_at_end(end)

    def _branch(self, test: ast.expr, then: Any, other: Any) -> None:
        """Go to one of two blocks."""
        if isinstance(test, ast.BoolOp):
            for value in test.values[:-1]:
                following = self._made.append_basic_block()
                if isinstance(test.op, ast.And):
                    self._branch(value, following, other)
                else:
                    self._branch(value, then, following)
                self._build.position_at_end(following)
            self._branch(test.values[-1], then, other)
        elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            self._branch(test.operand, other, then)
        else:
            found = self._build.icmp_unsigned("!=", self._value(test), self._number(0))
            self._build.cbranch(found, then, other)

    def _operation(self, kind: ast.operator, left: Any, right: Any) -> Any:
        if type(kind) not in _OPERATORS:
            raise NotImplementedError(
                f"no numbers are translated that are made by {type(kind).__name__}"
            )
        return getattr(self._build, _OPERATORS[type(kind)])(left, right)

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int(value)):
                return self._number(value)
            case ast.Name(id=name) if name in self._places:
                return self._build.load(self._places[name])
            case ast.Name(id=name):
                return self._number(int(self._names[name]))
            case ast.BinOp(left=left, op=kind, right=right):
                return self._operation(kind, self._value(left), self._value(right))
            case ast.Compare(left=left, ops=[kind], comparators=[right]):
                sign = _COMPARISONS[type(kind)]
                found = self._build.icmp_unsigned(sign, self._value(left), self._value(right))
                return self._build.zext(found, self._parent.word)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self._call(name, [self._value(argument) for argument in args])
        raise NotImplementedError(ast.unparse(node))

    def _call(self, name: str, args: list[Any]) -> Any:
        ir, word = self._parent.ir, self._parent.word
        if name in _READERS:
            item = ir.IntType(_READERS[name])
            start = self._build.inttoptr(args[0], item.as_pointer())
            value = self._build.load(self._build.gep(start, [args[1]]))
            return self._build.zext(value, word) if item.width < 64 else value
        called = self._names[name]
        if isinstance(called, PythonCall):
            return self._build.call(self._parent.python_call(called, len(args)), args)
        return self._build.call(self._parent.function(called), args)
