"""Kernels that name flows: compare messages with the signatures, then look at runs of packets."""

import numpy as np

from classifier._jit import inline, kernel
from classifier.detectors._reading import be16, be32
from classifier.detectors.applications._parsers import (
    NBNS,
    NOT,
    SURE,
    check_dns,
    check_records,
    check_rtcp,
)

__all__ = ["name_flows", "name_runs"]

#: Datagrams of a flow that are compared with the signatures.
MESSAGES = 6
#: Applications per direction that may still agree with the other direction.
CANDIDATES = 8
#: First bytes of a message in which a signature's word is looked for.
WITHIN_BYTES = 1024

# Columns of SignatureTable.rows.
_CODE, _NEEDS, _OPENS, _LEAST, _MOST, _AT, _WIDTH, _ADD, _PARSER = range(9)
_ATOM, _ATOM_STOP, _WORD, _WORD_STOP, _SKIPS = range(9, 14)

# Parser (see patterns.py).
_TLS, _DTLS, _DNS, _DNS_TCP = range(1, 5)
_RTCP = 5


@inline
def contains(buf, start, stop, words, first, last, skips, word):
    """Tell whether lower-case ``words[first:last]`` is in ``buf[start:stop]``, in either case.

    Compared from its end; the last byte tells how far on the next place is where it may be (Horspool
    1980): a search looks at a tenth of the bytes.
    """
    n = last - first
    i = start
    while i + n <= stop:
        k = n - 1
        byte = np.int64(buf[i + k])
        step = np.int64(skips[word, byte])
        while byte == words[first + k] or (65 <= byte <= 90 and byte + 32 == words[first + k]):
            if k == 0:
                return True
            k -= 1
            byte = np.int64(buf[i + k])
        i += step
    return False


@inline
def match_message(buf, start, stop, wire, base, table, weak):
    """Compare a message with the signatures of its bucket.

    Returns the row of the first that names the application, else -1; ``weak[0]`` rows that need
    agreement are in ``weak[1:]``. A question for a NetBIOS name is the number of rows, one more
    where the row opens.
    """
    rows, atoms, words, skips, bucket_offsets, bucket_rows = table
    weak[0] = 0
    span = max(wire, stop - start)  # the head of a stream may hold more than its first segment
    bucket = base + np.int64(buf[start])
    for b in range(bucket_offsets[bucket], bucket_offsets[bucket + 1]):
        i = start + bucket_rows[b, 1]
        if i >= stop:
            continue
        byte = np.int64(buf[i]) & bucket_rows[b, 2]
        if byte < bucket_rows[b, 3] or byte > bucket_rows[b, 4]:
            continue
        r = np.int64(bucket_rows[b, 0])
        if span < rows[r, _LEAST] or wire > rows[r, _MOST]:
            continue
        fits = True
        for a in range(rows[r, _ATOM], rows[r, _ATOM_STOP]):
            i = start + atoms[a, 0]
            if i >= stop:
                fits = False
                break
            byte = np.int64(buf[i]) & atoms[a, 1]
            if byte < atoms[a, 2] or byte > atoms[a, 3]:
                fits = False
                break
        if not fits:
            continue
        width = rows[r, _WIDTH]
        if width != 0:
            i = start + rows[r, _AT]
            n = abs(width)
            if i + n > stop:
                continue
            value = np.int64(0)
            for k in range(n):
                value = (value << 8) | np.int64(buf[i + k] if width > 0 else buf[i + n - 1 - k])
            if value + rows[r, _ADD] != wire and value + rows[r, _ADD] != stop - start:
                continue
        if rows[r, _WORD_STOP] > rows[r, _WORD]:
            end = min(stop, start + WITHIN_BYTES)
            first, last, word = rows[r, _WORD], rows[r, _WORD_STOP], rows[r, _SKIPS]
            if not contains(buf, start, end, words, first, last, skips, word):
                continue
        # The part of the message that a parser sees: all, or what a length before it covers.
        parser = rows[r, _PARSER]
        i, end, size = start, stop, wire
        if parser == _DNS_TCP:
            size = be16(buf, start)
            i = start + 2
            end = min(stop, i + size)
            if size + 2 > wire:
                continue
        said = SURE
        if parser == _TLS or parser == _DTLS:
            said = check_records(buf, i, end, size, parser == _DTLS)
        elif parser == _DNS or parser == _DNS_TCP:
            said = check_dns(buf, i, end, size)
        elif parser == _RTCP:
            said = check_rtcp(buf, i, end, size)
        if said == NOT:
            continue
        if said == NBNS:
            return np.int64(rows.shape[0] + rows[r, _OPENS])
        if said == SURE and rows[r, _NEEDS] == 0:
            return np.int64(r)
        if weak[0] < CANDIDATES:
            weak[0] += 1
            weak[weak[0]] = r
    return np.int64(-1)


@inline
def has_port(code, orig_port, resp_port, port_offsets, ports):
    """Tell whether one of the ports is registered for the application."""
    for k in range(port_offsets[code], port_offsets[code + 1]):
        if ports[k] == orig_port or ports[k] == resp_port:
            return True
    return False


@kernel
def name_flows(
    flows, packets, payload, table, nbns, by_protocol, port_offsets, ports, codes, starts
):
    """Name each flow by the messages that it begins with.

    Parameters
    ----------
    flows, packets, payload : as in ``FlowBatch``, read
    table : SignatureTable, read
    nbns : int
        Code of ``nbns``.
    by_protocol : ndarray of int16, shape (256,), read
        Code by IP protocol number, 0 where messages decide.
    port_offsets, ports : ndarray of int64, read
        ``ports[port_offsets[c]:port_offsets[c + 1]]`` are those of application ``c``.
    codes : ndarray of int16, shape (n_flows,), written
    starts : ndarray of bool, shape (n_flows,), written
    """
    rows = table[0]
    n_rows = rows.shape[0]
    seen = np.zeros(
        (2, CANDIDATES + 1), np.int64
    )  # candidates: 4 * code + 2 * opens + needs a port
    weak = np.zeros(CANDIDATES + 1, np.int64)
    for f in range(flows.size):
        flow = flows[f]
        proto = flow.proto
        codes[f] = by_protocol[proto]
        starts[f] = False
        if proto != 6 and proto != 17:
            # An echo request, of ICMP or of ICMPv6.
            kind = flow.icmp >> 8
            starts[f] = (proto == 1 and kind == 8) or (proto == 58 and kind == 128)
            continue
        first, last = flow.packets_start, flow.packets_stop
        orig_port, resp_port = flow.orig_port, flow.resp_port
        seen[0, 0] = 0
        seen[1, 0] = 0
        done = 0  # bit 1, 2: the head of that direction was looked at
        messages = 0
        for p in range(first, last):
            packet = packets[p]
            if packet.payload_bytes == 0:
                continue
            side = np.int64(packet.direction) & 1
            wire = np.int64(packet.payload_bytes)
            start, stop = packet.start, packet.stop
            if proto == 6:
                if done & (1 << side):
                    continue
                done |= 1 << side
                start = flow.resp_start if side else flow.orig_start
                stop = flow.resp_stop if side else flow.orig_stop
            if start >= stop:
                continue
            row = match_message(payload, start, stop, wire, 0 if proto == 6 else 256, table, weak)
            messages += 1
            if row >= n_rows:
                codes[f] = nbns
                starts[f] = p == first and row > n_rows
                break
            if row >= 0:
                codes[f] = rows[row, _CODE]
                starts[f] = p == first and rows[row, _OPENS] == 1
                break
            for k in range(1, weak[0] + 1):
                if seen[side, 0] < CANDIDATES:
                    seen[side, 0] += 1
                    opens = p == first and rows[weak[k], _OPENS]
                    seen[side, seen[side, 0]] = (
                        4 * rows[weak[k], _CODE] + 2 * opens + (rows[weak[k], _NEEDS] == 2)
                    )
            if messages == MESSAGES or done == 3:
                break
        # A registered port agrees, or the two directions do.
        for k in range(2 * CANDIDATES):
            side, i = k % 2, k // 2 + 1
            if codes[f] != 0 or i > seen[side, 0]:
                continue
            code = seen[side, i] >> 2
            agreed = has_port(code, orig_port, resp_port, port_offsets, ports)
            for j in range(1, seen[1 - side, 0] + 1):
                other = seen[1 - side, j]
                agreed = agreed or (other >> 2 == code and (other | seen[side, i]) & 1 == 0)
            if agreed:
                codes[f] = code
        # The opening may have been too little to be sure of, a later message not.
        for k in range(2 * CANDIDATES):
            side, i = k % 2, k // 2 + 1
            if i <= seen[side, 0] and seen[side, i] & 2 and seen[side, i] >> 2 == codes[f]:
                starts[f] = True


@kernel
def name_runs(flows, packets, payload, tls, quic, rtp, codes):
    """Name flows without an opening that is known, by what a run of packets has in common.

    TLS: packets that begin with an application data record. QUIC: short headers with one
    connection identifier and a protected first byte, on a port of QUIC. RTP: one source whose
    sequence numbers go up.

    Parameters
    ----------
    flows, packets, payload : as in ``FlowBatch``, read
    tls, quic, rtp : int
        Codes of these applications.
    codes : ndarray of int16, shape (n_flows,), read and written
        Only flows of code 0 are looked at.
    """
    run = np.zeros(2, np.int64)
    source = np.zeros(2, np.int64)
    sequence = np.zeros(2, np.int64)
    lead = np.zeros(2, np.int64)
    short = np.zeros(2, np.int64)
    identifier = np.zeros(2, np.int64)
    for f in range(flows.size):
        flow = flows[f]
        proto = flow.proto
        if codes[f] != 0 or (proto != 6 and proto != 17):
            continue
        web = flow.orig_port == 443 or flow.resp_port == 443
        records = 0
        varied = 0
        run[:] = 0
        short[:] = 0
        for p in range(flow.packets_start, flow.packets_stop):
            packet = packets[p]
            i = packet.start
            kept = packet.stop - i
            if kept < 5:
                continue
            side = np.int64(packet.direction) & 1
            if proto == 6:
                size = be16(payload, i + 3)
                # An AEAD record is never shorter than its tag (RFC 8446 5.2).
                records += (
                    payload[i] == 23
                    and payload[i + 1] == 3
                    and 1 <= payload[i + 2] <= 4
                    and 16 < size <= 16640
                )
                continue
            first = np.int64(payload[i])
            if (first & 0xC0) == 0x40 and kept >= 21:
                if short[side] == 0:
                    identifier[side] = be32(payload, i + 1)
                    lead[side] = first
                if be32(payload, i + 1) == identifier[side]:
                    short[side] += 1
                    varied += first != lead[side]
            if (first & 0xC0) == 0x80 and kept >= 12:
                ssrc = be32(payload, i + 8)
                number = be16(payload, i + 2)
                kind = np.int64(payload[i + 1]) & 0x7F
                step = (number - (sequence[side] & 0xFFFF)) & 0xFFFF
                if run[side] > 0 and ssrc == source[side] and 0 < step <= 16:
                    run[side] += kind == sequence[side] >> 16
                else:
                    run[side] = 1
                source[side] = ssrc
                sequence[side] = (kind << 16) | number
        if proto == 6:
            codes[f] = tls if records >= 2 or (records == 1 and web) else 0
        elif max(run[0], run[1]) >= 4 or min(run[0], run[1]) >= 3:
            codes[f] = rtp
        elif web and max(short[0], short[1]) >= 4 and varied >= 2:
            codes[f] = quic
