"""Functions made machine code compute what they compute in plain Python, in 64 bits."""

import inspect
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType

import numpy as np
import pytest

from classifier import _native, _translate
from classifier._translate import PythonCall, builtin, read_byte, read_long, read_word

_number = PythonCall("PyLong_AsUnsignedLongLongMask")
_object = PythonCall("PyLong_FromUnsignedLongLong")
_MOST = 1000
_ALL = 2**64 - 1

pytestmark = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT", "0") != "0", reason="nothing is compiled"
)


def arithmetic(a: int, b: int) -> int:
    """Use each operator."""
    x, y = a + b * 3, a + 7 - 2
    x ^= (a << 3) | (b >> 2) & 0xFF
    y = z = x + y
    return z ^ y + (a < b) + (a <= b) * 2 + (a > b) * 4 + (a >= b) * 8 + (a == b) * 16 + (a != b)


def branches(a: int, b: int) -> int:
    """Go all ways."""
    if a > 5 and b > 5 and not (a == b or a == 97):
        return 1
    if a == b or b == 0 or (a == 0 and not (b == 1 or b == 2)):
        found = 2
    elif a:
        found = 3
        if b > 1:
            found += a
    else:
        found = 4
    return found


def loops(a: int, b: int) -> int:
    """Nest loops that end in the middle."""
    steps = 0
    while a > 1 and steps < _MOST:
        inner = 0
        while True:
            inner += 1
            if inner > b & 3:
                break
            steps += 1
        a = helped(a)
        steps += 1
    return steps


def helped(a: int) -> int:
    """Be called."""
    if a & 1:
        return 3 * a + 1
    return a >> 1


def run_arithmetic(_: int, args: int, count: int) -> int:
    return _object(arithmetic(_number(read_long(args, 0)), _number(read_long(args, count - 1))))


def run_branches(_: int, args: int, count: int) -> int:
    return _object(branches(_number(read_long(args, 0)), _number(read_long(args, count - 1))))


def run_loops(_: int, args: int, count: int) -> int:
    return _object(loops(_number(read_long(args, 0)), _number(read_long(args, count - 1))))


def own_number(own: int, args: int, count: int) -> int:
    return _object(_number(own) + count)


def below(_: int, args: int, count: int) -> int:
    return _object((_number(read_long(args, 0)) < _number(read_long(args, 1))) + count - 2)


def read_items(_: int, args: int, count: int) -> int:
    place, index = _number(read_long(args, 0)), _number(read_long(args, 1))
    return _object(
        read_byte(place, index) ^ read_word(place, index) << 20 ^ read_long(place, index)
    )


def power(_: int, args: int, count: int) -> int:
    return _object(args**count)


@pytest.mark.parametrize(
    ("function", "run"),
    [(arithmetic, run_arithmetic), (branches, run_branches), (loops, run_loops)],
)
def test_machine_code_computes_what_plain_python_does(function, run):
    made = builtin(run, 0)
    for a in (*range(12), 27, 97, 871, 2**31, 2**32 + 5):
        for b in (*range(9), 255, 2**33):
            assert made(a, b) == function(a, b) & _ALL


def test_numbers_have_64_bits_and_no_sign():
    assert builtin(below, 0)(_ALL, 1) == 0
    assert builtin(below, 0)(1, 2**63) == 1
    assert builtin(run_arithmetic, 0)(2**63, 2**63 + 1) == arithmetic(2**63, 2**63 + 1) & _ALL


def test_each_object_has_its_own_number():
    one, other = builtin(own_number, 1000), builtin(own_number, 2000)
    assert (one(), other(None), one(1, 2)) == (1000, 2001, 1002)


def test_memory_is_read_in_three_widths():
    items = np.arange(64, dtype=np.uint64) * 0x0123456789ABCDEF
    made = builtin(read_items, 0)
    for index in (0, 3, 31):
        byte, word = items.view("u1")[index], items.view("u4")[index]
        assert made(items.ctypes.data, index) == int(byte) ^ int(word) << 20 ^ int(items[index])


def test_objects_are_counted_as_python_counts_them():
    made = builtin(own_number, 5_000)
    asked = object()
    before = sys.getrefcount(asked)
    for _ in range(100):
        made(asked)
    assert sys.getrefcount(asked) == before


def test_what_cannot_be_translated_is_named():
    with pytest.raises(NotImplementedError, match=r"Pow|\*\*"):
        builtin(power, 0)


def test_an_object_whose_type_is_elsewhere_is_noticed(monkeypatch):
    assert _translate.type_in_head()
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert not _translate.type_in_head()


def test_threads_share_one_definition(monkeypatch):
    made = []

    def slowly(function, make=_translate._machine_code):
        made.append(function)
        time.sleep(0.05)
        return make(function)

    monkeypatch.setattr(_translate, "_made", {})
    monkeypatch.setattr(_translate, "_machine_code", slowly)
    with ThreadPoolExecutor(4) as pool:
        numbered = list(pool.map(lambda own: builtin(own_number, own), range(1000, 1004)))
    assert [one() for one in numbered] == [1000, 1001, 1002, 1003]
    assert made == [own_number]


def test_threads_that_ask_at_once_load_into_one_machine(monkeypatch):
    """What another one had loaded would be gone with it, and its callers crash."""

    class Slow:
        def __init__(self):
            time.sleep(0.05)

    monkeypatch.setattr(_native, "_machine", None)
    monkeypatch.setattr(_native, "_Machine", Slow)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: _native.machine(), range(4)))
    assert len({id(one) for one in found}) == 1


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """Return a folder of its own for what is made."""
    monkeypatch.setattr(_translate, "_made", {})
    monkeypatch.setattr(_native, "folder", lambda: tmp_path)
    return tmp_path


def test_what_was_made_is_kept_and_not_translated_again(kept, monkeypatch):
    assert not _translate.is_at_hand(run_loops)
    assert builtin(run_loops, 0)(27, 3) == loops(27, 3)
    (path,) = kept.iterdir()
    _translate._made.clear()  # as in a later process
    assert _translate.is_at_hand(run_loops)
    monkeypatch.setattr(_translate, "_Translation", None)
    assert builtin(run_loops, 0)(97, 2) == loops(97, 2)
    monkeypatch.setattr(_native, "is_loaded", lambda: False)
    assert _translate.is_at_hand(run_loops)  # made in this process
    _translate._made.clear()
    assert not _translate.is_at_hand(run_loops)  # as it would take longer
    assert path.is_file()


def test_a_damaged_file_is_made_again(kept):
    builtin(own_number, 0)
    (path,) = kept.iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:80] + b"?" + whole[81:]):
        path.write_bytes(damaged)
        _translate._made.clear()
        assert builtin(own_number, 1000)() == 1000
        assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_no_hindrance(kept, monkeypatch):
    (kept / "file").write_bytes(b"")
    monkeypatch.setattr(_native, "folder", lambda: kept / "file" / "below")
    assert builtin(own_number, 1000)() == 1000


def test_functions_that_differ_anywhere_are_kept_apart():
    def run(function, **names):
        made = FunctionType(function.__code__, {**globals(), **names}, "run")
        return _translate._name(made)

    one = run(run_loops)
    assert one == run(run_loops)
    changed = FunctionType(helped.__code__.replace(co_consts=(None, 1, 5)), globals(), "helped")
    inner = FunctionType(loops.__code__, {**globals(), "helped": changed}, "loops")
    names = [run(run_loops, loops=inner), run(run_loops, _number=_object), run(run_branches)]
    names += [
        run(run_loops, loops=FunctionType(loops.__code__, {**globals(), "_MOST": 5}, "loops"))
    ]
    assert len({one, *names}) == 5


def test_a_source_that_is_not_what_runs_is_refused(kept, monkeypatch):
    text = inspect.getsource(own_number)
    for other in (text.replace("+", "-"), text.replace("own_number", "count"), "x = 1\n"):
        monkeypatch.setattr(inspect, "getsource", lambda _, other=other: other)
        with pytest.raises(OSError, match="changed"):
            builtin(own_number, 0)


def test_words_of_another_size_are_noticed(monkeypatch):
    monkeypatch.setattr(_translate.ctypes, "sizeof", lambda _: 4)
    assert not _translate.type_in_head()
