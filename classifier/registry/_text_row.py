"""The row of one address given as text, compiled: a function of the processor, not of numba's dispatch.

Python calls it with the text and the address in memory of a *state*: where the arrays of the table are
and what `Ranges.shape` says. Wrapping arrays would take longer than the look-up.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier._jit import code_point, inline, kernel, read_long, read_word
from classifier.registry._table_kernels import Ranges

__all__ = ["ASK_PYTHON", "state_of", "text_row"]

#: The text is no address in the usual way of writing, or no text.
ASK_PYTHON = -2

_NONE = 0xFFFFFFFF
_LINK = 1 << 31
_AT = (1 << 27) - 1
_V4_TOP, _V4_WORDS, _V6_TOP, _V6_WORDS, _SHAPE = range(5)


def state_of(ranges: Ranges) -> NDArray[np.int64]:
    """Return the state of a table, whose arrays must live as long as it is used."""
    arrays: list[NDArray[Any]] = [ranges.v4_top, ranges.v4_words, ranges.v6_top, ranges.v6_words]
    places = [array.ctypes.data for array in arrays]
    return np.concatenate([np.array(places, np.int64), ranges.shape.view(np.int64)])


@inline
def _descend(place: int, address: int, left: int, unit: int, words: int) -> int:
    """Return where the record is that a place leads to; as in ``_table_kernels``."""
    while place > _AT:
        split = place >> 27
        left -= split
        place = read_word(words, (place & _AT) * unit + ((address >> left) & ((1 << split) - 1)))
    return place


@inline
def _row_v4(address: int, state: int) -> int:
    """Return the row of an IPv4 address, 2**32 - 1 for none."""
    words, left = read_long(state, _V4_WORDS), read_long(state, _SHAPE)
    slots = read_long(state, _SHAPE + 1)
    low = address & 0xFFFF
    place = read_word(read_long(state, _V4_TOP), address >> left)
    if slots > 2:
        place = _descend(place, address, left, 1, words)
        rank = 0
        for k in range(slots):
            word = read_word(words, place + (k >> 1))
            rank += 1 if (word >> (16 * (k & 1))) & 0xFFFF < low else 0
        return read_word(words, place + (slots >> 1) + rank)
    at = ((place & _AT) + ((address & ((1 << left) - 1)) >> (place >> 27))) << 2
    while True:
        borders = read_word(words, at)
        rank = (1 if borders & 0xFFFF < low else 0) + (1 if borders >> 16 < low else 0)
        row = read_word(words, at + 1 + rank)
        if row < _LINK or row == _NONE:
            return row
        part = (low >> (row >> 24 & 15)) & ((2 << (row >> 28 & 7)) - 1)
        at = ((row & ((1 << 24) - 1)) + part) << 2


@inline
def _row_in_v6(place: int, half: int, words: int) -> int:
    """Return the row that a record has for a half of an IPv6 address."""
    key = np.uint64(half)
    rank = 1 if np.uint64(read_long(words, place)) < key else 0
    rank += 1 if np.uint64(read_long(words, place + 1)) < key else 0
    return read_word(words, ((place + 2) << 1) + rank)


@inline
def _row_v6(hi: int, lo: int, state: int) -> int:
    """Return the row of an IPv6 address that is not mapped, 2**32 - 1 for none."""
    words, lead = read_long(state, _V6_WORDS), read_long(state, _SHAPE + 2)
    shift = 64 - read_long(state, _SHAPE + 5)
    place = 0
    if hi & read_long(state, _SHAPE + 4) == read_long(state, _SHAPE + 3):
        leading = np.int64(np.uint64(hi << lead) >> np.uint64(shift))
        place = read_word(read_long(state, _V6_TOP), leading)
        place = _descend(place, hi, shift - lead, 2, words)
    row = _row_in_v6(place, hi, words)
    if row >= _LINK and row != _NONE:
        place = _descend(row & (_LINK - 1), lo, 64, 2, words)
        row = _row_in_v6(place, lo, words)
    return row


@kernel
def text_row(text: str, state: int) -> int:
    """Return the row to begin with for an address, 2**32 - 1 for none, or `ASK_PYTHON`."""
    n = len(text)
    if not text._is_ascii or n > 39:  # type: ignore[attr-defined]  # as numba knows texts
        return ASK_PYTHON
    value = part = digits = dots = 0
    i = 0
    while i < n:
        digit = code_point(text, i) - 48
        if digit == -2:  # a dot
            if digits == 0 or dots == 3:
                return ASK_PYTHON
            value = value << 8 | part
            part = digits = 0
            dots += 1
        elif 0 <= digit <= 9 and (digits == 0 or part > 0) and part <= 25:
            part = part * 10 + digit
            digits += 1
        else:
            break
        i += 1
    if i == n:
        if dots != 3 or digits == 0 or part > 255 or value > 0xFFFFFF:
            return ASK_PYTHON
        return _row_v4(value << 8 | part, state)
    if dots:
        return ASK_PYTHON
    # Groups before a gap, if there is one, then those behind it.
    hi = lo = head_hi = head_lo = 0
    groups = 0
    gap = -1
    i = 0
    if n >= 2 and code_point(text, 0) == 58 and code_point(text, 1) == 58:
        gap = 0
        i = 2
    while i < n:
        part = digits = 0
        while i < n:
            char = code_point(text, i)
            if 48 <= char <= 57:
                digit = char - 48
            elif 97 <= char <= 102 or 65 <= char <= 70:
                digit = (char & 7) + 9
            else:
                break
            part = part << 4 | digit
            digits += 1
            i += 1
        groups += 1
        if digits == 0 or digits > 4 or groups > 8:
            return ASK_PYTHON
        hi = hi << 16 | (lo >> 48 & 0xFFFF)
        lo = lo << 16 | part
        if i == n:
            break
        if code_point(text, i) != 58 or i + 1 == n:
            return ASK_PYTHON
        i += 1
        if code_point(text, i) == 58:
            if gap >= 0:
                return ASK_PYTHON
            gap = groups
            head_hi, head_lo = hi, lo
            hi = lo = 0
            i += 1
    if gap < 0:
        if groups != 8:
            return ASK_PYTHON
    else:
        if groups > 7:
            return ASK_PYTHON
        for _ in range(8 - gap):
            head_hi = head_hi << 16 | (head_lo >> 48 & 0xFFFF)
            head_lo = head_lo << 16
        hi |= head_hi
        lo |= head_lo
    if hi == 0 and lo >> 32 == 0xFFFF:
        return _row_v4(lo & 0xFFFFFFFF, state)
    return _row_v6(hi, lo, state)
