"""Each kernel ends the suite compiled for one signature; runs last (see ``conftest.py``).

A second signature means a caller passes another type: a read-only array, another integer. It costs a
second of compilation in front of a user, and is not what the tests of the first one tested.
"""

import sys
from typing import Any

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
