"""Kernels: first packets and first payload bytes of flows -> columns of the feature matrix.

How this works: the matrix comes filled with NaN; a kernel writes what is defined for a flow. All
work on a flow is in proportion to its first packets and to ``SEGMENT_BYTES`` of four payloads.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier._jit import inline, kernel
from classifier.model.schema import PPI_PACKETS, column
from classifier.tables import PACKET_LIMIT

__all__ = ["SEGMENT_BYTES", "describe_payload", "describe_records", "describe_series"]

#: Bytes of a payload that are looked at.
SEGMENT_BYTES = 512

_TCP, _UDP = 6, 17
_SECOND = 1_000_000_000
_SEQ_MASK = (np.int64(1) << 32) - 1
_SEQ_HALF = np.int64(1) << 31

_IPT, _DIR, _SIZE = column("ppi_ipt_ms_01"), column("ppi_dir_01"), column("ppi_size_01")
_LEN, _DURATION, _TRIPS = column("ppi_len"), column("ppi_duration_s"), column("ppi_roundtrips")
_GAPS = column("gap_long_n")
_INNER, _BURSTS = column("inner_handshakes"), column("bursts")
_SIDE, _SIDE_WIDTH = (
    column("orig_size_bin_1"),
    column("resp_size_bin_1") - column("orig_size_bin_1"),
)
_SIDE_IP_MAX = column("orig_ip_max") - _SIDE
_SIDE_RUNS = column("orig_burst_packets_max") - _SIDE

_SEG, _SEG_WIDTH = column("orig_seg1_bytes"), column("orig_seg2_bytes") - column("orig_seg1_bytes")
_SEG_SIDE = column("resp_seg1_bytes") - _SEG
_FRAME = column("orig_constant_bytes")
_QUIC = column("quic_long")

_TLS, _TLS_WIDTH = (
    column("orig_tls_records"),
    column("resp_tls_records") - column("orig_tls_records"),
)

_INNER_MOST = 200
_LEADING = 16
_COMPARED = 8
_RECORDS = 32


@inline
def bin_of(value):
    """Return the bin (0 to 7) of a size in bytes or a time in milliseconds."""
    if value > 1024:
        return 7
    if value >= 512:
        return 6
    place = 0
    while value >= 16:
        value >>= 1
        place += 1
    return place


@kernel
def describe_series(flows: NDArray[Any], packets: NDArray[Any], out: NDArray[Any]) -> None:
    """Write the columns of the block ``series``.

    Parameters
    ----------
    flows, packets : as in ``FlowBatch``, read
    out : float32 (n_flows, n_features), written
    """
    sizes = np.zeros((2, PACKET_LIMIT), np.int64)
    counts = np.zeros(2, np.int64)
    last = np.zeros(2, np.int64)
    top = np.zeros(2, np.int64)
    run = np.zeros((2, 7), np.int64)  # runs, bytes, most packets, most bytes, of runs 1 to 3
    residues = np.zeros(16, np.int64)
    for f in range(flows.size):
        flow = flows[f]
        tcp = flow.proto == 6
        begin, end = flow.packets_start, flow.packets_stop
        counts[:] = 0
        run[:] = 0
        k = np.int64(0)
        first_ns = np.int64(0)
        before = np.int64(0)
        before2 = np.int64(0)  # sizes and direction of the two packets before
        side_before = np.int64(-1)
        side_before2 = np.int64(-1)
        turn_packets = np.int64(0)
        turn_bytes = np.int64(0)
        roundtrips = 0
        turns = 0
        inner = 0
        previous_ns = np.int64(0)
        gaps, gap_max = np.int64(0), np.int64(0)
        gap_sum, gap_squares, gap_whole = 0.0, 0.0, 0.0
        ip_max0, ip_max1 = np.int64(0), np.int64(0)
        last_ns = np.int64(0)
        for p in range(begin, end):
            packet = packets[p]
            d = np.int64(packet.direction) & 1
            ts = packet.ts_ns
            if p > begin:
                gap = max(ts - last_ns, np.int64(0))
                gap_max = max(gap_max, gap)
                if gap >= 1_000_000_000:
                    seconds = gap / 1e9
                    gaps += 1
                    gap_sum += seconds
                    gap_squares += seconds * seconds
                    gap_whole += abs(seconds - np.floor(seconds + 0.5))
            last_ns = ts if p == begin else max(ts, last_ns)
            if d == 0:
                ip_max0 = max(ip_max0, np.int64(packet.ip_bytes))
            else:
                ip_max1 = max(ip_max1, np.int64(packet.ip_bytes))
            size = np.int64(packet.payload_bytes)
            if size == 0:
                continue
            if tcp:
                seq = np.int64(packet.seq)
                step = (seq - top[d]) & _SEQ_MASK
                if counts[d] > 0 and (step == 0 or step >= _SEQ_HALF):
                    continue
                top[d] = seq
            if k == 0:
                first_ns = ts
                previous_ns = ts
            ipt = max(ts - previous_ns, np.int64(0))
            if k < PPI_PACKETS:
                out[f, _IPT + k] = ipt / 1e6
                out[f, _DIR + k] = 1 - 2 * d
                out[f, _SIZE + k] = size
                out[f, _DURATION] = max(ts - first_ns, np.int64(0)) / 1e9
                if side_before == 0 and d == 1:
                    roundtrips += 1
            base = _SIDE + d * _SIDE_WIDTH
            if counts[d] == 0:
                for c in range(16):
                    out[f, base + c] = 0
            else:
                out[f, base + 8 + bin_of(max(ts - last[d], np.int64(0)) // 1_000_000)] += 1
            out[f, base + bin_of(size)] += 1
            last[d] = ts
            if (
                k >= 4
                and side_before2 == d
                and side_before == 1 - d
                and size <= 200
                and before <= 200
                and before2 <= 200
                and 4 <= before2 - size <= 28
                and abs(before2 - before) <= 8
            ):
                inner += 1
            if d != side_before:
                turns += 1
                turn_packets = np.int64(0)
                turn_bytes = np.int64(0)
                run[d, 0] += 1
            turn_packets += 1
            turn_bytes += size
            run[d, 1] += size
            run[d, 2] = max(run[d, 2], turn_packets)
            run[d, 3] = max(run[d, 3], turn_bytes)
            if run[d, 0] <= 3:
                run[d, 3 + run[d, 0]] = turn_bytes
            side_before2, side_before = side_before, d
            before2, before = before, size
            previous_ns = max(previous_ns, ts)
            sizes[d, counts[d]] = size
            counts[d] += 1
            k += 1
        out[f, _LEN] = min(k, PPI_PACKETS)
        out[f, _TRIPS] = roundtrips
        out[f, _INNER] = inner
        out[f, _BURSTS] = turns
        out[f, _GAPS] = gaps
        out[f, _GAPS + 1] = gap_sum
        if end - begin >= 2:
            out[f, _GAPS + 2] = gap_max / 1e9
            out[f, _GAPS + 3] = max((last_ns - packets[begin].ts_ns) / 1e9 - gap_sum, 0.0)
        if gaps > 0:
            mean = gap_sum / gaps
            out[f, _GAPS + 4] = mean
            out[f, _GAPS + 6] = gap_whole / gaps
            if gaps > 1:
                out[f, _GAPS + 5] = np.sqrt(max(gap_squares / gaps - mean * mean, 0.0)) / mean
        for side in range(2):
            base = _SIDE + np.int64(side) * _SIDE_WIDTH
            ip_max = ip_max1 if side else ip_max0
            if ip_max > 0:
                out[f, base + _SIDE_IP_MAX] = ip_max
            n = counts[side]
            base += 16
            out[f, base] = n
            if n == 0:
                continue
            total, squares = np.int64(0), np.int64(0)
            largest, at_largest = np.int64(0), 0
            mode, mode_count, distinct = np.int64(0), 0, 0
            late_min, late_max = np.int64(0), np.int64(0)
            residues[:] = 0
            for i in range(n):
                size = sizes[side, i]
                total += size
                squares += size * size
                if size > largest:
                    largest = size
                    at_largest = 0
                if size == largest:
                    at_largest += 1
                same = 0
                new = 1
                for j in range(n):
                    if sizes[side, j] == size:
                        same += 1
                        if j < i:
                            new = 0
                distinct += new
                if same > mode_count:
                    mode = size
                    mode_count = same
                if i == 2:
                    late_min = size
                if i >= 2:
                    late_min = min(late_min, size)
                    late_max = max(late_max, size)
                residues[size & 15] += 1
            four, sixteen = np.int64(0), np.int64(0)
            for i in range(16):
                sixteen = max(sixteen, residues[i])
            for i in range(4):
                four = max(four, residues[i] + residues[i + 4] + residues[i + 8] + residues[i + 12])
            mean = total / n
            out[f, base + 1] = mean
            out[f, base + 2] = np.sqrt(max(squares / n - mean * mean, 0.0))
            out[f, base + 3] = largest
            out[f, base + 4] = at_largest / n
            out[f, base + 5] = mode
            out[f, base + 6] = mode_count / n
            out[f, base + 7] = distinct / n
            if n > 2:
                out[f, base + 8] = late_min
                out[f, base + 9] = late_max
            out[f, base + 10] = four / n
            out[f, base + 11] = sixteen / n
            base = _SIDE + np.int64(side) * _SIDE_WIDTH + _SIDE_RUNS
            out[f, base] = run[side, 2]
            out[f, base + 1] = run[side, 1] / run[side, 0]
            out[f, base + 2] = run[side, 3]
            for i in range(3):
                if run[side, 0] > i:
                    out[f, base + 3 + i] = run[side, 4 + i]


@inline
def describe_bytes(payload, start, stop, tables, logs, counts, out, f, base):
    """Write the measures of ``payload[start:stop]``, not empty; ``counts`` is zero and stays so.

    What does not depend on the order of bytes is told by how often each occurs. No branches on bytes;
    ``logs[i]`` is i times its logarithm.
    """
    n = stop - start
    before = np.int64(payload[start])
    repeats, changes = np.int64(-1), -((before & 1) ^ (before >> 7))  # the first has none before it
    first, run, longest = np.int64(0), np.int64(0), np.int64(0)
    for i in range(start, stop):
        byte = np.int64(payload[i])
        counts[byte] += 1
        changes += (before & 1) ^ (byte >> 7)
        repeats += np.int64(byte == before)
        run = (run + 1) & -(np.int64(byte >= 32) & np.int64(byte <= 126))
        longest = max(longest, run)
        first += np.int64(run == i - start + 1)
        before = byte
    ones, printable, high, squares = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    zero = counts[0]
    for byte in range(256):
        count = counts[byte]
        ones += tables[0, byte] * count
        changes += tables[1, byte] * count
        squares += count * count
    sum0 = sum1 = sum2 = sum3 = 0.0  # four sums, as each waits for its last addition
    for byte in range(0, 256, 4):
        sum0 += logs[counts[byte]]
        sum1 += logs[counts[byte + 1]]
        sum2 += logs[counts[byte + 2]]
        sum3 += logs[counts[byte + 3]]
    for byte in range(32, 127):
        printable += counts[byte]
    for byte in range(128, 256):
        high += counts[byte]
    counts[:] = 0
    out[f, base] = n
    if n > 1:
        most = min(n, 256)
        entropy = (logs[n] - (sum0 + sum1 + sum2 + sum3)) / n
        out[f, base + 1] = max(entropy, 0.0) / (logs[most] / most)
        out[f, base + 8] = repeats / (n - 1)
    out[f, base + 2] = ones / n
    out[f, base + 3] = printable / n
    out[f, base + 4] = first
    out[f, base + 5] = longest
    out[f, base + 6] = zero / n
    out[f, base + 7] = high / n
    out[f, base + 9] = (256.0 * squares / n - n) / 255.0
    out[f, base + 10] = changes / (8 * n - 1)


@kernel
def describe_payload(
    flows: NDArray[Any],
    packets: NDArray[Any],
    payload: NDArray[Any],
    tables: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Write the columns of the block ``payload``.

    Parameters
    ----------
    flows, packets, payload : as in ``FlowBatch``, read
    tables : int64 (2, 256), read
        Bits set in a byte, and changes from bit to bit inside it.
    out : float32 (n_flows, n_features), written
    """
    counts = np.zeros(256, np.int64)
    logs = np.zeros(SEGMENT_BYTES + 1)
    for i in range(1, SEGMENT_BYTES + 1):
        logs[i] = i * np.log2(np.float64(i))
    lead = np.zeros((2, 16), np.int64)  # bytes of the payload before
    constant = np.zeros((2, 16), np.int64)
    counting = np.zeros((2, 16), np.int64)
    firsts = np.zeros((2, 256), np.int64)  # flow in which a first byte was seen last, plus one
    n = np.zeros((2, 6), np.int64)  # payloads, compared, with own length, records, first bytes, all
    for f in range(flows.size):
        flow = flows[f]
        n[:] = 0
        for p in range(flow.packets_start, flow.packets_stop):
            packet = packets[p]
            start, stop = packet.start, packet.stop
            if stop <= start:
                continue
            d = np.int64(packet.direction) & 1
            kept = stop - start
            size = np.int64(packet.payload_bytes)
            if n[d, 0] < 2:
                base = _SEG + d * _SEG_SIDE + n[d, 0] * _SEG_WIDTH
                end = min(stop, start + SEGMENT_BYTES)
                describe_bytes(payload, start, end, tables, logs, counts, out, f, base)
            byte = np.int64(payload[start])
            if n[d, 0] == 0 and d == 0 and flow.proto == 17:
                version = np.int64(0)
                if kept >= 7 and byte >= 192:
                    for i in range(1, 5):
                        version = (version << 8) | np.int64(payload[start + i])
                out[f, _QUIC] = 0
                if version != 0:
                    to = np.int64(payload[start + 5])
                    at = start + 6 + to
                    if to <= 20 and at < stop and np.int64(payload[at]) <= 20:
                        kind = 4
                        if version == 1:
                            kind = 1
                        elif version == 0x6B3343CF:
                            kind = 2
                        elif (version >> 8) == 0xFF0000:
                            kind = 3
                        out[f, _QUIC] = 1
                        out[f, _QUIC + 1] = kind
                        out[f, _QUIC + 2] = to
                        out[f, _QUIC + 3] = payload[at]
            n[d, 0] += 1
            if firsts[d, byte] != f + 1:
                firsts[d, byte] = f + 1
                n[d, 4] += 1
            if kept >= 5:
                n[d, 5] += 1
                two = (byte << 8) | np.int64(payload[start + 1])
                swapped = (np.int64(payload[start + 1]) << 8) | byte
                four = (
                    (two << 16) | (np.int64(payload[start + 2]) << 8) | np.int64(payload[start + 3])
                )
                turned = (
                    swapped
                    | (np.int64(payload[start + 2]) << 16)
                    | (np.int64(payload[start + 3]) << 24)
                )
                if (
                    two == size - 2
                    or swapped == size - 2
                    or two == size
                    or swapped == size
                    or four == size - 4
                    or turned == size - 4
                    or four == size
                    or turned == size
                ):
                    n[d, 2] += 1
                record = (np.int64(payload[start + 3]) << 8) | np.int64(payload[start + 4])
                if (
                    20 <= byte <= 23
                    and payload[start + 1] == 3
                    and payload[start + 2] <= 4
                    and 0 < record <= 16640
                ):
                    n[d, 3] += 1
            if kept >= 16 and n[d, 1] < 8:
                for i in range(16):
                    value = np.int64(payload[start + i])
                    if n[d, 1] == 0:
                        constant[d, i] = 1
                        counting[d, i] = 1
                    else:
                        step = (value - lead[d, i]) & 255
                        if step != 0:
                            constant[d, i] = 0
                        if step != 1:
                            counting[d, i] = 0
                    lead[d, i] = value
                n[d, 1] += 1
        for side in range(2):
            base = _FRAME + side * _SEG_SIDE
            if n[side, 1] >= 3:
                same, up = np.int64(0), np.int64(0)
                for i in range(16):
                    same += constant[side, i]
                    up += counting[side, i]
                out[f, base] = same
                out[f, base + 1] = up
            if n[side, 5] > 0:
                out[f, base + 2] = n[side, 2] / n[side, 5]
                out[f, base + 3] = n[side, 3] / n[side, 5]
            if n[side, 0] > 0:
                out[f, base + 4] = n[side, 4] / n[side, 0]


@inline
def describe_hello(payload, at, stop, hello, out, f, base):
    """Write what a hello of type 1 or 2 says whose body is ``payload[at:stop]``."""
    if at + 35 > stop:
        return
    version = np.int64(payload[at + 1])
    session = np.int64(payload[at + 34])
    at += 35 + session
    if at + 3 > stop:
        return
    if hello == 1:
        at += 2 + ((np.int64(payload[at]) << 8) | np.int64(payload[at + 1]))
        if at >= stop:
            return
        at += 1 + np.int64(payload[at])
    else:
        at += 3
    count = 0
    if at + 2 <= stop:
        end = at + 2 + ((np.int64(payload[at]) << 8) | np.int64(payload[at + 1]))
        if end > stop:
            return
        at += 2
        while at + 4 <= end:
            kind = (np.int64(payload[at]) << 8) | np.int64(payload[at + 1])
            size = (np.int64(payload[at + 2]) << 8) | np.int64(payload[at + 3])
            at += 4
            if at + size > end:
                return
            count += 1
            if kind == 43:  # supported versions (RFC 8446 4.2.1)
                i = at + 1 if hello == 1 else at
                while i + 1 < at + size:
                    if payload[i] == 3:
                        version = max(version, np.int64(payload[i + 1]))
                    i += 2
            at += size
    out[f, base] = count
    out[f, base + 1] = session
    out[f, base + 2] = version


@kernel
def describe_records(flows: NDArray[Any], payload: NDArray[Any], out: NDArray[Any]) -> None:
    """Write the columns of the block ``records``.

    Parameters
    ----------
    flows, payload : as in ``FlowBatch``, read
    out : float32 (n_flows, n_features), written
    """
    for f in range(flows.size):
        flow = flows[f]
        if flow.proto != 6:
            continue
        for d in range(2):
            at = flow.resp_start if d else flow.orig_start
            stop = flow.resp_stop if d else flow.orig_stop
            base = _TLS + d * _TLS_WIDTH
            records, handshake, data, largest, alerts = 0, np.int64(0), 0, np.int64(0), 0
            hidden = False
            while at + 5 <= stop and records < 32:
                kind = np.int64(payload[at])
                size = (np.int64(payload[at + 3]) << 8) | np.int64(payload[at + 4])
                if (
                    kind < 20
                    or kind > 23
                    or payload[at + 1] != 3
                    or payload[at + 2] > 4
                    or size == 0
                    or size > 18432
                ):
                    break
                if records == 0:
                    out[f, base + 1] = kind
                    out[f, base + 2] = size
                    out[f, base + 10] = 0
                    if kind == 22 and at + 9 <= stop:
                        hello = np.int64(payload[at + 5])
                        out[f, base + 10] = hello
                        if hello == 1 or hello == 2:
                            body = (
                                (np.int64(payload[at + 6]) << 16)
                                | (np.int64(payload[at + 7]) << 8)
                                | np.int64(payload[at + 8])
                            )
                            if at + 9 + body <= min(stop, at + 5 + size):
                                describe_hello(
                                    payload, at + 9, at + 9 + body, hello, out, f, base + 11
                                )
                records += 1
                if kind == 20:
                    hidden = True  # what follows a change of cipher is encrypted
                elif kind == 21:
                    alerts += 1
                elif kind == 22:
                    if not hidden:
                        handshake += size
                else:
                    if data < 3:
                        out[f, base + 5 + data] = size
                    data += 1
                    largest = max(largest, size)
                at += 5 + size
            if records > 0:
                out[f, base] = records
                out[f, base + 3] = handshake
                out[f, base + 4] = data
                if data > 0:
                    out[f, base + 8] = largest
                out[f, base + 9] = alerts
