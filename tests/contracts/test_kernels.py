"""Each kernel ends the suite compiled for one signature; runs last (see ``conftest.py``).

A second signature means a caller passes another type: a read-only array, another integer. It costs a
second of compilation in front of a user, and is not what the tests of the first one tested.
"""

import ast
import sys
from pathlib import Path
from typing import Any

import classifier
from classifier._jit import Kernel


def kernels() -> dict[str, Any]:
    """Return the kernels of all rooms that were imported so far, by name."""
    found = {}
    for name, module in sorted(sys.modules.items()):
        if name.startswith("classifier"):
            for own, thing in vars(module).items():
                if isinstance(thing, Kernel) and thing.function.__module__ == name:
                    found[f"{name}.{own}"] = thing
    return found


def test_each_kernel_is_compiled_for_one_signature() -> None:
    several = {
        name: [str(signature) for signature in kernel.signatures]
        for name, kernel in kernels().items()
        if len(kernel.signatures) > 1
    }
    assert not several


def test_each_kernel_is_called_without_numba() -> None:
    assert not [name for name, kernel in kernels().items() if not kernel.bound_alone]


def test_each_kernel_says_what_it_takes() -> None:
    silent = [name for name, kernel in kernels().items() if not kernel.function.__doc__]
    assert not silent


def functions() -> list[ast.FunctionDef]:
    files = Path(classifier.__file__).parent.rglob("*.py")
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def names_given_to(function: ast.FunctionDef, called: str) -> list[str]:
    return [
        argument.id
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == called
        for argument in node.args
        if isinstance(argument, ast.Name)
    ]


def test_arrays_that_a_kernel_makes_live_as_long_as_what_is_borrowed_of_them() -> None:
    """Numba frees an array after its last use by name: another thread may be given that memory."""
    lent = 0
    for function in functions():
        given = {argument.arg for argument in function.args.args}
        own = set(names_given_to(function, "borrow")) - given
        kept = names_given_to(function, "keep_alive")
        ends = max(sum(isinstance(node, ast.Return) for node in ast.walk(function)), 1)
        assert {name: kept.count(name) for name in own} == dict.fromkeys(own, ends), function.name
        lent += len(own)
    assert lent > 2
