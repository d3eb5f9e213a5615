"""Finds where the names are: client hellos of TLS and DTLS, the Host line of HTTP.

Hellos begin at fixed places, so columns find them. A Host line takes a search in the flow's head, and
its name is made a text in Python anyway: a kernel for both compiled in 0.5 s and was no faster
to load and run than this over 90,000 flows.
"""

import re

import numpy as np
from numpy.typing import NDArray

from classifier.tables import FlowBatch

__all__ = ["find_hellos", "find_hosts", "packets_of"]

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_DTLS_MAJOR = 254  # RFC 6347 4.1
# From the handshake message back to its record, and on to the hello's body (RFC 8446 5.1, RFC 6347
# 4.1 and 4.2.2)
_TLS_HEADERS = (5, 4)
_DTLS_HEADERS = (13, 12)

#: The first Host line (RFC 9110 7.2), or the empty line that ends the head; the value without its
#: port, and only where something follows it: else it may be a part of a name.
_HOST = re.compile(
    rb"\n(?:[\r\n]|[Hh][Oo][Ss][Tt]:[ \t]*"
    rb"(\[[^\]\t\n\r ]*(?:\][^\t\n\r :]*)?|(?!\[)[^\t\n\r :]*)[\t\n\r :])"
)


def _find_host(data: bytes | memoryview, start: int, stop: int) -> bytes:
    """Return the value of the Host line without a port, empty where there is none."""
    found = _HOST.search(data, start, stop)
    return bytes(found[1] or b"") if found else b""


def find_hosts(batch: FlowBatch, rows: NDArray[np.int64]) -> list[tuple[int, bytes]]:
    """Return row and Host of the flows ``rows`` that have one, the originator's first."""
    hosts = []
    ends = ("orig_start", "orig_stop", "resp_start", "resp_stop")
    columns = (rows, *(batch.flows[name][rows] for name in ends))
    data = batch.payload.data
    for row, start, stop, other, other_stop in zip(*(c.tolist() for c in columns), strict=True):
        name = _find_host(data, start, stop) or _find_host(data, other, other_stop)
        if name:
            hosts.append((row, name))
    return hosts


def packets_of(
    batch: FlowBatch, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.void]]:
    """Return the packets of the flows ``rows``, and the flow row of each."""
    first = batch.flows["packets_start"][rows]
    counts = batch.flows["packets_stop"][rows] - first
    flow = np.repeat(rows, counts)
    begin = np.cumsum(counts) - counts
    return flow, batch.packets[np.arange(flow.size) + np.repeat(first - begin, counts)]


def _describe(
    payload: NDArray[np.uint8],
    flow: NDArray[np.int64],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    headers: tuple[int, int],
) -> NDArray[np.int64]:
    """Return a row as in ``find_hellos`` for each place where a client hello begins."""
    to_message, to_body = headers
    room = stop - start > to_message + to_body
    flow, start, stop = flow[room], start[room], stop[room]
    message, body = start + to_message, start + to_message + to_body
    hello = (payload[start] == _HANDSHAKE) & (payload[message] == _CLIENT_HELLO)
    if headers == _DTLS_HEADERS:  # a fragment that is the first
        hello &= (payload[body - 6] | payload[body - 5] | payload[body - 4]) == 0
    flow, stop, message, body = flow[hello], stop[hello], message[hello], body[hello]
    declared, record = np.zeros((2, flow.size), np.int64)
    for i in range(3):
        declared = declared << 8 | payload[message + 1 + i]
    for i in range(2):
        record = record << 8 | payload[message - 2 + i]
    end = np.minimum(np.minimum(stop, message + record), body + declared)
    kind = np.full(flow.size, headers == _DTLS_HEADERS, np.int64)
    return np.column_stack((flow, body, np.maximum(body, end), declared, kind, stop))


def find_hellos(
    batch: FlowBatch,
    tls: NDArray[np.bool_],
    dtls: NDArray[np.bool_],
    stun: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Find the first client hello of flows.

    Parameters
    ----------
    batch : FlowBatch
    tls, dtls, stun : ndarray of bool, shape (n_flows,)
        The flows of these applications. WebRTC speaks DTLS where STUN opened the way (RFC 7983).

    Returns
    -------
    ndarray of int64, shape (n, 6)
        Flow row, first and last byte (half-open) of the body in its first record, its declared
        bytes, 1 for DTLS, last byte of what was kept. At most one for each flow.
    """
    flows, payload = batch.flows, batch.payload
    rows = np.flatnonzero(tls)
    ends = (
        (flows[f"{side}_start"][rows], flows[f"{side}_stop"][rows]) for side in ("orig", "resp")
    )
    found = [_describe(payload, rows, start, stop, _TLS_HEADERS) for start, stop in ends]
    rows = np.flatnonzero(dtls | (stun & (flows["proto"] == 17)))
    flow, packets = packets_of(batch, rows)
    records = _describe(payload, flow, packets["start"], packets["stop"], _DTLS_HEADERS)
    versions = payload[records[:, 1] - sum(_DTLS_HEADERS) + 1]
    found.append(records[~stun[records[:, 0]] | (versions == _DTLS_MAJOR)])
    every = np.concatenate(found)
    _, first = np.unique(every[:, 0], return_index=True)
    return np.ascontiguousarray(every[first])
