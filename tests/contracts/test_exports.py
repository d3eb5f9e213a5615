"""What is public exists, is listed in order, and is documented as its signature says."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import classifier

PACKAGE = Path(classifier.__file__).parent
PUBLIC = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if not any(part.startswith("_") and part != "__init__.py" for part in path.parts)
    and not path.stem.startswith("signatures_")
)
#: Modules whose names users call; the others are parts of a room, checked for existence alone.
CALLED = ["classifier", "classifier.datasets", "classifier.detectors", "classifier.evaluation"]
CALLED += ["classifier.flows", "classifier.policy", "classifier.registry", "classifier.wire"]
SECTION = re.compile(
    r"^(Parameters|Attributes)\n-+\n(.*?)(?=^\w[\w ]*\n-{3,}\n|\Z)", re.MULTILINE | re.DOTALL
)
ENTRY = re.compile(r"^(\w[\w, *]*?)(?: : .*)?$", re.MULTILINE)


def exported(module: str) -> list[tuple[str, Any]]:
    home = importlib.import_module(module)
    return [(name, getattr(home, name)) for name in getattr(home, "__all__", ())]


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield public functions, and public methods of public classes, once each."""
    seen: set[int] = set()
    for module in CALLED:
        for name, value in exported(module):
            found = [(f"{module}.{name}", value)]
            if inspect.isclass(value):
                found = [
                    (f"{module}.{name}.{attribute}", inspect.unwrap(getattr(value, attribute)))
                    for home in value.__mro__  # its own, and those of its bases here
                    if home.__module__.startswith("classifier.")
                    for attribute, kind in vars(home).items()
                    if not attribute.startswith("_")
                    and (inspect.isfunction(kind) or isinstance(kind, classmethod | staticmethod))
                ]
            for label, function in found:
                raw = getattr(function, "__func__", function)
                if inspect.isfunction(raw) and id(raw) not in seen:
                    seen.add(id(raw))
                    yield label, raw


def documented(text: str) -> set[str]:
    """Return the names that a Parameters section describes."""
    names: set[str] = set()
    for title, body in SECTION.findall(text):
        if title == "Parameters":
            for entry in ENTRY.findall(body):
                names.update(part.strip(" *") for part in entry.split(","))
    return names


FUNCTIONS = dict(functions())


@pytest.mark.parametrize("module", PUBLIC)
def test_public_module_has_a_docstring_and_names_that_exist(module: str) -> None:
    home = importlib.import_module(module)
    assert home.__doc__, f"{module} has no docstring"
    names = getattr(home, "__all__", [])
    assert len(names) == len(set(names))
    for name in names:
        assert hasattr(home, name), f"{module}.{name} does not exist"


@pytest.mark.parametrize("module", PUBLIC)
def test_names_are_listed_in_order(module: str) -> None:
    names = list(getattr(importlib.import_module(module), "__all__", []))

    def key(name: str) -> tuple[int, str]:  # constants, classes, functions: as ruff sorts them
        return (0 if name.isupper() else 1 if name[0].isupper() else 2), name

    assert names in (sorted(names, key=key), sorted(names))


@pytest.mark.parametrize("module", PUBLIC)
def test_public_functions_and_classes_have_docstrings(module: str) -> None:
    for name, value in exported(module):
        if inspect.isfunction(value) or inspect.isclass(value):
            assert value.__doc__, f"{module}.{name} has no docstring"


def test_every_name_of_the_package_is_reachable_and_listed_by_dir() -> None:
    assert classifier.__all__ == sorted(classifier.__all__)
    assert dir(classifier) == classifier.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        classifier.nothing  # noqa: B018


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_names_every_parameter(name: str) -> None:
    function = FUNCTIONS[name]
    text = inspect.getdoc(function) or ""
    parameters = [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]
    # A function of one parameter may say in its first line what it takes
    missing = [p for p in parameters if not re.search(rf"\b{p}\b", text)]
    assert len(parameters) <= 1 or not missing, f"{name} does not describe {missing}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_parameters_section_describes_no_parameter_that_is_not_there(name: str) -> None:
    function = FUNCTIONS[name]
    described = documented(inspect.getdoc(function) or "")
    assert described <= set(inspect.signature(function).parameters), name


def test_parameters_section_is_read() -> None:
    text = (
        "Do.\n\nParameters\n----------\na, b : int\n    Two.\nc\n    One.\n\nReturns\n-------\nint"
    )
    assert documented(text) == {"a", "b", "c"}
