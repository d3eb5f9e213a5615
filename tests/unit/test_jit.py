"""How kernels run, plain and compiled."""

import os
import subprocess
import sys

import numpy as np
import pytest

from classifier import _jit
from classifier._jit import Kernel, inline, kernel, plain

ROW = np.dtype([("wide", "i8"), ("narrow", "u1"), ("port", "u2")], align=True)


@inline
def doubled(x):
    return x + x


@kernel
def widen(rows, narrow, out):
    """Add what would overflow at its own width."""
    for i in range(rows.size):
        r = rows[i]
        out[i] = doubled(r.narrow) + doubled(narrow[i]) + (narrow[i] << 8)
        r.port = -1
        narrow[i] = 300


def results(*, run_plain: bool) -> list[list[int]]:
    rows = np.array([(1, 200, 0)], ROW)
    narrow, out = np.array([255], np.uint8), np.zeros(1, np.int64)
    with plain(run_plain):
        widen(rows, narrow, out)
    return [out.tolist(), narrow.tolist(), rows["port"].tolist()]


@pytest.mark.parametrize("run_plain", [True, False])
def test_narrow_numbers_widen_when_read_and_are_cut_when_stored(run_plain: bool) -> None:
    assert results(run_plain=run_plain) == [[400 + 510 + 65280], [44], [65535]]


def test_plain_runs_compile_nothing() -> None:
    fresh = Kernel(widen.function)
    with plain(True):
        fresh(np.zeros(1, ROW), np.zeros(1, np.uint8), np.zeros(1, np.int64))
    assert fresh.signatures == []


def run(code: str, **environment: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"NUMBA_BOUNDSCHECK": "0"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout.strip()


def test_a_small_capture_is_read_without_numba() -> None:
    code = (
        "import sys, classifier; run = classifier.classify(classifier.datasets.demo().capture);"
        "print(len(run.flows) > 0, 'numba' in sys.modules)"
    )
    assert run(code) == "True False"


def test_bounds_checks_are_always_compiled() -> None:
    code = "from classifier import _jit; print(_jit._Work.left)"
    assert run(code, NUMBA_BOUNDSCHECK="1") == "0"
    assert int(run(code, NUMBA_DISABLE_JIT="1")) > 10**9


def test_a_large_capture_is_read_compiled_from_its_first_packet_on() -> None:
    code = (
        "from classifier import _jit\n"
        "_jit.expect(_jit.PLAIN_WORK); print(_jit._Work.left == _jit.PLAIN_WORK)\n"
        "_jit.expect(_jit.PLAIN_WORK + 1); print(_jit._Work.left)"
    )
    assert run(code) == "True\n0"


def test_numba_is_imported_without_linear_algebra_and_products_still_find_it() -> None:
    code = (
        "import sys, numpy as np\n"
        "from classifier import _jit\n"
        "numba = _jit._numba(); numba.njit(lambda x: x + 1)(1)\n"
        "print('scipy.linalg' in sys.modules)\n"
        "print(numba.njit(lambda a: np.dot(a, a))(np.ones(3)))"
    )
    assert run(code) == "False\n3.0"


def test_compiling_is_told() -> None:
    told: list[str] = []
    fresh = Kernel(widen.function)
    _jit.notify(told.append)
    try:
        with plain(False):
            fresh(np.zeros(1, ROW), np.zeros(1, np.uint8), np.zeros(1, np.int64))
    finally:
        _jit.notify(None)
    assert told in ([], [f"{__name__}.widen"])  # nothing where it was compiled before


def test_a_cache_folder_depends_on_the_sources_a_module_uses_and_no_others() -> None:
    from classifier.detectors import wireguard

    names = {path.stem for path in _jit._sources(wireguard.__name__)}
    assert {"wireguard", "_reading", "tables", "_jit"} <= names
    assert "openvpn" not in names
