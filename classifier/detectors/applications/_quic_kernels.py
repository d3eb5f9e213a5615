"""Kernels around the decryption of QUIC's Initial packets: where they are, and what they hold."""

import numpy as np

from classifier._jit import copy_bytes, inline, kernel
from classifier.detectors._reading import be32

__all__ = [
    "DATAGRAM",
    "DIRECTION",
    "FIRST",
    "IDENTIFIER",
    "IDENTIFIER_STOP",
    "INITIAL_COLUMNS",
    "MOST_BYTES",
    "MOST_PIECES",
    "NUMBER",
    "PLACE",
    "STOP",
    "VERSION",
    "VERSION_2",
    "join_crypto",
    "list_initials",
]

#: CRYPTO frames of a flow that are read; browsers that scatter a hello make some tens.
MOST_PIECES = 200
#: Bytes of a hello that are put together; two datagrams hold fewer.
MOST_BYTES = 4096

VERSION_2 = 0x6B3343CF
IDENTIFIER_MOST = 20  # RFC 9000 17.2
SAMPLE_AT, SAMPLE_BYTES = 4, 16  # RFC 9001 5.4.2
LEAST_DATAGRAM = 5 + 2 + 2 + SAMPLE_AT + SAMPLE_BYTES

# Columns of what ``list_initials`` finds: which flow, of which direction, the row of its datagram,
# and in the payload: identifier, first byte, protected packet number, end
PLACE, DIRECTION, DATAGRAM, VERSION, IDENTIFIER, IDENTIFIER_STOP, FIRST, NUMBER, STOP = range(9)
INITIAL_COLUMNS = 9


@inline
def _number(buf, at, stop):
    """Return a number of variable length (RFC 9000 16), -1 where it is not all there."""
    if at >= stop:
        return np.int64(-1)
    width = 1 << (np.int64(buf[at]) >> 6)
    if at + width > stop:
        return np.int64(-1)
    value = np.int64(buf[at]) & 0x3F
    for i in range(at + 1, at + width):
        value = (value << 8) | np.int64(buf[i])
    return value


@inline
def _is_known(version, versions):
    """Tell whether keys of a version are known, or it makes servers offer theirs (RFC 9000 15)."""
    found = (version & 0x0F0F0F0F) == 0x0A0A0A0A
    for k in range(versions.size):
        found |= versions[k] == version
    return found


@kernel
def list_initials(flows, packets, payload, rows, versions, found):
    """Find the Initial packets of datagrams that were kept whole and begin with one.

    Parameters
    ----------
    flows, packets, payload : ndarray of FLOW, SERIES, uint8, read
    rows : ndarray of int64, read
        Flows to look at.
    versions : ndarray of int64, read
    found : ndarray of int64, shape (any, 9), written
        Columns as above, ordered by flow and as they were sent; ``PLACE`` is one of ``rows``.

    Returns
    -------
    int
        How many there are; those beyond the room of ``found`` are not written.
    """
    n = 0
    for k in range(rows.size):
        flow = flows[rows[k]]
        for p in range(flow.packets_start, flow.packets_stop):
            packet = packets[p]
            start, end = np.int64(packet.start), np.int64(packet.stop)
            if end - start != packet.payload_bytes:
                continue
            first = start
            # A datagram may hold several packets: RFC 9000 12.2
            while first + LEAST_DATAGRAM <= end and payload[first] & 0xC0 == 0xC0:
                version = be32(payload, first + 1)
                # Types: RFC 9000 17.2.2, RFC 9369 3.2
                kind = (np.int64(payload[first]) >> 4 & 3) - (version == VERSION_2)
                if first == start and not (kind == 0 and _is_known(version, versions)):
                    break
                identifier = first + 6
                identifier_stop = identifier + np.int64(payload[first + 5])
                if identifier_stop >= end:
                    break
                at = identifier_stop + 1 + np.int64(payload[identifier_stop])
                if kind == 0:
                    token = _number(payload, at, end)
                    if token < 0:
                        break
                    at += (1 << (np.int64(payload[at]) >> 6)) + token
                size = _number(payload, at, end)
                if size < 0:
                    break
                at += 1 << (np.int64(payload[at]) >> 6)
                if kind == 3 or identifier_stop - identifier > IDENTIFIER_MOST or at + size > end:
                    break
                if kind == 0 and size >= SAMPLE_AT + SAMPLE_BYTES:
                    if n < found.shape[0]:
                        row = found[n]
                        row[PLACE], row[DIRECTION], row[DATAGRAM] = k, packet.direction, p
                        row[VERSION], row[IDENTIFIER] = version, identifier
                        row[IDENTIFIER_STOP], row[FIRST] = identifier_stop, first
                        row[NUMBER], row[STOP] = at, at + size
                    n += 1
                first = at + size
    return n


@inline
def _read_crypto(data, at, stop, pieces, n):
    """Note offset, place and size of CRYPTO frames, up to the first frame that cannot be read.

    Returns how many pieces there are with the ``n`` before.
    """
    most = stop - at
    while at < stop and n < MOST_PIECES:
        kind = data[at]
        at += 1
        if kind <= 1:  # PADDING, PING
            continue
        if kind == 2 or kind == 3:
            # ACK: largest, delay, ranges, first range, pairs, counts of ECN
            numbers = np.int64(4)
            read = np.int64(0)
            while read < numbers:
                value = _number(data, at, stop)
                if value < 0:
                    return n
                at += 1 << (np.int64(data[at]) >> 6)
                read += 1
                if read == 3:
                    numbers += 2 * min(value, most) + 3 * (kind == 3)
            continue
        if kind != 6 and kind != 8:  # CRYPTO; 8 in Google's versions
            return n
        offset = _number(data, at, stop)
        if offset < 0:
            return n
        at += 1 << (np.int64(data[at]) >> 6)
        size = _number(data, at, stop)
        if size < 0:
            return n
        at += 1 << (np.int64(data[at]) >> 6)
        if offset < MOST_BYTES:
            pieces[n, 0], pieces[n, 1], pieces[n, 2] = offset, at, min(size, stop - at)
            n += 1
        at += size
    return n


@inline
def _is_before(data, one, other):
    """Tell whether a piece comes first: by offset, and where these are the same by its bytes."""
    if one[0] != other[0]:
        return one[0] < other[0]
    for k in range(min(one[2], other[2])):
        if data[one[1] + k] != data[other[1] + k]:
            return data[one[1] + k] < data[other[1] + k]
    return one[2] < other[2]


@kernel
def join_crypto(data, spans, borders, joined, sizes):
    """Put together what CRYPTO frames hold, in any order (RFC 9000 19.6), up to the first hole.

    Parameters
    ----------
    data : ndarray of uint8, read
        Decrypted packets, one behind the other.
    spans : ndarray of int64, shape (n_packets + 1,), read
        Where each of them begins.
    borders : ndarray of int64, shape (n + 1,), read
        The first packet of each flow.
    joined : ndarray of uint8, shape (n * MOST_BYTES,), written
    sizes : ndarray of int64, shape (n,), written
        ``joined[i * MOST_BYTES:][:sizes[i]]`` is the beginning of the stream of flow ``i``.
    """
    pieces = np.zeros((MOST_PIECES, 3), np.int64)
    kept = np.zeros(3, np.int64)
    for i in range(sizes.size):
        n = np.int64(0)
        for k in range(borders[i], borders[i + 1]):
            n = _read_crypto(data, spans[k], spans[k + 1], pieces, n)
        for k in range(1, n):
            for j in range(3):
                kept[j] = pieces[k, j]
            low, high = np.int64(0), np.int64(k)  # by halves: comparing may take many bytes
            while low < high:
                middle = (low + high) >> 1
                if _is_before(data, kept, pieces[middle]):
                    high = middle
                else:
                    low = middle + 1
            for place in range(k, low, -1):
                for j in range(3):
                    pieces[place, j] = pieces[place - 1, j]
            for j in range(3):
                pieces[low, j] = kept[j]
        known = np.int64(0)
        for k in range(n):
            offset, start, size = pieces[k, 0], pieces[k, 1], pieces[k, 2]
            if offset > known:
                break
            more = min(offset + size, MOST_BYTES) - known
            if more > 0:
                copy_bytes(data, start + known - offset, more, joined, i * MOST_BYTES + known)
                known += more
        sizes[i] = known
