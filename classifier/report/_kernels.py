"""Kernels that write the text of addresses and Community IDs straight into Arrow's buffers.

All of them take the addresses as ``tables.FLOW`` holds them: two uint64 in host order, of which an
IPv4 address uses the low 32 bits of the second.
"""

import numpy as np
from numpy.typing import NDArray

from classifier._jit import inline, kernel

# What a cast at the read gives, and plain integers.
Integer = int | np.int64

# The longest text is eight groups of four digits and seven colons.
ADDRESS_BYTES = 39

# "1:" and the base64 text of a 20-byte digest.
COMMUNITY_ID_BYTES = 30

_ICMP, _TCP, _UDP, _ICMP6, _SCTP = 1, 6, 17, 58, 132

_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)  # FIPS 180-4, section 5.3.1


@inline
def _put_decimal(out: NDArray[np.uint8], position: int, value: Integer) -> int:
    """Write an octet in decimal; return the position after it."""
    if value >= 100:
        out[position] = 48 + value // 100
        position += 1
    if value >= 10:
        out[position] = 48 + value // 10 % 10
        position += 1
    out[position] = 48 + value % 10
    return position + 1


@inline
def _put_quad(out: NDArray[np.uint8], position: int, address: Integer) -> int:
    """Write a dotted quad; return the position after it."""
    for shift in (24, 16, 8, 0):
        position = _put_decimal(out, position, (address >> shift) & 0xFF)
        if shift:
            out[position] = 46
            position += 1
    return position


@inline
def _put_group(out: NDArray[np.uint8], position: int, group: Integer) -> int:
    """Write a 16-bit group in lower-case hex without leading zeros; return the position after."""
    started = False
    for shift in (12, 8, 4, 0):
        digit = (group >> shift) & 0xF
        if digit or started or shift == 0:
            out[position] = 48 + digit if digit < 10 else 87 + digit
            position += 1
            started = True
    return position


@inline
def _group(hi: np.uint64, lo: np.uint64, index: int) -> Integer:
    """Return a 16-bit group of an IPv6 address, 0 the leftmost."""
    half = hi if index < 4 else lo
    return np.int64((half >> np.uint64(48 - 16 * (index & 3))) & np.uint64(0xFFFF))


@inline
def _longest_zeros(hi: np.uint64, lo: np.uint64) -> tuple[int, int]:
    """Return ``start, stop`` of the first of the longest runs of zero groups, two at least."""
    best_start, best_stop, start = 0, 0, 0
    for index in range(9):
        if index == 8 or _group(hi, lo, index) != 0:
            if index - start > max(best_stop - best_start, 1):
                best_start, best_stop = start, index
            start = index + 1
    return best_start, best_stop


@inline
def _put_ipv6(out: NDArray[np.uint8], position: int, hi: np.uint64, lo: np.uint64) -> int:
    """Write an IPv6 address as RFC 5952 says; return the position after it."""
    if hi == 0 and lo >> np.uint64(32) == 0xFFFF:
        # RFC 5952, section 5: IPv4-mapped addresses keep the dotted quad.
        for byte in (58, 58, 102, 102, 102, 102, 58):
            out[position] = byte
            position += 1
        return _put_quad(out, position, np.int64(lo & np.uint64(0xFFFFFFFF)))
    start, stop = _longest_zeros(hi, lo)
    index = 0
    while index < 8:
        if index == start and stop > start:
            out[position] = 58
            out[position + 1] = 58
            position += 2
            index = stop
            continue
        if index and index != stop:
            out[position] = 58
            position += 1
        position = _put_group(out, position, _group(hi, lo, index))
        index += 1
    return position


@kernel
def address_text(
    hi: NDArray[np.uint64],
    lo: NDArray[np.uint64],
    version: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    out: NDArray[np.uint8],
) -> None:
    """Write each address as text.

    Parameters
    ----------
    hi, lo : uint64, shape (n,), read
    version : uint8, shape (n,), read
        6, or anything else for IPv4.
    offsets : int32, shape (n + 1,), written
    out : uint8, shape (at least 39 * n,), written
        ``out[offsets[i]:offsets[i + 1]]`` is the text of row ``i``.
    """
    position = 0
    offsets[0] = 0
    for i in range(hi.size):
        if version[i] == 6:
            position = _put_ipv6(out, position, hi[i], lo[i])
        else:
            position = _put_quad(out, position, np.int64(lo[i] & np.uint64(0xFFFFFFFF)))
        offsets[i + 1] = position


@inline
def _counterpart(proto: Integer, kind: Integer) -> Integer:
    """Return the ICMP type that answers or asks for this one, -1 where there is none.

    The pairs are those of Zeek, which the Community ID specification refers to.
    """
    if proto == _ICMP:
        if kind == 0:
            return 8
        if kind == 8:
            return 0
        if kind == 9 or kind == 13 or kind == 15 or kind == 17:
            return kind + 1
        if kind == 10 or kind == 14 or kind == 16 or kind == 18:
            return kind - 1
        return -1
    if kind == 128 or kind == 130 or kind == 133 or kind == 135 or kind == 139 or kind == 144:
        return kind + 1
    if kind == 129 or kind == 131 or kind == 134 or kind == 136 or kind == 140 or kind == 145:
        return kind - 1
    return -1


@inline
def _put_word(block: NDArray[np.int64], position: int, value: np.uint64, n_bytes: int) -> int:
    """Write an integer into a message block, most significant byte first."""
    for k in range(n_bytes):
        block[position + k] = np.int64(
            (value >> np.uint64(8 * (n_bytes - 1 - k))) & np.uint64(0xFF)
        )
    return position + n_bytes


@inline
def _put_address(
    block: NDArray[np.int64], position: int, hi: np.uint64, lo: np.uint64, version: int
) -> int:
    if version == 6:
        position = _put_word(block, position, hi, 8)
        return _put_word(block, position, lo, 8)
    return _put_word(block, position, lo, 4)


@inline
def _round(
    state: NDArray[np.uint32],
    words: NDArray[np.uint32],
    t: int,
    lane: int,
    mixed: Integer,
    constant: int,
) -> None:
    """Take one step of SHA-1; what is stored keeps its lowest 32 bits."""
    a, b = np.int64(state[0, lane]), np.int64(state[1, lane])
    following = ((a << 5) | (a >> 27)) + mixed + np.int64(state[4, lane]) + constant
    following += np.int64(words[t, lane])
    state[4, lane] = state[3, lane]
    state[3, lane] = state[2, lane]
    state[2, lane] = (b << 30) | (b >> 2)
    state[1, lane] = state[0, lane]
    state[0, lane] = following


@inline
def _sha1_of_blocks(words: NDArray[np.uint32], state: NDArray[np.uint32], lanes: int) -> None:
    """Hash messages of one padded block each (FIPS 180-4, section 6.1), side by side.

    No message waits for another, so the compiler makes vectors of them: a sixth of the time that one
    after another took.
    """
    for t in range(16, 80):
        for lane in range(lanes):
            word = np.int64(words[t - 3, lane]) ^ np.int64(words[t - 8, lane])
            word ^= np.int64(words[t - 14, lane]) ^ np.int64(words[t - 16, lane])
            words[t, lane] = (word << 1) | (word >> 31)
    for k in range(5):
        for lane in range(lanes):
            state[k, lane] = _START[k]
    for t in range(20):
        for lane in range(lanes):
            b, c, d = np.int64(state[1, lane]), np.int64(state[2, lane]), np.int64(state[3, lane])
            _round(state, words, t, lane, d ^ (b & (c ^ d)), 0x5A827999)
    for t in range(20, 40):
        for lane in range(lanes):
            b, c, d = np.int64(state[1, lane]), np.int64(state[2, lane]), np.int64(state[3, lane])
            _round(state, words, t, lane, b ^ c ^ d, 0x6ED9EBA1)
    for t in range(40, 60):
        for lane in range(lanes):
            b, c, d = np.int64(state[1, lane]), np.int64(state[2, lane]), np.int64(state[3, lane])
            _round(state, words, t, lane, (b & c) | (d & (b | c)), 0x8F1BBCDC)
    for t in range(60, 80):
        for lane in range(lanes):
            b, c, d = np.int64(state[1, lane]), np.int64(state[2, lane]), np.int64(state[3, lane])
            _round(state, words, t, lane, b ^ c ^ d, 0xCA62C1D6)
    for k in range(5):
        for lane in range(lanes):
            state[k, lane] = np.int64(state[k, lane]) + _START[k]


@inline
def _put_base64(
    digest: NDArray[np.uint32],
    lane: int,
    alphabet: NDArray[np.uint8],
    out: NDArray[np.uint8],
    position: int,
) -> None:
    """Write the base64 text of five 32-bit words: 27 digits and one ``=``."""
    for digit in range(27):
        first_bit = 6 * digit
        word, shift = first_bit >> 5, first_bit & 31
        pair = np.int64(digest[word, lane]) << 32
        if word < 4:
            pair |= np.int64(digest[word + 1, lane])
        out[position + digit] = alphabet[(pair >> (58 - shift)) & 63]
    out[position + 27] = 61


@kernel
def community_ids(
    hi_a: NDArray[np.uint64],
    lo_a: NDArray[np.uint64],
    hi_b: NDArray[np.uint64],
    lo_b: NDArray[np.uint64],
    port_a: NDArray[np.uint16],
    port_b: NDArray[np.uint16],
    proto: NDArray[np.uint8],
    version: NDArray[np.uint8],
    icmp: NDArray[np.uint16],
    alphabet: NDArray[np.uint8],
    words: NDArray[np.uint32],
    digest: NDArray[np.uint32],
    block: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Write each flow's Community ID, version 1, seed 0.

    Parameters
    ----------
    hi_a, lo_a, hi_b, lo_b : uint64, shape (n,), read
        Originator and responder.
    port_a, port_b, icmp : uint16, shape (n,), read
        ``icmp`` is type << 8 | code of the first packet.
    proto, version : uint8, shape (n,), read
    alphabet : uint8, shape (64,), read
        The digits of base64.
    words, digest : uint32, shapes (80, lanes), (5, lanes), written
    block : int64, shape (44,), written
        Room to work in; as many flows are hashed side by side as there are lanes.
    out : uint8, shape (30 * n,), written
    """
    lanes = words.shape[1]
    for i in range(hi_a.size):
        kind = np.int64(proto[i])
        first: Integer = np.int64(port_a[i])
        second: Integer = np.int64(port_b[i])
        has_ports = kind == _TCP or kind == _UDP or kind == _SCTP
        one_way = False
        if kind == _ICMP or kind == _ICMP6:
            first = np.int64(icmp[i]) >> 8
            second = _counterpart(kind, first)
            has_ports = True
            if second < 0:
                second = np.int64(icmp[i]) & 0xFF
                one_way = True
        swap = hi_b[i] < hi_a[i] or (hi_b[i] == hi_a[i] and lo_b[i] < lo_a[i])
        if hi_b[i] == hi_a[i] and lo_b[i] == lo_a[i] and has_ports:
            swap = second < first
        block[:] = 0  # the first two bytes are the seed
        position = 2
        if swap and not one_way:
            first, second = second, first
            position = _put_address(block, position, hi_b[i], lo_b[i], version[i])
            position = _put_address(block, position, hi_a[i], lo_a[i], version[i])
        else:
            position = _put_address(block, position, hi_a[i], lo_a[i], version[i])
            position = _put_address(block, position, hi_b[i], lo_b[i], version[i])
        block[position] = kind
        position += 2
        if has_ports:
            position = _put_word(block, position, np.uint64(first), 2)
            position = _put_word(block, position, np.uint64(second), 2)
        # At most 40 bytes: mark, zeros and the 64-bit count of bits fit the same block.
        block[position] = 0x80
        lane = i % lanes
        for t in range(11, 15):
            words[t, lane] = 0
        words[15, lane] = position * 8
        for t in range(11):
            words[t, lane] = (
                (block[4 * t] << 24)
                | (block[4 * t + 1] << 16)
                | (block[4 * t + 2] << 8)
                | block[4 * t + 3]
            )
        if lane + 1 < lanes and i + 1 < hi_a.size:
            continue
        _sha1_of_blocks(words, digest, lane + 1)
        for k in range(lane + 1):
            position = 30 * (i - lane + k)
            out[position] = 49
            out[position + 1] = 58
            _put_base64(digest, k, alphabet, out, position + 2)
