"""Captures again, with what was found written beside the packets, for Wireshark to show.

The first frame of each flow has a comment with the verdict, and each frame that evidence names one
with its words. Frames keep their order, time stamps and numbers. Unless payload is asked for, each is
cut behind its headers, and one that is in no flow behind its link header.

pcapng: draft-ietf-opsawg-pcapng, sections 4.1 (section header), 4.2 (interface description), 4.3
(enhanced packet), 3.5 (options: ``opt_comment`` is 1).
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from classifier.errors import CaptureError
from classifier.report._escape import visible
from classifier.report._files import Sink, output
from classifier.tables import PACKET_LIMIT
from classifier.wire import Source, frames

if TYPE_CHECKING:
    import os
    from typing import BinaryIO

    import pyarrow as pa

__all__ = ["Comments", "comments_of", "write_annotated"]

#: (capture, frame) -> what to write beside it.
Comments = dict[tuple[int, int], list[str]]

SHB, IDB, EPB = 0x0A0D0D0A, 1, 6
OPT_COMMENT, SHB_USERAPPL, IF_TSRESOL = 1, 4, 9
BYTE_ORDER_MAGIC = 0x1A2B3C4D
MOST_COMMENT = 2000  # characters; an option holds 65,535 bytes


def comments_of(
    table: "pa.Table", packets: "Iterable[tuple[NDArray[np.void], NDArray[np.uint8]]]"
) -> Comments:
    """Say what to write beside which frame.

    Parameters
    ----------
    table : pyarrow.Table
        Flow rows, judged; ``flow_id`` dense from 0.
    packets : iterable of (ndarray of PACKET, buffer)
        All packets of the captures with their ``flow_id``.

    Returns
    -------
    dict
        (row in the list of captures, frame number) -> comments.
    """
    evidence: dict[tuple[int, int], list[str]] = {}
    named = table.select(["flow_id", "evidence"]).to_pylist()
    for row in named:
        for item in row["evidence"]:
            words = f"{item['detector']} {item['strength']}: {item['detail']}".rstrip(": ")
            found = evidence.setdefault((row["flow_id"], item["packet"]), [])
            found.append(f"flow {row['flow_id']}: {words}")
    wanted = np.unique(np.array([frame for _, frame in evidence], np.int64))
    seen = np.zeros(table.num_rows, np.int64)  # packets of each flow
    first: list[tuple[int, int, int]] = []
    comments: Comments = {}
    for rows, _ in packets:
        rows = rows[(rows["flow_id"] >= 0) & (rows["flow_id"] < seen.size)]
        ids, at, counts = np.unique(rows["flow_id"], return_index=True, return_counts=True)
        begun = rows[at[seen[ids] == 0]]
        numbers = (begun[name].tolist() for name in ("flow_id", "capture", "frame"))
        first.extend(zip(*numbers, strict=True))
        # Evidence is in a flow's first packets: a later one of that number is of another capture
        some = rows[np.isin(rows["frame"], wanted) & (_turns(rows["flow_id"], seen) < PACKET_LIMIT)]
        seen[ids] += counts
        keys = zip(some["flow_id"].tolist(), some["frame"].tolist(), strict=True)
        for capture, key in zip(some["capture"].tolist(), keys, strict=True):
            if key in evidence:
                comments[capture, key[1]] = comments.get((capture, key[1]), []) + evidence[key]
    said = _verdicts(table)
    for flow_id, capture, frame in first:
        comments[capture, frame] = [said[flow_id], *comments.get((capture, frame), [])]
    return comments


def _turns(ids: "NDArray[np.int64]", before: "NDArray[np.int64]") -> "NDArray[np.int64]":
    """Return which packet of its flow each is, from 0, with so many before."""
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    turns = np.empty(ids.size, np.int64)
    turns[order] = np.arange(ids.size) - np.searchsorted(ordered, ordered)
    return turns + before[ids]


def _verdicts(table: "pa.Table") -> dict[int, str]:
    """Return what to write beside the first frame of each flow."""
    names = ["flow_id", "proto", "application", "family", "vpn_probability", "strength", "verdict"]
    names += ["rule", "registered", "registration_id", "near_miss"]
    said = {}
    for row in table.select(names).to_pylist():
        what = row["family"] or row["application"]
        text = f"flow {row['flow_id']}: {row['verdict']} by rule {row['rule']}; {what}, "
        text += f"p(vpn) {row['vpn_probability']:.3f}"
        text += f", {row['strength']} evidence" if row["strength"] else ""
        if row["registered"]:
            text += f"; registered as {row['registration_id']}"
        elif row["near_miss"]:
            text += f"; nearly registered: {row['near_miss']}"
        said[row["flow_id"]] = text
    return said


def write_annotated(
    target: "str | os.PathLike[str] | BinaryIO",
    captures: Sequence[Source],
    comments: Mapping[tuple[int, int], list[str]],
    *,
    keep_payload: bool = False,
    decapsulate: bool = False,
) -> None:
    """Write the frames of captures as one pcapng, with comments.

    Parameters
    ----------
    target : path, ``-`` or binary file object
    captures : sequence of Source
        In the order that ``comments`` counts.
    comments : mapping
        (row in ``captures``, frame number) -> comments of that frame.
    keep_payload : bool
        Write frames whole.
    decapsulate : bool
        Count the headers inside encapsulations as headers.

    Raises
    ------
    ResourceError
        If the place cannot be written.
    CaptureError
        If the only capture cannot be read.
    """
    with output(target) as sink:
        body = struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, -1)
        name = _option(SHB_USERAPPL, b"classifier")
        sink.write(_block(SHB, body + name + _option(0, b"")))
        interfaces: dict[int, int] = {}
        for number, source in enumerate(captures):
            try:
                _write_capture(
                    sink, number, source, comments, interfaces, keep_payload, decapsulate
                )
            except CaptureError:  # what could be read of several is written, and the run has told
                if len(captures) == 1:
                    raise


def _write_capture(
    sink: Sink,
    number: int,
    source: Source,
    comments: Mapping[tuple[int, int], list[str]],
    interfaces: dict[int, int],
    keep_payload: bool,
    decapsulate: bool,
) -> None:
    for frame in frames(source, decapsulate=decapsulate):
        link = max(frame.link, 0)
        if link not in interfaces:
            interfaces[link] = len(interfaces)
            resolution = _option(IF_TSRESOL, bytes([9])) + _option(0, b"")  # nanoseconds
            sink.write(_block(IDB, struct.pack("<HHI", link, 0, 0) + resolution))
        data = frame.data if keep_payload else frame.data[: frame.header_bytes]
        ticks = max(frame.ts_ns, 0)
        body = struct.pack(
            "<IIIII",
            interfaces[link],
            ticks >> 32,
            ticks & 0xFFFF_FFFF,
            len(data),
            max(frame.wire_bytes, len(data)),
        )
        said = comments.get((number, frame.number), ())
        options = b"".join(_option(OPT_COMMENT, _words(text)) for text in said)
        sink.write(_block(EPB, body + _padded(data) + (options and options + _option(0, b""))))


def _words(text: str) -> bytes:
    return visible(text[:MOST_COMMENT]).encode("utf-8", "backslashreplace")


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length
