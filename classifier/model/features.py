"""Features of flows: one matrix with the columns of ``schema.FEATURES``.

How this works: columns that are sums of the whole flow come from ``FlowBatch.flows`` by numpy; what
takes a look at the first packets, or at payload, is three kernels. The matrix is filled with NaN at
first: what is not defined for a flow stays so. Flows are independent of each other but for the block
``pairs``, which looks at the flows of the same two endpoints that began before.
"""

import functools
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from classifier import _jit
from classifier.errors import ClassifierError
from classifier.model import _feature_kernels as k
from classifier.model.schema import BLOCKS, FEATURE_NAMES, FEATURES, PPI_PACKETS, column
from classifier.tables import FlowBatch

__all__ = ["compute_features", "compute_sequences", "pair_features"]

_TCP, _UDP = 6, 17
_FLAGS = {"fin": 0, "syn": 1, "rst": 2, "psh": 3}
_ALPN = {"00": 0, "h1": 1, "h2": 2, "h3": 3, "dt": 4, "dq": 4}
_TRANSPORT = {"t": 1, "d": 2, "q": 3}
_VERSION = {"13": 13, "12": 12, "11": 11, "10": 10, "s3": 3, "s2": 2, "d1": 21, "d2": 22, "d3": 23}


def compute_features(
    batch: FlowBatch,
    ja4: NDArray[np.object_] | None = None,
    server_name: NDArray[np.object_] | None = None,
    *,
    pairs: NDArray[np.float32] | None = None,
    blocks: Collection[str] = tuple(BLOCKS),
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Compute all features of the flows of a batch.

    Parameters
    ----------
    batch : FlowBatch
    ja4, server_name : ndarray of object (str), shape (n_flows,), optional
        The flow columns of these names; the block ``hello`` is missing without them. Of the name
        only the length is used.
    pairs : ndarray of float32, shape (n_flows, 6), optional
        What ``PairBook.take`` gives for these flows. Left out, the flows of this batch are taken to
        be all there are: batches depend on how a capture is read, so judge no flow by that.
    blocks : collection of str
        Keys of ``schema.BLOCKS``; the columns of all others stay NaN.

    Returns
    -------
    names : tuple of str
        ``schema.FEATURE_NAMES``.
    matrix : ndarray of float32, shape (n_flows, n_features)
        NaN where a feature is not defined.

    Notes
    -----
    Takes 1.4 KB for each flow, and time in proportion to the packets and bytes kept of them.
    """
    n = batch.flows.size
    out = np.full((n, len(FEATURES)), np.nan, np.float32)
    _jit.spend(8 * n)
    if "flow" in blocks:
        _describe_flow(batch.flows, out)
    if "series" in blocks:
        k.describe_series(batch.flows, batch.packets, out)
    if "payload" in blocks:
        k.describe_payload(batch.flows, batch.packets, batch.payload, _tables(), out)
    if "records" in blocks:
        k.describe_records(batch.flows, batch.payload, out)
    if "hello" in blocks and ja4 is not None and server_name is not None:
        _describe_hello(ja4, server_name, out)
    if "pairs" in blocks:
        out[:, column("pair_flows") :] = pair_features(batch.flows) if pairs is None else pairs
    return FEATURE_NAMES, out


def compute_sequences(batch: FlowBatch, n: int = PPI_PACKETS) -> NDArray[np.float32]:
    """Return the first packets with payload of each flow as a sequence.

    Parameters
    ----------
    batch : FlowBatch
    n : int
        Packets for each flow, 1 to 30.

    Returns
    -------
    ndarray of float32, shape (n_flows, n, 3)
        Payload bytes; direction, 1 from the originator and -1 from the responder; seconds since the
        packet before, 0 for the first. NaN beyond the flow's last packet.

    Notes
    -----
    The packets are those of CESNET DataZoo's sequences: without payload none, of TCP no segment
    whose sequence number does not go up.
    """
    if not 1 <= n <= PPI_PACKETS:
        raise ClassifierError(
            f"n={n} is no number of packets", remedy=f"give one from 1 to {PPI_PACKETS}"
        )
    out = np.full((batch.flows.size, len(FEATURES)), np.nan, np.float32)
    _jit.spend(4 * batch.flows.size)
    k.describe_series(batch.flows, batch.packets, out)
    sequences = np.empty((batch.flows.size, n, 3), np.float32)
    for i, name in enumerate(("ppi_size_01", "ppi_dir_01", "ppi_ipt_ms_01")):
        sequences[:, :, i] = out[:, column(name) : column(name) + n]
    sequences[:, :, 2] /= 1000
    return sequences


@functools.cache
def _tables() -> NDArray[np.int64]:
    """Return, for each byte, bits set and changes from bit to bit."""
    return np.array(
        [
            [b.bit_count() for b in range(256)],
            [((b ^ (b >> 1)) & 127).bit_count() for b in range(256)],
        ],
        np.int64,
    )


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a quotient, NaN where the divisor is 0."""
    quotient = np.full(above.shape, np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient


def _deviation(squares: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation of a mean of squares and a mean."""
    deviation: NDArray[np.float64] = np.sqrt(np.maximum(squares - mean * mean, 0.0))
    return deviation


def _describe_flow(flows: NDArray[np.void], out: NDArray[np.float32]) -> None:
    """Write the columns of the block ``flow``."""
    values: dict[str, NDArray[np.float64]] = {}
    tcp = flows["proto"] == _TCP
    c = {
        f"{side}_{name}": flows[f"{side}_{name}"].astype(np.float64)
        for side in ("orig", "resp")
        for name in (
            *("packets", "bytes", "payload_bytes", "payload_packets", "bytes_min", "bytes_max"),
            *("bytes_sumsq", "iat_sumsq", "iat_min", "iat_max", "retransmissions"),
        )
    }
    duration = (flows["last_ns"] - flows["first_ns"]) / 1e9
    packets = c["orig_packets"] + c["resp_packets"]
    total = c["orig_bytes"] + c["resp_bytes"]
    payload = c["orig_payload_bytes"] + c["resp_payload_bytes"]
    values["is_tcp"] = tcp.astype(np.float64)
    values["is_udp"] = (flows["proto"] == _UDP).astype(np.float64)
    values["start_seen"] = np.where(tcp, flows["start_seen"], np.nan)
    values["duration_s"] = duration
    values["packets"], values["bytes"] = packets, total
    values["packet_rate"], values["byte_rate"] = _ratio(packets, duration), _ratio(total, duration)
    for name, what, whole in (
        ("packet", "packets", packets),
        ("byte", "bytes", total),
        ("payload", "payload_bytes", payload),
    ):
        values[f"{name}_balance"] = _ratio(c[f"orig_{what}"] - c[f"resp_{what}"], whole)
    values["header_share"] = 1 - _ratio(payload, total)
    several = packets > 1
    values["iat_min_s"] = np.where(several, flows["iat_min"] / 1e9, np.nan)
    values["iat_max_s"] = np.where(several, flows["iat_max"] / 1e9, np.nan)
    gaps = np.where(several, packets - 1, 0)
    mean = _ratio(duration, gaps)
    values["iat_mean_s"] = mean
    values["iat_std_s"] = _deviation(_ratio(flows["iat_sumsq"] / 1e18, gaps), mean)
    for side in ("orig", "resp"):
        n = c[f"{side}_packets"]
        some = n > 0
        filled = c[f"{side}_payload_packets"]
        size = c[f"{side}_bytes"]
        lasted = np.where(
            some, (flows[f"{side}_last_ns"] - flows[f"{side}_first_ns"]) / 1e9, np.nan
        )
        values[f"{side}_packets"], values[f"{side}_bytes"] = n, size
        values[f"{side}_payload_bytes"] = c[f"{side}_payload_bytes"]
        values[f"{side}_payload_packet_share"] = _ratio(filled, n)
        values[f"{side}_payload_mean"] = _ratio(c[f"{side}_payload_bytes"], filled)
        values[f"{side}_bytes_min"] = np.where(some, c[f"{side}_bytes_min"], np.nan)
        values[f"{side}_bytes_max"] = np.where(some, c[f"{side}_bytes_max"], np.nan)
        mean = _ratio(size, n)
        values[f"{side}_bytes_mean"] = mean
        values[f"{side}_bytes_std"] = _deviation(_ratio(c[f"{side}_bytes_sumsq"], n), mean)
        values[f"{side}_duration_s"] = lasted
        values[f"{side}_packet_rate"] = _ratio(n, duration)
        values[f"{side}_byte_rate"] = _ratio(size, duration)
        gaps = np.where(n > 1, n - 1, 0)
        values[f"{side}_iat_min_s"] = np.where(n > 1, c[f"{side}_iat_min"] / 1e9, np.nan)
        values[f"{side}_iat_max_s"] = np.where(n > 1, c[f"{side}_iat_max"] / 1e9, np.nan)
        mean = _ratio(lasted, gaps)
        values[f"{side}_iat_mean_s"] = mean
        squares = _ratio(c[f"{side}_iat_sumsq"] / 1e18, gaps)
        values[f"{side}_iat_std_s"] = _deviation(squares, mean)
        shares = _ratio(c[f"{side}_retransmissions"], n)
        values[f"{side}_retransmission_share"] = np.where(tcp, shares, np.nan)
        flags = flows[f"{side}_flags"]
        for name in ("fin", "syn", "rst"):
            seen = flags[:, _FLAGS[name]] > 0
            values[f"{side}_{name}"] = np.where(tcp & some, seen, np.nan)
        pushed = _ratio(flags[:, _FLAGS["psh"]].astype(np.float64), filled)
        values[f"{side}_psh_share"] = np.where(tcp, pushed, np.nan)
    for feature in BLOCKS["flow"]:
        out[:, column(feature.name)] = values[feature.name]


def _describe_hello(
    ja4: NDArray[np.object_], server_name: NDArray[np.object_], out: NDArray[np.float32]
) -> None:
    """Write the columns of the block ``hello``."""
    first, last = column("ja4_transport"), column("name_characters")
    rows = np.flatnonzero(ja4 != "")
    if not rows.size:
        return
    starts = [text[:10] for text in ja4[rows].tolist()]
    known: dict[str, tuple[float, ...]] = {}
    for text in set(starts):
        known[text] = (
            _TRANSPORT[text[0]],
            _VERSION.get(text[1:3], np.nan),
            float(text[3] == "d"),
            int(text[4:6]),
            int(text[6:8]),
            _ALPN.get(text[8:10], 5),
        )
    out[rows, first:last] = [known[text] for text in starts]
    out[rows, last] = [len(name) for name in server_name[rows].tolist()]


def pair_features(flows: NDArray[np.void]) -> NDArray[np.float32]:
    """Compute what the other flows of the same two endpoints say: the block ``pairs``.

    Parameters
    ----------
    flows : ndarray of FLOW, shape (n_flows,)
        All flows of a run, in any order.

    Returns
    -------
    ndarray of float32, shape (n_flows, 6)

    Notes
    -----
    Only flows that began before are looked at, so what comes later changes nothing. Takes time in
    proportion to n log n.
    """
    out = np.full((flows.size, len(BLOCKS["pairs"])), np.nan, np.float32)
    if flows.size == 0:
        return out
    swap = (flows["orig_hi"] > flows["resp_hi"]) | (
        (flows["orig_hi"] == flows["resp_hi"]) & (flows["orig_lo"] > flows["resp_lo"])
    )
    ends = [
        np.where(swap, flows[f"{far}_{word}"], flows[f"{near}_{word}"])
        for near, far in (("orig", "resp"), ("resp", "orig"))
        for word in ("hi", "lo")
    ]
    order = np.lexsort((flows["flow_id"], *ends))
    new = np.ones(flows.size, np.bool_)
    new[1:] = False
    for end in ends:
        new[1:] |= end[order][1:] != end[order][:-1]
    group = np.cumsum(new) - 1
    begins = np.flatnonzero(new)
    place = np.arange(flows.size)
    before = (place - begins[group]).astype(np.float64)

    def earlier(mark: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Count the flows of the group before each one that have a mark."""
        sums: NDArray[np.int64] = np.cumsum(mark) - mark
        counts: NDArray[np.float64] = (sums - sums[begins][group]).astype(np.float64)
        return counts

    tcp = (flows["proto"] == _TCP)[order]
    same = np.zeros(flows.size)
    for proto in np.unique(flows["proto"]):
        mark = flows["proto"][order] == proto
        same = np.where(mark, earlier(mark), same)
    swapped = earlier(swap[order])
    same_orig = np.where(swap[order], swapped, before - swapped)
    start = flows["first_ns"][order]
    gap = np.full(flows.size, np.nan)
    gap[1:] = np.where(new[1:], np.nan, np.diff(start) / 1e9)
    mean = _ratio((start - start[begins][group]) / 1e9, before)
    for i, values in enumerate(
        (
            before,
            _ratio(earlier(tcp), before),
            _ratio(same, before),
            _ratio(same_orig, before),
            gap,
            mean,
        )
    ):
        out[order, i] = values
    return out
