"""The match of one address, in machine code: what `Table.lookup` calls, with its own arguments.

The functions here are translated (``classifier._translate``): all numbers are unsigned, and arrays and
objects are addresses. They know addresses, times and scopes in the usual forms; for any other
they answer `ASK_PYTHON`, and Python reads it or says what is wrong with it.

A *state* is an array of what they know of a table.
"""

from ipaddress import IPv4Address, IPv6Address
from string import hexdigits
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier._translate import PythonCall, read_byte, read_long, read_word
from classifier.registry._table_kernels import ACTIVE_ONLY, ENTRY, PORT, PROTO, SLOTS_SMALL, Ranges

__all__ = ["ASK_PYTHON", "find_match", "state_of"]

#: Something is not written in the usual way. As a number without a sign: `_ASK`.
ASK_PYTHON = -2

_ASK = ASK_PYTHON & 0xFFFFFFFFFFFFFFFF
_NONE = 0xFFFFFFFF
_LINK = 1 << 31
_AT = (1 << 27) - 1
_SIGN = 1 << 63
_PROTO_SHIFT, _PROTO_ASKED, _PORT_ASKED = 17, PROTO << 32, PORT << 32
_COLON, _DOT = 58, 46

# Longs of a state.
_V4_TOP, _V4_WORDS, _V6_TOP, _V6_WORDS, _SHAPE = 0, 1, 2, 3, 4
_ENTRIES, _MATCHES, _NOTHING, _TEXT, _WHOLE, _IPV4, _IPV6 = 12, 13, 14, 15, 16, 17, 18
_SIDES, _PROTOS, _TIMES, _64, _HEXADECIMAL, _SCRATCH = 19, 20, 21, 22, 23, 24

# Longs of an entry, words of an entry; an object's type is its second long.
_ENTRY_LONGS, _ENTRY_WORDS, _TO, _SCOPE, _NEXT, _TYPE = 4, 8, 1, 2, 6, 1

#: Values of hexadecimal digits by their character, more than 15 for any other.
_DIGITS = np.array([int(chr(c), 16) if chr(c) in hexdigits else 255 for c in range(256)], np.uint8)

_text = PythonCall("PyUnicode_AsUTF8AndSize")
_in_dict = PythonCall("PyDict_GetItemWithError")
_signed = PythonCall("PyLong_AsLongLong")
_unsigned = PythonCall("PyLong_AsUnsignedLongLong")
_low_bits = PythonCall("PyLong_AsUnsignedLongLongMask")
_as_int = PythonCall("PyNumber_Long")
_shifted = PythonCall("PyNumber_Rshift")
_new_int = PythonCall("PyLong_FromLongLong")
_clear = PythonCall("PyErr_Clear")
_keep = PythonCall("Py_IncRef")
_drop = PythonCall("Py_DecRef")


class _State(int):
    """Where a state is, and what must live as long as it is used."""

    held: list[Any]


def state_of(
    ranges: Ranges,
    entries: NDArray[np.void],
    matches: NDArray[np.object_],
    sides: dict[Any, int],
    protos: dict[Any, int],
    times: dict[str, int],
) -> int:
    """Return the address of a table's state, which lives as long as that number.

    ``matches`` (n_rows,) has None where no match was made yet; ``sides`` and ``protos`` give the scope
    that asks for a side or for a protocol's name, ``times`` the nanoseconds of texts that were read.
    """
    assert entries.dtype == ENTRY
    arrays: list[NDArray[Any]] = [ranges.v4_top, ranges.v4_words, ranges.v6_top, ranges.v6_words]
    objects = [None, str, int, IPv4Address, IPv6Address, sides, protos, times, 64]
    numbers = [array.ctypes.data for array in arrays]
    numbers += ranges.shape.view(np.int64).tolist()
    numbers += [entries.ctypes.data, matches.ctypes.data, *map(id, objects), _DIGITS.ctypes.data, 0]
    longs = np.array(numbers, np.int64)
    state = _State(longs.ctypes.data)
    state.held = [longs, arrays, objects, entries, matches]
    return state


def find_match(own: int, args: int, _: int) -> int:
    """Return the match for an address, time, side, protocol and port, each an object or None.

    Where the match of a row was not made yet, its row; else `ASK_PYTHON`.
    """
    state = _signed(own)
    nothing = read_long(state, _NOTHING)
    row = _row_of(state, read_long(args, 0))
    at = read_long(args, 1)
    asked = _scope_of(state, read_long(args, 2), read_long(args, 3), read_long(args, 4))
    timed = at != nothing
    if timed:
        at = _time_of(state, at)
    if row == _ASK or asked == _ASK or at == _ASK:
        return _new_int(_ASK)
    if timed or asked != ACTIVE_ONLY:
        row = _first_applying(state, row, at ^ _SIGN, asked, timed)
    match = nothing
    if row != _NONE:
        match = read_long(read_long(state, _MATCHES), row)
        if match == nothing:
            return _new_int(row)
    _keep(match)
    return match


def _first_applying(state: int, row: int, at: int, asked: int, timed: int) -> int:
    """Return the first row from one on that applies at a time, if one is asked for, to a scope."""
    entries = read_long(state, _ENTRIES)
    while row != _NONE:
        first = row * _ENTRY_LONGS
        scope = read_long(entries, first + _SCOPE)
        if ((scope ^ asked) & ((scope & asked) >> 32)) == 0:
            begin = read_long(entries, first) ^ _SIGN  # numbers with a sign, in order without one
            end = read_long(entries, first + _TO) ^ _SIGN
            if not timed or not (at < begin or at >= end):
                break
        row = read_word(entries, row * _ENTRY_WORDS + _NEXT)
    return row


def _found_in(names: int, name: int) -> int:
    """Return a number from a dict by a text, or `_ASK`."""
    found = _in_dict(names, name)
    if found == 0:
        return _ASK
    return _unsigned(found)


def _whole(number: int) -> int:
    """Return an int's value with its sign, if it is less than `_ASK`; else `_ASK`."""
    value = _signed(number)
    if value >= _ASK:  # -1 may mean an error
        _clear()
        return _ASK
    return value


def _time_of(state: int, at: int) -> int:
    """Return a time in nanoseconds with its sign, or `_ASK`."""
    if read_long(at, _TYPE) == read_long(state, _TEXT):
        at = _in_dict(read_long(state, _TIMES), at)
        if at == 0:
            return _ASK
    elif read_long(at, _TYPE) != read_long(state, _WHOLE):
        return _ASK
    return _whole(at)


def _scope_of(state: int, side: int, proto: int, port: int) -> int:
    """Return what is asked for, as entries say what they are for, or `_ASK`."""
    nothing, text = read_long(state, _NOTHING), read_long(state, _TEXT)
    asked = ACTIVE_ONLY
    if side != nothing:
        if read_long(side, _TYPE) != text:
            return _ASK
        value = _found_in(read_long(state, _SIDES), side)
        if value == _ASK:
            return _ASK
        asked |= value
    if proto != nothing:
        if read_long(proto, _TYPE) == text:
            value = _found_in(read_long(state, _PROTOS), proto)
            if value == _ASK:
                return _ASK
            asked |= value
        elif read_long(proto, _TYPE) == read_long(state, _WHOLE):
            value = _whole(proto)
            if value > 255:
                return _ASK
            asked |= value << _PROTO_SHIFT | _PROTO_ASKED
        else:
            return _ASK
    if port != nothing:
        if read_long(port, _TYPE) != read_long(state, _WHOLE):
            return _ASK
        value = _whole(port)
        if value > 65535:
            return _ASK
        asked |= value | _PORT_ASKED
    return asked


def _row_of(state: int, address: int) -> int:
    """Return the row to begin with for an address, `_NONE`, or `_ASK`."""
    kind = read_long(address, _TYPE)
    if kind == read_long(state, _TEXT):
        text = _text(address, state + 8 * _SCRATCH)
        if text == 0:  # surrogates
            _clear()
            return _ASK
        return _row_of_text(state, text, read_long(state, _SCRATCH))
    if kind != read_long(state, _IPV4) and kind != read_long(state, _IPV6):
        return _ASK
    number = _as_int(address)
    if number == 0:
        _clear()
        return _ASK
    low, high = _low_bits(number), 0
    if kind == read_long(state, _IPV6):
        upper = _shifted(number, read_long(state, _64))
        if upper == 0:
            _clear()
            _drop(number)
            return _ASK
        high = _low_bits(upper)
        _drop(upper)
    _drop(number)
    if kind == read_long(state, _IPV4):
        return _row_v4(low & 0xFFFFFFFF, state)
    return _row_v6(high, low, state)


def _row_of_text(state: int, text: int, size: int) -> int:
    """Return the row to begin with for an address in its usual form, `_NONE`, or `_ASK`.

    ``text`` ends with a zero, which is no part of an address.
    """
    value = part = digits = dots = i = 0
    while True:
        char = read_byte(text, i)
        digit = char - 48
        if digit <= 9:
            if digits > 0 and part == 0:  # 01 is octal to some
                break
            part = part * 10 + digit
            digits += 1
        elif char == _DOT and digits > 0 and digits <= 3 and part <= 255:
            value = value << 8 | part
            part = digits = 0
            dots += 1
        else:
            break
        i += 1
    if i == size and dots == 3 and digits > 0 and digits <= 3 and part <= 255:
        return _row_v4(value << 8 | part, state)
    if dots > 0:
        return _ASK
    # Groups before a gap, if there is one, then those behind it.
    hexadecimal = read_long(state, _HEXADECIMAL)
    high = low = before_high = before_low = groups = gap = i = 0
    if read_byte(text, 0) == _COLON and read_byte(text, 1) == _COLON:
        gap, i = 1, 2
    while i < size:
        part = digits = 0
        while True:
            char = read_byte(text, i)
            digit = read_byte(hexadecimal, char)  # from a table: a branch would be guessed wrongly
            if digit > 15:
                break
            part = part << 4 | digit
            digits += 1
            i += 1
        groups += 1
        if digits == 0 or digits > 4 or groups > 8:
            return _ASK
        high = high << 16 | low >> 48
        low = low << 16 | part
        if i == size:
            break
        if char != _COLON or i + 1 == size:
            return _ASK
        i += 1
        if read_byte(text, i) == _COLON:
            if gap > 0:
                return _ASK
            gap = groups + 1
            before_high, before_low = high, low
            high = low = 0
            i += 1
    if gap > 0:
        if groups > 7:
            return _ASK
        missing = 16 * (9 - gap)  # bits behind the gap, of groups that are there or not
        if missing >= 128:
            before_high = before_low = 0
        elif missing >= 64:
            before_high = before_low << (missing - 64)
            before_low = 0
        elif missing > 0:
            before_high = before_high << missing | before_low >> (64 - missing)
            before_low = before_low << missing
        high |= before_high
        low |= before_low
    elif groups != 8:
        return _ASK
    return _row_v6(high, low, state)


def _descend(place: int, address: int, left: int, unit: int, slots: int, words: int) -> int:
    """Return the place of the record that a place leads to; as in ``_table_kernels``."""
    while place >> 27 > slots:
        split = (place >> 27) - slots
        left -= split
        place = read_word(words, (place & _AT) * unit + ((address >> left) & ((1 << split) - 1)))
    return place


def _row_v4(address: int, state: int) -> int:
    """Return the row of an IPv4 address, `_NONE` for none."""
    words, left = read_long(state, _V4_WORDS), read_long(state, _SHAPE)
    slots = read_long(state, _SHAPE + 1)
    low = address & 0xFFFF
    place = read_word(read_long(state, _V4_TOP), address >> left)
    if slots > SLOTS_SMALL:
        place = _descend(place, address, left, 1, slots, words)
        n = place >> 27
        at = place & _AT
        rank = k = 0
        while k < n:
            rank += (read_word(words, at + (k >> 1)) >> ((k & 1) << 4)) & 0xFFFF < low
            k += 1
        return read_word(words, at + ((n + 1) >> 1) + rank)
    at = ((place & _AT) + ((address & ((1 << left) - 1)) >> (place >> 27))) << 2
    while True:
        borders = read_word(words, at)
        row = read_word(words, at + 1 + (borders & 0xFFFF < low) + (borders >> 16 < low))
        if row < _LINK or row == _NONE:
            break
        part = (low >> (row >> 24 & 15)) & ((2 << (row >> 28 & 7)) - 1)
        at = ((row & ((1 << 24) - 1)) + part) << 2
    return row


def _row_v6(high: int, low: int, state: int) -> int:
    """Return the row of an IPv6 address, `_NONE` for none."""
    if high == 0 and low >> 32 == 0xFFFF:
        return _row_v4(low & 0xFFFFFFFF, state)
    words, lead = read_long(state, _V6_WORDS), read_long(state, _SHAPE + 2)
    shift, slots = 64 - read_long(state, _SHAPE + 5), read_long(state, _SHAPE + 6)
    place = 0
    if high & read_long(state, _SHAPE + 4) == read_long(state, _SHAPE + 3):
        place = read_word(read_long(state, _V6_TOP), (high << lead) >> shift)
        place = _descend(place, high, shift - lead, 2, slots, words)
    row = _row_in_v6(place, high, words)
    if row >= _LINK and row != _NONE:
        place = _descend(row & (_LINK - 1), low, 64, 2, slots, words)
        row = _row_in_v6(place, low, words)
    return row


def _row_in_v6(place: int, half: int, words: int) -> int:
    """Return the row that a record has for a half of an IPv6 address."""
    n = place >> 27
    at = place & _AT
    rank = k = 0
    while k < n:
        rank += read_long(words, at + k) < half
        k += 1
    return read_word(words, ((at + n) << 1) + rank)
