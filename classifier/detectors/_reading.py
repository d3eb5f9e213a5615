"""Kernels that several detectors share: reads in either byte order, and what looks random.

Helpers do not call each other and take no constants as arguments: each level of calls is optimised
again in its caller, and each constant makes numba compile the helper once more (WireGuard's kernel
compiled in 2.1 s before, 1.2 s after).

Every read is unchecked; the caller has compared ``i`` and the width with the bytes that are left.
"""

import numpy as np

from classifier._jit import inline

SYN = 0x02

__all__ = ["be16", "be32", "be64", "le32", "looks_random", "row_of"]


@inline
def be16(buf, i):
    """Read an unsigned 16-bit number, most significant byte first."""
    return (np.int64(buf[i]) << 8) | np.int64(buf[i + 1])


@inline
def be32(buf, i):
    """Read an unsigned 32-bit number, most significant byte first."""
    return (
        (np.int64(buf[i]) << 24)
        | (np.int64(buf[i + 1]) << 16)
        | (np.int64(buf[i + 2]) << 8)
        | np.int64(buf[i + 3])
    )


@inline
def be64(buf, i):
    """Read 64 bits, most significant byte first, as int64: good for comparing, not for size."""
    return (be32(buf, i) << 32) | be32(buf, i + 4)


@inline
def le32(buf, i):
    """Read an unsigned 32-bit number, least significant byte first."""
    return (
        np.int64(buf[i])
        | (np.int64(buf[i + 1]) << 8)
        | (np.int64(buf[i + 2]) << 16)
        | (np.int64(buf[i + 3]) << 24)
    )


@inline
def looks_random(buf, start, stop):
    """Tell whether ``buf[start:stop]`` may be key, nonce or ciphertext.

    A byte counts against it that is zero or repeats the one before; a quarter may, of 32 bytes or
    more an eighth. Of 8 random bytes too many do with probability 3e-5, of 16 with 1e-7, of 32 with
    6e-6. Sixteen bytes or more must hold one with the top bit set, as text does not (of 16 random
    ones 1.5e-5 have none).
    """
    dull = 0
    high = stop - start < 16
    last = np.int64(-1)
    for i in range(start, stop):
        byte = np.int64(buf[i])
        if byte == 0 or byte == last:
            dull += 1
        if byte >= 0x80:
            high = True
        last = byte
    return high and (8 if stop - start >= 32 else 4) * dull <= stop - start


@inline
def row_of(packets, start, stop, direction, offset):
    """Return the row of the packet that brought byte ``offset`` of a TCP direction's head."""
    base = np.int64(-1)
    found = np.int64(-1)
    for row in range(start, stop):
        p = packets[row]
        if p.direction == direction and p.tcp_flags & SYN:
            base = (np.int64(p.seq) + 1) & 0xFFFFFFFF
        if p.direction != direction or p.payload_bytes == 0:
            continue
        if base < 0:
            base = np.int64(p.seq)
        if found < 0:
            found = np.int64(row)
        at = (np.int64(p.seq) - base) & 0xFFFFFFFF
        if at <= offset < at + np.int64(p.payload_bytes):
            return np.int64(row)
    return max(found, start)
