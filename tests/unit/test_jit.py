"""How kernels run, plain and compiled."""

import os
import resource
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from classifier import _jit, _native
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


OBJECTS = """
import sys
import zipfile
import numpy as np
from classifier import _jit
from classifier.report import _kernels
hi, lo = np.zeros(2, np.uint64), np.array([0x7F000001, 0x0A000001], np.uint64)
def text():
    offsets, out = np.zeros(3, np.int32), np.zeros(92, np.uint8)
    _kernels.address_text(hi, lo, np.full(2, 4, np.uint8), offsets, out)
    return out.tobytes().rstrip(bytes(1)).decode()
with _jit.plain(COMPILED):
    print(text(), "numba" in sys.modules)
"""


def test_what_one_process_compiled_another_binds_without_numba(tmp_path: Path) -> None:
    cache = str(tmp_path)
    compiled = OBJECTS.replace("COMPILED", "False")
    assert run(compiled, NUMBA_CACHE_DIR=cache) == "127.0.0.110.0.0.1 True"
    assert run(compiled, NUMBA_CACHE_DIR=cache) == "127.0.0.110.0.0.1 False"
    [kept] = tmp_path.rglob("*.o")
    good = kept.read_bytes()
    for bad in (good[:-1], good[:-200] + bytes(200), b"", b"none\n"):
        kept.write_bytes(bad)
        assert run(compiled, NUMBA_CACHE_DIR=cache) == "127.0.0.110.0.0.1 True"  # made again
        assert kept.read_bytes().partition(b"\n")[2] == good.partition(b"\n")[2]


def test_kernels_work_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = str(tmp_path / "file")  # a folder cannot be made in it
    assert run(OBJECTS.replace("COMPILED", "False"), NUMBA_CACHE_DIR=place).endswith("True")


OFFSET = 5
TABLE = np.arange(4)
HIDDEN: list[int] = []


@inline
def shifted(x):
    return x + OFFSET + TABLE[1]


@kernel
def shift(x):
    return shifted(x)


@kernel
def hide(x):
    return len(HIDDEN) + x


def test_an_object_is_named_by_all_that_it_was_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def name(signature: str = "int64") -> str:
        for function in (_jit._fingerprint, _jit._settings):
            function.cache_clear()
        path = _jit._path(shift.function, signature)
        assert path is not None
        return path.name

    seen = [name(), name("float64")]
    monkeypatch.setitem(globals(), "OFFSET", 6)
    seen.append(name())
    monkeypatch.setitem(globals(), "TABLE", np.array([0, 2, 2, 3]))
    seen.append(name())
    monkeypatch.setattr(_native.machine(), "features", "+other")
    seen.append(name())
    checked = os.environ.get("NUMBA_BOUNDSCHECK", "0") != "0"
    monkeypatch.setenv("NUMBA_BOUNDSCHECK", "0" if checked else "1")
    seen.append(name())
    monkeypatch.setitem(globals(), "shifted", inline(lambda x: x - OFFSET))
    seen.append(name())
    assert len(set(seen)) == len(seen)
    assert name() == name()


def test_what_cannot_be_described_is_not_kept() -> None:
    assert _jit._path(hide.function, "int64") is None


@kernel
def table_of(a, n):
    """Count last digits in memory of its own."""
    counts = np.zeros(10 + a.size, np.int64)
    for i in range(a.size):
        counts[a[i] % 10] += 1
    return counts[0] // n, counts[9]


@pytest.fixture
def compiled():
    with plain(False):
        yield


@pytest.mark.usefixtures("compiled")
def test_errors_of_compiled_kernels_are_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        table_of(np.arange(30), 0)
    with pytest.raises(OverflowError):
        table_of(np.arange(30), 1 << 63)
    assert table_of(np.arange(30), 1) == (3, 3)


@pytest.mark.usefixtures("compiled")
def test_arrays_of_other_types_get_code_of_their_own() -> None:
    wide = np.arange(40)
    fixed = wide.copy()
    fixed.flags.writeable = False
    given = [wide, wide[::2], wide.astype(np.uint8), fixed, wide.astype(">i8").astype("u4")]
    expected = [(4, 4), (4, 0), (4, 4), (4, 4), (4, 4)]
    assert [table_of(array, 1) for array in given] == expected
    assert len(table_of.signatures) == len(given)
    subclass = given[2].view(type("Sub", (np.ndarray,), {}))
    assert table_of(subclass, 1) == (4, 4)
    assert len(table_of.signatures) == len(given)


@pytest.mark.usefixtures("compiled")
@kernel
def squared(value):
    """Return the square of a number."""
    return value * value


@kernel
def weigh(pair, table, factor, big, wanted):
    """Read arguments of every kind."""
    total = factor * big
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            total += table[i, j] * (i + 10 * j)
    return total + pair[0].size * pair[1] + wanted


@pytest.mark.parametrize("order", ["C", "F", "A"])
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_arguments_of_every_kind_arrive(order: str, rows: int) -> None:
    table = np.arange(rows * 6.0).reshape(rows, 6)
    table = {"C": table, "F": np.asfortranarray(table), "A": table[::-1, 1::2]}[order]
    given = (np.zeros(3), 7), table, 0.5, np.uint64(1 << 63), np.bool_(True)
    with plain(True):
        expected = weigh(*given)
    with plain(False):
        found = weigh(*given)
    assert found == expected
    assert weigh.bound_alone


def adder(step: object) -> Kernel:
    @kernel
    def add(values, out):
        """Add up what a step makes of each value."""
        for i in range(values.size):
            out[0] += step(values[i])

    return add


@pytest.mark.parametrize("run_plain", [True, False])
def test_a_kernel_may_close_over_helpers_and_kernels(run_plain: bool) -> None:
    found = []
    for step in (doubled, squared):
        out = np.zeros(1, np.int64)
        add = adder(step)
        with plain(run_plain):
            add(np.array([1, 2, 5], np.int64), out)
        assert add.bound_alone
        found.append(int(out[0]))
    assert found == [16, 30]


def test_memory_that_kernels_take_is_given_back() -> None:
    large = np.zeros(1 << 20, np.int64)
    table_of(large, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(100):
        table_of(large, 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # of 800 MiB


@kernel
def sorted_copy(a, out):
    out[:] = np.sort(a)
    out[0] = shifted(out[0]) - OFFSET - TABLE[1]


@pytest.mark.usefixtures("compiled")
def test_what_needs_more_of_numba_is_called_by_it() -> None:
    out = np.zeros(3, np.int64)
    sorted_copy(np.array([3, 1, 2]), out)
    assert out.tolist() == [1, 2, 3]
    assert not sorted_copy.bound_alone
    assert table_of(np.arange(30), 1) == (3, 3)
    assert table_of.bound_alone


@pytest.mark.usefixtures("compiled")
def test_functions_that_others_give_numba_have_machine_code() -> None:
    """Kernels have none of numba's: neither what is compiled before one nor behind it may lack it."""
    import numba

    def largest(a):
        if a.size == 0:
            raise ValueError(str(a.size))
        return np.sort(a)[-1] + len([x for x in a if x > 1])

    before = numba.njit(largest)
    assert before(np.array([3, 1, 2])) == 5

    @kernel
    def twice(a):
        b = np.sort(a)
        return b[0] + b[-1]

    assert twice(np.array([3, 1, 2])) == 4
    behind = numba.njit(largest)
    for function in (before, behind):
        assert function(np.array([3, 1, 2])) == 5
        assert function(np.array([3.5, 1])) == 4.5
        with pytest.raises(ValueError, match="0"):
            function(np.zeros(0))


def test_threads_compile_a_kernel_once() -> None:
    told: list[str] = []
    fresh = Kernel(sorted_copy.function)
    _jit.notify(told.append)
    try:
        with plain(False), ThreadPoolExecutor(4) as pool:
            arrays = [np.array([2, 1]) for _ in range(8)]
            outs = [np.zeros(2, np.int64) for _ in arrays]
            list(pool.map(fresh, arrays, outs))
    finally:
        _jit.notify(None)
    assert [out.tolist() for out in outs] == [[1, 2]] * 8
    assert told == [f"{__name__}.sorted_copy"]


def test_kernels_run_from_an_archive_and_nothing_is_kept_of_them(tmp_path: Path) -> None:
    package = Path(_jit.__file__).parent
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in package.rglob("*.py"):
            archive.write(path, path.relative_to(package.parent))
    code = (
        "import sys, numpy as np\n"
        "from classifier import _jit\n"
        "from classifier.detectors._messages import look_random\n"
        "print('all.zip' in _jit.__file__, *look_random(np.zeros((1, 32), np.uint8), np.array([32]), 0, 32))"
    )
    kept = {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(tmp_path / "all.zip")}
    kept |= {"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for much in ("", "_jit._Work.left = 0\n"):
        lines = code.splitlines(keepends=True)
        assert run("".join([*lines[:2], much, *lines[2:]]), **kept) == "True False"
    assert not (tmp_path / "cache").exists()
