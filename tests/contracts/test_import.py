"""Importing the package, and asking for help, loads nothing heavy."""

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from classifier.datasets import demo

ROOT = Path(__file__).parents[2]
HEAVY = {
    "cryptography",
    "numba",
    "llvmlite",
    "numpy",
    "pandas",
    "pyarrow",
    "sklearn",
    "scipy",
    "pyshark",
}
HEAVY |= {"sqlalchemy", "dpkt", "tqdm"}


def loaded_by(program: str) -> set[str]:
    """Return the top-level modules that are loaded after a program, in a fresh interpreter."""
    report = "import json, sys; sys.stderr.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{report}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in json.loads(done.stderr)}


def test_import_of_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("import classifier, classifier.cli, classifier.datasets") & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["replay", "--help"], ["registry", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    program = f"""
import contextlib
from classifier.cli import main
with contextlib.suppress(SystemExit):
    main({arguments!r})
"""
    assert not loaded_by(program) & HEAVY


def test_paths_of_the_demo_and_errors_load_nothing_heavy() -> None:
    program = "import classifier\nclassifier.datasets.demo(), classifier.ClassifierError('x')"
    assert not loaded_by(program) & HEAVY


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda p: p.name)
def test_what_a_benchmark_imports_of_the_package_is_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "classifier":
            module = importlib.import_module(str(node.module))
            for name in node.names:
                if not hasattr(module, name.name):
                    importlib.import_module(f"{node.module}.{name.name}")


def test_the_command_loads_neither_pandas_nor_what_it_does_not_use() -> None:
    program = f"""
import os, sys
sys.argv = ['classifier', 'replay', {str(demo().capture)!r}, '--format', 'csv']
from classifier.cli import main
sys.stderr = open(os.devnull, 'w')
main()
sys.stderr.close()
sys.stderr = sys.__stderr__"""
    loaded = loaded_by(program)
    assert "pyarrow" in loaded
    assert not loaded & {"pandas", "sklearn", "scipy", "sqlalchemy", "pyshark", "dpkt", "tqdm"}


def test_a_table_becomes_a_frame_after_pyarrow_was_kept_from_pandas() -> None:
    program = """
import argparse
from classifier.commands.shared import prepare_arrow
prepare_arrow(argparse.Namespace(own_process=True))
import pyarrow as pa
assert pa.table({"a": pa.array([1.0, None])}).to_pandas()["a"].isna().tolist() == [False, True]
import pandas as pd
assert pa.array(pd.Series([1.0, float("nan")])).null_count == 1
"""
    assert "pandas" in loaded_by(program)
