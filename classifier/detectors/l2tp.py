"""L2TP: control messages with their own length, and PPP or Ethernet frames behind a session number.

UDP (port 1701), or for version 3 also IP protocol 115. Numbers are big-endian. The first two bytes
hold flags and version: 0x8000 control, 0x4000 length, 0x0800 sequence, 0x0200 offset, 0x0100
priority, all others zero but the version in the last four bits.

Control, version 2 and version 3 over UDP::

    0    2   flags       0xC802 or 0xC803: control, length and sequence, nothing else
    2    2   length      of the whole message
    4    4   tunnel id, session id (version 2); control connection id (version 3)
    8    4   Ns, Nr
    12       nothing (an acknowledgement), or attributes. The first is the message type:
    12   2   0x8008 or 0x0008: length 8
    14   4   vendor 0, attribute 0
    18   2   1 start request, 2 start reply, ... 28

Data, version 2::

    0    2   flags       0x0002, and length, sequence, offset, priority as they are used
         2   length      where flagged: of the whole message
         4   tunnel id, session id
         4   Ns, Nr      where flagged
         2+n offset      where flagged: n, and n bytes
         2   FF 03       PPP's address and control, which may be left out
         2   protocol    0x0021 IPv4, 0x0057 IPv6, 0xC021 link control ...

Data, version 3 over UDP::

    0    4   00 03 00 00
    4    4   session id
    8        cookie of 0, 4 or 8 bytes, sublayer of 0 or 4 bytes, frame

Version 3 over IP begins with the session id; 0 there means control, as above from 0xC803 on.

Sources
-------
RFC 2661 sections 3.1, 4.1, 5.8 (version 2); RFC 3931 sections 3.2, 4.1 (version 3); RFC 1661 and
the PPP numbers of IANA.

Strength
--------
Proof: valid control messages from both sides, at least one with a message type; data from both
sides, two messages each, each side with a session of its own and a PPP packet, or Ethernet frame
with IP or ARP, that fits; over IP protocol 115 a control message, or data both ways with constant
sessions. Strong: the same from one side.

Mistaken for
------------
fastd sends an empty L2TP control message ahead of its own, with a length that is not the packet's.
TFTP requests to write begin as version 2 data; nothing fits behind.

Blind to
--------
Data alone whose frames are neither IP, ARP nor PPP in clear or in Microsoft's encryption. L2TP
inside ESP, as it is mostly used, is named ``ipsec``.
"""

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._findings import Meaning
from classifier.detectors._messages import Case, Ints, Mask, Messages, report, scan
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

UDP, L2TP = 17, 115
CONTROL_2, CONTROL_3, CONTROL_BYTES, ATTRIBUTE_BYTES = 0xC802, 0xC803, 12, 8
CONTROL, LENGTH, SEQUENCE, OFFSET, VERSION_2, VERSION_3 = 0x80, 0x40, 0x08, 0x02, 2, 3
RESERVED = 0x34  # bits of the first byte that are always zero
TYPE_ATTRIBUTE = (0x8008, 0x0008)
TYPE_MOST = 28  # IANA, "Message Type AVP values"
PPP_HEADER = 0xFF03
LINK = (0xC021, 0xC023, 0xC223, 0xC227, 0x8021, 0x8057, 0x80FD, 0x80FB)  # negotiations
HIDDEN = (0x00FD, 0x00FB, 0x0053)  # compressed or encrypted packets
IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
FRAME_PLACES = (8, 12, 16, 20)  # behind the session id of version 3: cookie, sublayer
LEAST, WIDTH = 2, 64

_FAMILY = "l2tp"
BOTH = Meaning(Strength.PROOF, "L2TP control messages both ways", _FAMILY)
ONE = Meaning(Strength.STRONG, "L2TP control messages of one side", _FAMILY)
DATA_BOTH = Meaning(
    Strength.PROOF, "L2TP data both ways, {value} messages with constant sessions", _FAMILY
)
DATA_ONE = Meaning(
    Strength.STRONG, "L2TP data of one side, {value} messages with a constant session", _FAMILY
)
OVER_IP = Meaning(Strength.PROOF, "L2TP control message over IP protocol 115", _FAMILY)


def _read(m: Messages, at: Ints, size: int) -> Ints:
    """Read a number at a place of its own in each row; zeros beyond the row."""
    value = np.zeros(m.wire.size, np.int64)
    for i in range(size):
        inside = at + i < WIDTH
        byte = m.bytes[np.arange(m.wire.size), np.where(inside, at + i, 0)]
        value = (value << 8) | np.where(inside, byte, 0)
    return value


def _controls(m: Messages, at: int) -> tuple[Mask, Mask]:
    """Tell which messages are valid control messages from ``at`` on, and which of them typed."""
    flags = m.be(at, 2)
    sound = ((flags == CONTROL_2) | (flags == CONTROL_3)) & (m.be(at + 2, 2) == m.wire - at)
    sound &= m.kept >= at + CONTROL_BYTES
    typed = sound & (m.wire >= at + CONTROL_BYTES + ATTRIBUTE_BYTES)
    typed &= np.isin(m.be(at + 12, 2), TYPE_ATTRIBUTE) & (m.be(at + 14, 4) == 0)
    kind = m.be(at + 18, 2)
    typed &= (kind >= 1) & (kind <= TYPE_MOST) & (m.kept >= at + 20)
    return typed | (sound & (m.wire == at + CONTROL_BYTES)), typed


def _holds_ip(m: Messages, at: Ints, version: int) -> Mask:
    """Tell where an IP packet begins at ``at`` whose length is all that is left."""
    first = _read(m, at, 1)
    if version == 4:
        fits: Mask = (first >= 0x45) & (first <= 0x4F) & (_read(m, at + 2, 2) == m.wire - at)
    else:
        fits = (first >> 4 == 6) & (_read(m, at + 4, 2) + 40 == m.wire - at)
    return fits


def _holds_ppp(m: Messages, at: Ints) -> Mask:
    at = at + np.where(_read(m, at, 2) == PPP_HEADER, 2, 0)
    short = _read(m, at, 1) & 1 == 1  # protocol numbers may be cut to their odd last byte
    protocol = np.where(short, _read(m, at, 1), _read(m, at, 2))
    inner = at + np.where(short, 1, 2)
    code, size = _read(m, inner, 1), _read(m, inner + 2, 2)
    link = np.isin(protocol, LINK) & (code >= 1) & (code <= 15)
    link &= (size >= 4) & (size <= m.wire - inner)
    hidden = np.isin(protocol, HIDDEN) & ~short & (m.wire - inner >= 8)
    found: Mask = link | hidden
    found |= (protocol == 0x21) & _holds_ip(m, inner, 4)
    found |= (protocol == 0x57) & _holds_ip(m, inner, 6)
    return found


def _holds_frame(m: Messages) -> Mask:
    found = np.zeros(m.wire.size, np.bool_)
    for place in FRAME_PLACES:
        ethertype, inner = m.be(place + 12, 2), np.full(m.wire.size, place + 14)
        found |= (ethertype == ARP) & (m.be(place + 14, 6) == 0x000108000604)
        found |= (ethertype == IPV4) & _holds_ip(m, inner, 4)
        found |= (ethertype == IPV6) & _holds_ip(m, inner, 6)
    return found


def _data(m: Messages) -> tuple[Mask, Ints]:
    """Tell which messages are data over UDP, and of which tunnel and session."""
    flags, version = m.be(0, 1), m.be(1, 1)
    two = (flags & (CONTROL | RESERVED) == 0) & (version == VERSION_2) & (m.kept >= 12)
    three = (m.be(0, 4) == VERSION_3 << 16) & (m.be(4, 4) != 0)
    if not (two.any() or three.any()):
        return two, np.zeros(two.size, np.int64)
    ids = 2 + np.where(flags & LENGTH, 2, 0)
    at = ids + 4 + np.where(flags & SEQUENCE, 4, 0)
    at += np.where(flags & OFFSET, 2 + _read(m, at, 2), 0)
    two &= (flags & LENGTH == 0) | (m.be(2, 2) == m.wire)
    session = _read(m, ids, 4)
    two &= (session >> 16 != 0) & (session & 0xFFFF != 0)
    if two.any():
        two &= _holds_ppp(m, at)
    if three.any():
        three &= _holds_frame(m)
    return two | three, np.where(three, m.be(4, 4), session)


def _judge(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, WIDTH)
    over_ip = (batch.flows["proto"] == L2TP)[m.flow]
    control, typed = _controls(m, 0)
    inner, inner_typed = _controls(m, 4)
    raw = over_ip & (m.be(0, 4) == 0) & inner
    control, typed = np.where(over_ip, raw, control), np.where(over_ip, raw & inner_typed, typed)
    data, session = _data(m)
    data = np.where(over_ip, (m.be(0, 4) != 0) & (m.kept >= 4), data)
    if not (control.any() or typed.any() or data.any()):
        return []
    session = np.where(over_ip, m.be(0, 4), session)
    place = np.arange(m.wire.size)  # data have no number of their own: a counter that always rises
    counts = m.run(data, session, place, place.size + 1)
    some, many = counts.min(axis=1), counts.max(axis=1)
    n_control = m.count(control)
    any_typed = m.count(typed).sum(axis=1) > 0
    first, last = m.first(control), m.first(typed)
    cases = [
        Case(any_typed & (n_control.min(axis=1) > 0), BOTH, first, m.both(control)),
        Case(any_typed & (batch.flows["proto"] == L2TP), OVER_IP, last, last),
        Case(some >= LEAST, DATA_BOTH, m.first(data), *m.enough(data, LEAST)),
        Case(any_typed, ONE, last, last),
        Case(many > LEAST, DATA_ONE, m.first(data), *m.enough(data, LEAST + 1, sides=1)),
    ]
    starts = m.value(typed, (m.be(18, 2) == 1).astype(np.int64))[:, 0] == 1
    return report(batch, DETECTOR.name, cases, starts)


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows in which either side begins with flags of L2TP, or of protocol 115."""
    chosen = heads.has_proto(L2TP)
    for head, kept in ((heads.orig, heads.orig_kept), (heads.resp, heads.resp_kept)):
        version = head[:, 1]
        control = (head[:, 0] == CONTROL_2 >> 8) & ((version == VERSION_2) | (version == VERSION_3))
        data = (head[:, 0] & (CONTROL | RESERVED) == 0) & (version == VERSION_2)
        three = (head[:, 0] == 0) & (version == VERSION_3) & (head[:, 2] == 0) & (head[:, 3] == 0)
        chosen |= (control | data | three) & (kept >= CONTROL_BYTES)
    return chosen


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find L2TP among the UDP flows and those of IP protocol 115."""
    return scan(batch, _judge)


DETECTOR = Detector("l2tp", _FAMILY, (UDP, L2TP), WIDTH, detect, select)
