"""Kernels over the bytes of a register: CSV fields and prefixes.

A prefix in its usual spelling is read here; everything else is left to ``_fields.parse_prefix``,
which also knows what to say about it. The two agree wherever this one gives an answer.
"""

import numpy as np
from numpy.typing import NDArray

from classifier._jit import inline, kernel

__all__ = ["TOO_FEW", "TOO_MANY", "UNCLOSED", "read_prefixes", "split_rows"]

_LF, _CR, _COMMA, _QUOTE = 10, 13, 44, 34
_DOT, _SLASH, _COLON, _ZERO = 46, 47, 58, 48

# What is wrong with a row that cannot be split.
TOO_FEW, TOO_MANY, UNCLOSED, AFTER_QUOTE = 1, 2, 3, 4


@kernel
def split_rows(
    data: NDArray[np.uint8],
    first: int,
    first_line: int,
    slot_of: NDArray[np.int64],
    out: NDArray[np.uint8],
    starts: NDArray[np.int32],
    stops: NDArray[np.int32],
    lines: NDArray[np.int32],
    bad_lines: NDArray[np.int32],
    bad_kinds: NDArray[np.int32],
    bad_fields: NDArray[np.int32],
) -> tuple[int, int]:
    """Split the rows of a CSV file (RFC 4180; lines may end in CR LF, LF or CR).

    Parameters
    ----------
    data : uint8 (n,), read
        The file; rows begin at ``first``, which is on line ``first_line``.
    slot_of : int64 (fields of the header,), read
        Column in which a field goes, -1 to drop it.
    out : uint8 (n,), written
        Unquoted fields one after the other.
    starts, stops : int32 (rows, columns), written
        ``out[start:stop]`` is the field. Room for every row with enough commas.
    lines : int32 (rows,), written
        Line on which a row begins.
    bad_lines, bad_kinds, bad_fields : int32 (any,), written
        The first bad rows; further ones are only counted.

    Returns
    -------
    tuple of int
        Rows written, and bad rows found.
    """
    n = data.size
    wanted = slot_of.size
    i = first
    line = first_line
    rows = 0
    bad = 0
    w = 0
    while i < n:
        c = data[i]
        if c in (_LF, _CR):
            i += 2 if c == _CR and i + 1 < n and data[i + 1] == _LF else 1
            line += 1
            continue
        row_line = line
        row_w = w
        kind = 0
        field = 0
        while True:
            start = w
            if i < n and data[i] == _QUOTE:
                i += 1
                closed = False
                while i < n:
                    c = data[i]
                    i += 1
                    if c == _QUOTE:
                        if i < n and data[i] == _QUOTE:
                            i += 1
                        else:
                            closed = True
                            break
                    elif c == _LF or (c == _CR and not (i < n and data[i] == _LF)):
                        line += 1
                    out[w] = c
                    w += 1
                if not closed:
                    kind = UNCLOSED
                elif i < n and data[i] != _COMMA and data[i] != _LF and data[i] != _CR:
                    kind = AFTER_QUOTE
            while i < n and data[i] != _COMMA and data[i] != _LF and data[i] != _CR:
                out[w] = data[i]
                w += 1
                i += 1
            if field < wanted:
                slot = slot_of[field]
                if slot < 0 or rows >= lines.size:
                    w = start
                else:
                    starts[rows, slot] = start
                    stops[rows, slot] = w
            else:
                w = start
            field += 1
            if i < n and data[i] == _COMMA:
                i += 1
                continue
            break
        if kind == 0 and field != wanted:
            kind = TOO_FEW if field < wanted else TOO_MANY
        if kind == 0:
            lines[rows] = row_line
            rows += 1
        else:
            w = row_w
            if bad < bad_lines.size:
                bad_lines[bad] = row_line
                bad_kinds[bad] = kind
                bad_fields[bad] = field
            bad += 1
        if i < n:
            i += 2 if data[i] == _CR and i + 1 < n and data[i + 1] == _LF else 1
            line += 1
    return rows, bad


@inline
def _length(data: NDArray[np.uint8], i: np.int64, stop: np.int64, bits: int) -> np.int64:
    """Return the prefix length written at ``data[i:stop]`` (after the slash), -1 if unusual."""
    if not 1 <= stop - i <= 3 or (stop - i > 1 and data[i] == _ZERO):
        return np.int64(-1)
    value = np.int64(0)
    while i < stop:
        digit = np.int64(data[i]) - _ZERO
        if digit < 0 or digit > 9:
            return np.int64(-1)
        value = value * 10 + digit
        i += 1
    return value if value <= bits else np.int64(-1)


@inline
def _read_v4(
    data: NDArray[np.uint8], start: np.int64, stop: np.int64
) -> tuple[np.uint64, np.int64]:
    """Return address and length of an IPv4 prefix in usual spelling, length -1 if it is not."""
    value = np.int64(0)
    i = start
    for octet in range(4):
        digits = 0
        number = np.int64(0)
        first = i
        while i < stop and digits < 4:
            digit = np.int64(data[i]) - _ZERO
            if digit < 0 or digit > 9:
                break
            number = number * 10 + digit
            digits += 1
            i += 1
        if digits == 0 or number > 255 or (digits > 1 and data[first] == _ZERO):
            return np.uint64(0), np.int64(-1)
        value = value << 8 | number
        if octet < 3:
            if i >= stop or data[i] != _DOT:
                return np.uint64(0), np.int64(-1)
            i += 1
    length = np.int64(32)
    if i < stop:
        length = _length(data, i + 1, stop, 32) if data[i] == _SLASH else np.int64(-1)
    if length >= 0 and value & ((1 << (32 - length)) - 1):
        length = np.int64(-1)
    return np.uint64(value), length


@inline
def _read_v6(
    data: NDArray[np.uint8], start: np.int64, stop: np.int64, groups: NDArray[np.int64]
) -> tuple[np.uint64, np.uint64, np.int64]:
    """Return upper, lower half and length of an IPv6 prefix in hexadecimal, length -1 if not."""
    none = np.uint64(0), np.uint64(0), np.int64(-1)
    count = 0
    gap = -1
    i = start
    if i + 1 < stop and data[i] == _COLON and data[i + 1] == _COLON:
        gap = 0
        i += 2
    while i < stop and data[i] != _SLASH:
        if count == 8:
            return none
        number = np.int64(0)
        digits = 0
        while i < stop and digits < 5:
            c = np.int64(data[i])
            if 48 <= c <= 57:
                digit = c - 48
            elif 97 <= c <= 102:
                digit = c - 87
            elif 65 <= c <= 70:
                digit = c - 55
            else:
                break
            number = number << 4 | digit
            digits += 1
            i += 1
        if digits == 0 or digits > 4:
            return none
        groups[count] = number
        count += 1
        if i < stop and data[i] == _COLON:
            i += 1
            if i < stop and data[i] == _COLON:
                if gap >= 0:
                    return none
                gap = count
                i += 1
            elif i >= stop or data[i] == _SLASH:
                return none
        elif i < stop and data[i] != _SLASH:
            return none
    if (gap < 0 and count != 8) or (gap >= 0 and count > 7):
        return none
    length = _length(data, i + 1, stop, 128) if i < stop else np.int64(128)
    if length < 0:
        return none
    hi = np.uint64(0)
    lo = np.uint64(0)
    for k in range(8):
        number = np.int64(0)
        if gap < 0 or k < gap:
            number = groups[k]
        elif k >= 8 - (count - gap):
            number = groups[k - 8 + count]
        if k < 4:
            hi = hi << np.uint64(16) | np.uint64(number)
        else:
            lo = lo << np.uint64(16) | np.uint64(number)
    one = np.uint64(1)
    lo_behind = lo if length <= 64 else lo & ((one << np.uint64(128 - length)) - one)
    if length == 128:
        lo_behind = np.uint64(0)
    hi_behind = np.uint64(0)
    if length == 0:
        hi_behind = hi
    elif length < 64:
        hi_behind = hi & ((one << np.uint64(64 - length)) - one)
    if lo_behind != 0 or hi_behind != 0:
        return none
    return hi, lo, length


@kernel
def read_prefixes(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    version: NDArray[np.uint8],
    hi: NDArray[np.uint64],
    lo: NDArray[np.uint64],
    length: NDArray[np.uint8],
) -> None:
    """Read the prefixes ``data[offsets[row]:offsets[row + 1]]``.

    ``data`` uint8 and ``offsets`` int32 (rows + 1,) are read, checked by the caller. ``version``,
    ``hi``, ``lo``, ``length`` (rows,) are written; version 0 is a spelling not read here.
    """
    groups = np.zeros(8, np.int64)
    for row in range(version.size):
        start = np.int64(offsets[row])
        stop = np.int64(offsets[row + 1])
        version[row] = 0
        if stop - start > 43:
            continue
        low, bits = _read_v4(data, start, stop)
        if bits >= 0:
            version[row], hi[row], lo[row], length[row] = 4, 0, low, bits
            continue
        high, low, bits = _read_v6(data, start, stop, groups)
        if bits >= 0:
            version[row], hi[row], lo[row], length[row] = 6, high, low, bits
            if high == 0 and low >> np.uint64(32) == 0xFFFF and bits >= 96:
                version[row], lo[row], length[row] = 4, low & np.uint64(0xFFFFFFFF), bits - 96
