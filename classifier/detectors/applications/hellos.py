"""Client hellos, wherever they are: in one piece, over several records or datagrams, inside QUIC.

How this works
--------------
Nearly all hellos of TLS and DTLS lie in one piece in ``FlowBatch.payload`` and are read there by a
kernel. The few that a client cut into records (RFC 8446 5.1) or fragments (RFC 6347 4.2.3), and
those that were decrypted out of QUIC, are copied into a buffer of their own, which the same kernel
reads. What a flow can cost here is bounded by the bytes that are kept of it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors.applications import quic
from classifier.detectors.applications.tls import DTLS, QUIC
from classifier.tables import FlowBatch

__all__ = ["Hellos", "join_records", "joined_hellos"]

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_RECORD_HEADER = 5  # RFC 8446 5.1: type, version, length
_DTLS_HEADER = 13  # RFC 6347 4.1: type, version, epoch, sequence number, length
_MESSAGE_HEADER = 4  # type, length
_FRAGMENT_HEADER = 12  # RFC 6347 4.2.2: type, length 3, number 2, offset 3, length 3


class Hellos(NamedTuple):
    """Client hellos in a buffer.

    Attributes
    ----------
    payload : ndarray of uint8
    rows : ndarray of int64, shape (n, 4)
        As ``tls.parse_hellos`` takes them.
    flow : ndarray of int64, shape (n,)
    """

    payload: NDArray[np.uint8]
    rows: NDArray[np.int64]
    flow: NDArray[np.int64]


def join_records(data: bytes, at: int = 0) -> bytes:
    """Return what the handshake records from ``at`` on hold, as far as they were kept."""
    joined = bytearray()
    while at + _RECORD_HEADER <= len(data) and data[at] == _HANDSHAKE:
        size = int.from_bytes(data[at + 3 : at + 5])
        at += _RECORD_HEADER
        joined += data[at : at + size]
        at += size
    return bytes(joined)


def _fragments(datagram: bytes, wanted: bytes) -> list[tuple[int, bytes]]:
    """Return offset and bytes of the fragments of a DTLS message: its type, length and number."""
    pieces = []
    at = 0
    while at + _DTLS_HEADER + _FRAGMENT_HEADER <= len(datagram) and datagram[at] == _HANDSHAKE:
        size = int.from_bytes(datagram[at + 11 : at + 13])
        body = at + _DTLS_HEADER + _FRAGMENT_HEADER
        at += _DTLS_HEADER + size
        header = datagram[body - _FRAGMENT_HEADER : body]
        if header[:6] == wanted:
            stop = min(at, body + int.from_bytes(header[9:12]))
            pieces.append((int.from_bytes(header[6:9]), datagram[body:stop]))
    return pieces


def _join_fragments(batch: FlowBatch, flow: int, body: int) -> bytes:
    """Return the body of a DTLS hello of which ``payload[body]`` is the first byte."""
    f = batch.flows[flow]
    packets = batch.packets[f["packets_start"] : f["packets_stop"]]
    here = packets[(packets["start"] <= body) & (body < packets["stop"])]
    wanted = batch.payload[body - _FRAGMENT_HEADER : body - 6].tobytes()
    pieces: list[tuple[int, bytes]] = []
    for packet in packets[packets["direction"] == here["direction"][0]]:
        pieces += _fragments(batch.payload[packet["start"] : packet["stop"]].tobytes(), wanted)
    return quic.join_pieces(pieces)


def joined_hellos(
    batch: FlowBatch, found: NDArray[np.int64], quic_rows: NDArray[np.int64]
) -> tuple[Hellos, Hellos, list[tuple[int, bytes]]]:
    """Put together the hellos that are not in one piece.

    Parameters
    ----------
    batch : FlowBatch
    found : ndarray of int64, shape (n, 6)
        As ``places.find_hellos`` returns them.
    quic_rows : ndarray of int64
        Rows of QUIC flows.

    Returns
    -------
    in_place : Hellos
        Those in one piece, in ``batch.payload``.
    joined : Hellos
        Those that were put together.
    google : list of (flow row, server name)
        Of Google's own versions of QUIC, which have no TLS hello.
    """
    short = found[:, 2] - found[:, 1] < found[:, 3]
    # A record that ends before what was kept does is followed by another
    parts = short & ((found[:, 4] == DTLS) | (found[:, 2] < found[:, 5]))
    pieces: list[tuple[int, bytes, int, int]] = []
    for flow, body, stop, declared, transport, end in found[parts].tolist():
        if transport == DTLS:
            joined = _join_fragments(batch, flow, body)
        else:
            start = body - _MESSAGE_HEADER - _RECORD_HEADER
            joined = join_records(batch.payload[start:end].tobytes())[_MESSAGE_HEADER:]
        if len(joined) < stop - body:
            joined = batch.payload[body:stop].tobytes()
        pieces.append((flow, joined[:declared], declared, transport))
    google = []
    read = np.zeros(batch.flows.size, np.bool_)
    for flow, message in quic.read_messages(batch, quic_rows) if quic_rows.size else ():
        read[flow] = True
        if message[0] == _CLIENT_HELLO:
            declared = int.from_bytes(message[1:4])
            pieces.append((flow, message[4 : 4 + declared], declared, QUIC))
        else:
            google.append((flow, quic.google_name(message)))
    for flow in quic_rows[~read[quic_rows]].tolist():
        start, stop = batch.flows["orig_start"][flow], batch.flows["orig_stop"][flow]
        google.append((flow, quic.google_name(batch.payload[start:stop].tobytes())))
    whole = np.ascontiguousarray(found[~parts, 1:5])
    return Hellos(batch.payload, whole, found[~parts, 0]), _gathered(pieces), google


def _gathered(pieces: list[tuple[int, bytes, int, int]]) -> Hellos:
    """Lay hellos (flow row, body, declared bytes, transport) behind one another."""
    flow = np.array([piece[0] for piece in pieces], np.int64)
    rows = np.zeros((len(pieces), 4), np.int64)
    rows[:, 1] = np.cumsum([len(piece[1]) for piece in pieces], dtype=np.int64)
    rows[1:, 0] = rows[:-1, 1]
    rows[:, 2] = [piece[2] for piece in pieces]
    rows[:, 3] = [piece[3] for piece in pieces]
    held = b"".join(piece[1] for piece in pieces)
    return Hellos(np.frombuffer(bytearray(held), np.uint8), rows, flow)
