"""TLS and DTLS client hellos: server name and JA4.

The structure is that of RFC 8446 4.1.2 (RFC 6347 4.2.1 for the cookie of DTLS)::

    offset  bytes  field
    0       2      legacy_version
    2       32     random
    34      1+n    session identifier
    ..      1+n    cookie, DTLS only
    ..      2+n    cipher suites, two bytes each
    ..      1+n    compression methods
    ..      2+n    extensions: type 2, length 2, data

The server name is extension 0 (RFC 6066 3), ALPN 16 (RFC 7301), signature algorithms 13, supported
versions 43. Values 0x?A?A are GREASE (RFC 8701) and count for nothing.

An encrypted hello (RFC 9849, extension 0xfe0d) is one extension more; the name is then that of the
outer hello, the provider's.

JA4 is FoxIO's fingerprint (github.com/FoxIO-LLC/ja4, technical_details/JA4.md, BSD licence). It is
given for whole hellos only: a hello of which the capture holds a part has none, but may still have
its server name.
"""

import functools
import hashlib

import numpy as np
from numpy.typing import NDArray

from classifier._jit import kernel
from classifier.detectors._reading import be16

__all__ = ["DTLS", "QUIC", "TCP", "describe_hellos", "ja4_of_key", "parse_hellos"]

# What carries a hello: the last column of its row.
TCP, DTLS, QUIC = range(3)

#: Bytes of a key that are not lists.
KEY_HEADER = 12
_HELLOS_AT_ONCE = 4096
#: Keys whose fingerprints are remembered: a client sends the same hello for each page.
_KEYS_KNOWN = 1024

_VERSIONS = {
    0x0304: "13",
    0x0303: "12",
    0x0302: "11",
    0x0301: "10",
    0x0300: "s3",
    0x0002: "s2",
    0xFEFF: "d1",
    0xFEFD: "d2",
    0xFEFC: "d3",
}
_LETTER = ("t", "d", "q")


@kernel
def parse_hellos(payload, hellos, scratch, names, keys):
    """Find the server name of client hellos, and what JA4 is made of.

    A key holds, in bytes: version 2, 1 where a server name extension is present, length of the
    first ALPN name, its first and last byte, counts of ciphers 2, extensions 2 and listed
    extensions 2, then the sorted ciphers, the sorted extensions without server name and ALPN, and
    the signature algorithms in their order, two bytes each.

    Parameters
    ----------
    payload : ndarray of uint8, read
    hellos : ndarray of int64, shape (n, 4), read
        First and last byte (half-open) of what was kept of the hello's body, its declared bytes,
        and what carries it.
    scratch : ndarray of uint8, written
        Room for the keys: ``KEY_HEADER + stop - start`` bytes for each hello, whose lists take
        more room there than in the key.
    names : ndarray of int64, shape (n, 4), written
        ``payload[a:b]`` is the server name, ``payload[c:d]`` the first ALPN name; empty where none.
    keys : ndarray of int64, shape (n, 2), written
        ``scratch[a:b]`` is the key; empty where the hello is not whole or not well-formed.
    """
    room = 0
    for h in range(hellos.shape[0]):
        start, stop = hellos[h, 0], hellos[h, 1]
        names[h, :] = 0
        keys[h, :] = 0
        whole = stop - start == hellos[h, 2]
        if stop - start < 38:
            continue
        version = be16(payload, start)
        at = start + 35 + np.int64(payload[start + 34])
        if hellos[h, 3] == 1:
            if at >= stop:
                continue
            at += 1 + np.int64(payload[at])
        if at + 2 > stop:
            continue
        n = be16(payload, at)
        at += 2
        if n & 1 or at + n + 1 > stop:
            continue
        lists = room + KEY_HEADER
        out = lists
        for i in range(at, at + n, 2):
            if not (payload[i] == payload[i + 1] and (payload[i] & 0x0F) == 0x0A):
                scratch[out] = payload[i]
                scratch[out + 1] = payload[i + 1]
                out += 2
        ciphers = (out - lists) // 2
        at += n
        at += 1 + np.int64(payload[at])
        extensions = 0
        has_name = 0
        alpn, alpn_first, alpn_last = 0, np.uint8(0), np.uint8(0)
        best = np.int64(-1)
        algorithms, algorithms_stop = 0, 0
        begin = out
        end = stop
        sound = whole
        if at + 2 <= stop:
            end = at + 2 + be16(payload, at)
            sound = whole and end == stop
            end = min(end, stop)
            at += 2
        else:
            sound = whole and at == stop  # no extensions at all, as before TLS 1.2
            at = stop
        while at + 4 <= end:
            kind = be16(payload, at)
            size = be16(payload, at + 2)
            i = at + 4
            at = i + size
            if at > end:
                sound = False
                if kind != 0:
                    break
                at = end  # the name may still be whole
            if (kind & 0x0F0F) == 0x0A0A and (kind >> 8) == (kind & 0xFF):
                continue
            extensions += 1
            if kind == 0:
                has_name = 1
                # list 2, type 1 (0 = host name), length 2
                if size >= 5 and i + 5 <= end and payload[i + 2] == 0:
                    length = be16(payload, i + 3)
                    if 0 < length <= size - 5 and i + 5 + length <= end:
                        names[h, 0] = i + 5
                        names[h, 1] = i + 5 + length
            elif kind == 16:
                if size >= 4 and payload[i + 2] > 0 and 3 + np.int64(payload[i + 2]) <= size:
                    alpn = np.int64(payload[i + 2])
                    alpn_first = payload[i + 3]
                    alpn_last = payload[i + 2 + alpn]
                    names[h, 2] = i + 3
                    names[h, 3] = i + 3 + alpn
            else:
                scratch[out] = kind >> 8
                scratch[out + 1] = kind & 0xFF
                out += 2
                if kind == 43 and size >= 3:
                    for k in range(i + 1, i + 1 + min(np.int64(payload[i]), size - 1) - 1, 2):
                        offered = be16(payload, k)
                        grease = (offered & 0x0F0F) == 0x0A0A
                        # DTLS counts its versions down.
                        newer = offered < best if hellos[h, 3] == 1 else offered > best
                        if not grease and (best < 0 or newer):
                            best = offered
                elif kind == 13 and size >= 4:
                    algorithms = i + 2
                    algorithms_stop = i + 2 + min(be16(payload, i), size - 2)
        if not sound or at != end:
            continue
        listed = (out - begin) // 2
        # Shell sort of both lists: a hostile hello may hold a thousand numbers in any order.
        for pair in range(2):
            base = lists if pair == 0 else begin
            count = ciphers if pair == 0 else listed
            gap = count // 2
            while gap > 0:
                for i in range(gap, count):
                    high, low = scratch[base + 2 * i], scratch[base + 2 * i + 1]
                    k = i
                    while k >= gap:
                        j = base + 2 * (k - gap)
                        if scratch[j] < high or (scratch[j] == high and scratch[j + 1] <= low):
                            break
                        scratch[base + 2 * k] = scratch[j]
                        scratch[base + 2 * k + 1] = scratch[j + 1]
                        k -= gap
                    scratch[base + 2 * k] = high
                    scratch[base + 2 * k + 1] = low
                gap //= 2
        for i in range(algorithms, algorithms_stop - 1, 2):
            if not (payload[i] == payload[i + 1] and (payload[i] & 0x0F) == 0x0A):
                scratch[out] = payload[i]
                scratch[out + 1] = payload[i + 1]
                out += 2
        if best < 0:
            best = version
        scratch[room] = best >> 8
        scratch[room + 1] = best & 255
        scratch[room + 2] = has_name
        scratch[room + 3] = alpn
        scratch[room + 4] = alpn_first
        scratch[room + 5] = alpn_last
        scratch[room + 6] = ciphers >> 8
        scratch[room + 7] = ciphers & 255
        scratch[room + 8] = extensions >> 8
        scratch[room + 9] = extensions & 255
        scratch[room + 10] = listed >> 8
        scratch[room + 11] = listed & 255
        keys[h, 0] = room
        keys[h, 1] = out
        room = out


def _digest(numbers: bytes, tail: bytes = b"") -> str:
    """Return twelve characters of the hash of a list, zeros for an empty one."""
    if not numbers:
        return "0" * 12
    text = numbers.hex(",", 2) + ("_" + tail.hex(",", 2) if tail else "")
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _alpn(length: int, first: int, last: int) -> str:
    """Return the two characters that stand for the first ALPN name."""
    if length == 0:
        return "00"
    ends = bytes((first, last))
    if ends.isalnum():
        return ends.decode()
    return f"{first:02x}"[0] + f"{last:02x}"[1]


@functools.lru_cache(_KEYS_KNOWN)
def ja4_of_key(key: bytes, transport: int) -> str:
    """Return the JA4 fingerprint of a key made by ``parse_hellos``.

    Parameters
    ----------
    key : bytes
    transport : int
        ``TCP``, ``DTLS`` or ``QUIC``.
    """
    version = _VERSIONS.get(int.from_bytes(key[:2]), "00")
    n_ciphers, n_extensions, n_listed = (int.from_bytes(key[i : i + 2]) for i in (6, 8, 10))
    listed = KEY_HEADER + 2 * n_ciphers
    algorithms = listed + 2 * n_listed
    return (
        f"{_LETTER[transport]}{version}{'d' if key[2] else 'i'}"
        f"{min(n_ciphers, 99):02d}{min(n_extensions, 99):02d}{_alpn(*key[3:6])}"
        f"_{_digest(key[KEY_HEADER:listed])}_{_digest(key[listed:algorithms], key[algorithms:])}"
    )


def describe_hellos(
    payload: NDArray[np.uint8], hellos: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Return where the names in client hellos are, and their JA4 fingerprints.

    Parameters
    ----------
    payload : ndarray of uint8
    hellos : ndarray of int64, shape (n, 4)
        As ``parse_hellos`` takes them.

    Returns
    -------
    names : ndarray of int64, shape (n, 4)
        First and last byte (half-open) of the server name and of the first ALPN name.
    ja4 : ndarray of object (str), shape (n,)

    Notes
    -----
    Takes time in proportion to the bytes of the hellos. The latest keys are hashed once each.
    """
    n = len(hellos)
    names = np.zeros((n, 4), np.int64)
    ja4 = np.full(n, "", object)
    for first in range(0, n, _HELLOS_AT_ONCE):
        part = hellos[first : first + _HELLOS_AT_ONCE]
        spans = part[:, 1] - part[:, 0]
        scratch = np.empty(int(spans.sum()) + KEY_HEADER * (len(part) + 1), np.uint8)
        keys = np.zeros((len(part), 2), np.int64)
        parse_hellos(payload, part, scratch, names[first : first + len(part)], keys)
        held = scratch.tobytes()
        for i, ((start, stop), transport) in enumerate(
            zip(keys.tolist(), part[:, 3].tolist(), strict=True), first
        ):
            if stop > start:
                ja4[i] = ja4_of_key(held[start:stop], transport)
    return names, ja4
