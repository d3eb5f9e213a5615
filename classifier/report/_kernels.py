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
def _rotate(value: int, bits: int) -> int:
    """Rotate a 32-bit word, held in an int64, to the left."""
    return ((value << bits) | (value >> (32 - bits))) & 0xFFFFFFFF


@inline
def _sha1_of_one_block(
    block: NDArray[np.int64], words: NDArray[np.int64], digest: NDArray[np.int64]
) -> None:
    """Hash a padded 64-byte message (FIPS 180-4, section 6.1) into five 32-bit words."""
    for t in range(16):
        words[t] = (
            (block[4 * t] << 24)
            | (block[4 * t + 1] << 16)
            | (block[4 * t + 2] << 8)
            | block[4 * t + 3]
        )
    for t in range(16, 80):
        words[t] = _rotate(words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16], 1)
    h0, h1, h2, h3, h4 = 0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0
    a, b, c, d, e = h0, h1, h2, h3, h4
    for t in range(80):
        if t < 20:
            mixed, constant = (b & c) | ((b ^ 0xFFFFFFFF) & d), 0x5A827999
        elif t < 40:
            mixed, constant = b ^ c ^ d, 0x6ED9EBA1
        elif t < 60:
            mixed, constant = (b & c) | (b & d) | (c & d), 0x8F1BBCDC
        else:
            mixed, constant = b ^ c ^ d, 0xCA62C1D6
        following = (_rotate(a, 5) + mixed + e + constant + words[t]) & 0xFFFFFFFF
        a, b, c, d, e = following, a, _rotate(b, 30), c, d
    digest[0] = (h0 + a) & 0xFFFFFFFF
    digest[1] = (h1 + b) & 0xFFFFFFFF
    digest[2] = (h2 + c) & 0xFFFFFFFF
    digest[3] = (h3 + d) & 0xFFFFFFFF
    digest[4] = (h4 + e) & 0xFFFFFFFF


@inline
def _put_base64(
    digest: NDArray[np.int64], alphabet: NDArray[np.uint8], out: NDArray[np.uint8], position: int
) -> None:
    """Write the base64 text of five 32-bit words: 27 digits and one ``=``."""
    for digit in range(27):
        first_bit = 6 * digit
        word, shift = first_bit >> 5, first_bit & 31
        pair = digest[word] << 32
        if word < 4:
            pair |= digest[word + 1]
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
    words: NDArray[np.int64],
    digest: NDArray[np.int64],
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
    words, digest, block : int64, shapes (80,), (5,), (64,), written
        Room to work in.
    out : uint8, shape (30 * n,), written
    """
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
        block[62] = position * 8 >> 8
        block[63] = position * 8 & 0xFF
        _sha1_of_one_block(block, words, digest)
        out[30 * i] = 49
        out[30 * i + 1] = 58
        _put_base64(digest, alphabet, out, 30 * i + 2)
