"""Tunnels in DNS over UDP: iodine, dnscat2 and dns2tcp by name, others by what they ask.

All are questions of one client under one zone, with the data in the labels before it, and answers
with data. What comes first, in the first label (RFC 1035 4.1: header 12, then labels)::

    iodine    v, then in base32 the protocol version (4) and a counter (2): 11 characters
              answered with VACK, VNAK or VFUL, as it is or in base32 ("kzaugs", "kzhecs", "kzdfkt");
              p, then in base32 a ping: user (1, below 16), acknowledged (1, below 128) and a counter
              (2) that rises by one: 8 characters, the last three bits of them zero
    dnscat2   hexadecimal: packet id (2), type (1: 0 SYN, 1 MSG, 2 FIN, 3 encrypted, 255 ping),
              session (2), the same in the answer; "dnscat" as a label before it where no zone is set
    dns2tcp   base64: session (2), acknowledged (2), number (2), type (1); behind it a label
              "=auth", "=resource" or "=connect" at first

iodine's datagrams that are no DNS, where it reaches its server directly::

    0    3   0x10D19E
    3    1   command in the upper half: 1 login (an MD5 hash follows), 2 data, 3 ping; user below

Sources
-------
yarrick/iodine ``doc/proto_00000502.txt``, ``src/client.c`` (send_ping); iagox86/dnscat2 ``doc/protocol.md``; dns2tcp 0.5.2
``common/includes/packet.h``, ``server/requests.c``; G. Farnham, "Detecting DNS Tunneling", SANS
Institute 2013: names over 52 characters, uncommon types, many names of one zone.

Strength
--------
Proof: iodine's version and its answer, or its own datagrams both ways; dnscat2's session in two
questions and their answers; a control label of dns2tcp answered with base64. Strong: one such
exchange of dnscat2; three pings of iodine of one user whose counter rises, among answers; iodine's or
dns2tcp's question alone where no answer was captured, or none of it that a snaplen left; or by what
is asked in one flow, eight and more different names under one zone, each answered with data:
records of type NULL or private use, or six names of over 52 characters with records of type TXT,
CNAME, MX, SRV or KEY; and any question of a host to a server under a zone that another flow of
theirs named by iodine, dnscat2 or dns2tcp, or three of iodine's pings that count in flows of their own:
so does a resolver ask, from another port each time. Weak: the same six of type A and AAAA.

Mistaken for
------------
Virus scanners and block lists look up long names of hashes, with type A or one question a flow;
reverse names of IPv6 are longer still, with type PTR; DKIM and ACME ask TXT of many zones.
None of them keeps to one source port and one zone with data in each answer.

Blind to
--------
Tunnels behind a resolver with a port of its own for each question whose zone nothing names in the
same batch of flows (12,288 at most); DNS in TCP, TLS or HTTPS, and what has less than eight questions
and no name.
"""

import numpy as np
from numpy.typing import NDArray

from classifier._jit import inline, kernel
from classifier.detectors._findings import (
    FIRST,
    FLOW_ROW,
    LAST,
    MEANING,
    STARTS,
    VALUE,
    Meaning,
    find_hits,
    worded,
)
from classifier.detectors._reading import be16, be32
from classifier.detectors._zones import under_zones
from classifier.detectors.heads import HEAD_BYTES, Heads
from classifier.detectors.interface import Detector
from classifier.tables import PACKET_LIMIT, Evidence, FlowBatch, Strength

__all__ = ["DETECTOR", "probe"]

UDP = 17
HEADER_BYTES, QUESTION_BYTES, RECORD_BYTES = 12, 4, 10  # after the names
FLAGS_QUESTION_MASK, RESPONSE, RCODE = 0xF800, 0x8000, 0x000F  # response and opcode
LABEL_MOST, NAME_MOST, POINTER = 63, 255, 0xC0
TXT, CNAME, MX, NULL, KEY, SRV, PTR, PRIVATE = 16, 5, 15, 10, 25, 33, 12, 65280
A, AAAA = 1, 28
RAW_MAGIC, RAW_BYTES, RAW_PING = 0x10D19E, 4, 3
VERSION_LABEL, VERSION_LETTER, BASE32_ZERO = 11, 0x76, 0x61  # "v" and "a"
VACK, VNAK, VFUL = 0x5641434B, 0x564E414B, 0x5646554C
VACK_32, VNAK_32, VFUL_32 = 0x6B7A6175, 0x6B7A6865, 0x6B7A6466  # the first four of base32
ANSWER_WINDOW = 64
PING_LABEL, PING_LETTER, PINGS_LEAST, PING_STEP = 8, 0x70, 3, 16  # "p"
DNSCAT, DNSCAT_BYTES = 0x646E7363, 6  # "dnsc"
HEX_DIGITS, ENCRYPTED, PING = 10, 3, 255
EQUALS, BASE64_LEAST = 0x3D, 8
LONG_NAME = 54  # on the wire, lengths included: a text of more than 52 characters
NAMES_LEAST, LONG_LEAST, ANSWERS_LEAST, ANSWER_DATA = 8, 6, 6, 24
LOCAL, ARPA = 0x6C6F6361, 0x61727061  # "loca(l)", "arpa"

# What ``probe`` tells of a question
PLAIN, VERSION, HEX, CONTROL = 1, 2, 3, 4
# Kinds of hit
IODINE, RAW_BOTH, DNSCAT2, DNS2TCP = 1, 2, 3, 4
IODINE_ASKED, RAW_ONE, DNSCAT2_ONCE, DNS2TCP_ASKED = 5, 6, 7, 8
RARE_TYPE, LONG_NAMES, LONG_ADDRESSES, IODINE_PINGS = 9, 10, 11, 12
BY_BEHAVIOUR = (RARE_TYPE, LONG_NAMES, LONG_ADDRESSES)  # no program is named

_FAMILY = "dns-tunnel"
_MEANINGS = {
    IODINE: Meaning(Strength.PROOF, "iodine's version asked and answered", _FAMILY),
    RAW_BOTH: Meaning(Strength.PROOF, "iodine's own datagrams both ways", _FAMILY),
    DNSCAT2: Meaning(
        Strength.PROOF, "dnscat2 session {value:#06x} in questions and answers", _FAMILY
    ),
    DNS2TCP: Meaning(Strength.PROOF, "dns2tcp's control label, answered in base64", _FAMILY),
    IODINE_ASKED: Meaning(
        Strength.STRONG, "iodine's version asked, its answer not captured", _FAMILY
    ),
    RAW_ONE: Meaning(Strength.STRONG, "iodine's own datagrams one way", _FAMILY),
    IODINE_PINGS: Meaning(
        Strength.STRONG, "{value} pings of iodine, one user, counter rising", _FAMILY
    ),
    DNSCAT2_ONCE: Meaning(
        Strength.STRONG, "dnscat2 session {value:#06x} in a question and its answer", _FAMILY
    ),
    DNS2TCP_ASKED: Meaning(Strength.STRONG, "dns2tcp's control label, no answer captured", _FAMILY),
    RARE_TYPE: Meaning(
        Strength.STRONG, "{value} names of one zone with NULL or private records", _FAMILY
    ),
    LONG_NAMES: Meaning(
        Strength.STRONG, "{value} long names of one zone with data in the answers", _FAMILY
    ),
    LONG_ADDRESSES: Meaning(
        Strength.WEAK, "{value} long names of one zone asked for addresses", _FAMILY
    ),
}


@inline
def _name_end(buf, at, stop):
    """Return where a name that stands whole at ``at`` ends; 0 where it is none, -1 where cut."""
    first = at
    while at < stop:
        size = np.int64(buf[at])
        if size == 0:
            return at + 1 if at > first else 0
        at += 1 + size
        if size > LABEL_MOST or at - first >= NAME_MOST:
            return 0
    return -1


@inline
def _hex_header(buf, at, stop):
    """Return type << 16 | session of dnscat2's header in hexadecimal digits, -1 where there is none."""
    if stop - at < HEX_DIGITS:
        return -1
    value = 0
    for i in range(at, at + HEX_DIGITS):
        digit = np.int64(buf[i])
        if 0x30 <= digit <= 0x39:
            digit -= 0x30
        else:
            digit = (digit | 0x20) - 0x61 + 10
            if digit < 10 or digit > 15:
                return -1
        value = (value << 4) | digit
    value &= 0xFFFFFF
    kind = value >> 16
    return value if kind <= ENCRYPTED or kind == PING else -1


@inline
def _ping(buf, at, stop):
    """Return user << 16 | counter of iodine's ping whose label stands at ``at``, -1 if it is none."""
    if stop - at <= PING_LABEL or buf[at] != PING_LABEL or buf[at + 1] | 0x20 != PING_LETTER:
        return -1
    value = 0
    for i in range(at + 2, at + 1 + PING_LABEL):
        digit = np.int64(buf[i])
        if 0x30 <= digit <= 0x35:  # base32 of iodine: a to z, 0 to 5
            digit += 26 - 0x30
        else:
            digit = (digit | 0x20) - 0x61
            if digit < 0 or digit > 25:
                return -1
        value = (value << 5) | digit
    user, acknowledged = value >> 27, (value >> 19) & 0xFF
    if value & 7 != 0 or user > 15 or acknowledged > 127:
        return -1
    return (user << 16) | ((value >> 3) & 0xFFFF)


@inline
def _first_data(buf, at):
    """Return where the data of a dnscat2 name begin, whose first label stands at ``at``."""
    if buf[at] == DNSCAT_BYTES and be32(buf, at + 1) | 0x20202020 == DNSCAT:
        return at + 2 + DNSCAT_BYTES
    return at + 1


@inline
def _same_label(buf, one, other, stop):
    """Tell whether two labels are the same: a name of hashes that points to its like elsewhere."""
    size = np.int64(buf[one])
    if size != buf[other] or other + size >= stop:
        return False
    same = 0
    for i in range(1, size + 1):
        same += buf[one + i] | 0x20 == buf[other + i] | 0x20
    return same == size


@kernel
def probe(buf, start, stop, wire_bytes):
    """Tell what a DNS question asks.

    Parameters
    ----------
    buf : ndarray of uint8, read
    start, stop : int
        ``0 <= start <= stop <= buf.size``: what was captured of the UDP payload.
    wire_bytes : int
        Its length on the wire.

    Returns
    -------
    int
        0 no DNS message with one question, -1 cannot tell, 1 none of the following, 2 iodine's
        version, 3 hexadecimal as dnscat2's, 4 a control label of dns2tcp. Of answers likewise.
    """
    if wire_bytes < HEADER_BYTES + 2 + QUESTION_BYTES:
        return 0
    at = start + HEADER_BYTES
    if stop - at < HEX_DIGITS + 1:
        return -1 if stop - start < wire_bytes else 0
    opcode = be16(buf, start + 2) & FLAGS_QUESTION_MASK & ~RESPONSE
    if opcode != 0 or be16(buf, start + 4) != 1:
        return 0
    if _name_end(buf, at, stop) == 0:
        return 0
    size = np.int64(buf[at])
    if size == VERSION_LABEL and buf[at + 1] | 0x20 == VERSION_LETTER:
        zeros = 0
        for i in range(at + 2, at + 5):
            zeros += buf[i] | 0x20 == BASE32_ZERO
        if zeros == 3:
            return VERSION
    data = _first_data(buf, at)
    if buf[data - 1] >= HEX_DIGITS and _hex_header(buf, data, stop) >= 0:
        return HEX
    label = at + 1 + size
    while label + 5 <= stop and buf[label] != 0 and buf[label] <= LABEL_MOST:
        if buf[label + 1] == EQUALS:
            word = be32(buf, label + 1)
            size = np.int64(buf[label])
            auth = word == 0x3D617574 and size == 5  # "=aut(h)"
            resource = word == 0x3D726573 and size == 9  # "=res(ource)"
            if auth or resource or (word == 0x3D636F6E and size == 8):  # "=con(nect)"
                return CONTROL
        label += 1 + np.int64(buf[label])
    return PLAIN


@inline
def _says_version(buf, at, stop):
    """Tell whether iodine's answer to its version stands soon after ``at``."""
    for i in range(at, min(stop, at + ANSWER_WINDOW) - 3):
        word = be32(buf, i)
        plain = word == VACK or word == VNAK or word == VFUL
        if plain or word == VACK_32 or word == VNAK_32 or word == VFUL_32:
            return True
    return False


@inline
def _answer_data(buf, at, stop):
    """Return where the data of the first record at ``at`` begin that can hold text; 0 if none."""
    if at + 2 > stop:
        return 0
    if buf[at] >= POINTER:
        at += 2
    else:
        at = _name_end(buf, at, stop)
        if at <= 0:
            return 0
    if at + RECORD_BYTES + 3 >= stop:
        return 0
    kind = be16(buf, at)
    at += RECORD_BYTES
    if kind == TXT or kind == CNAME or kind == KEY:
        return at
    if kind == SRV:
        return at + 6  # priority, weight and port
    return at + 2 if kind == MX else 0


@inline
def _is_base64(buf, at, stop):
    """Tell whether a text of eight and more digits of base64 stands at ``at``, after its length."""
    if stop - at < 1 + BASE64_LEAST:
        return False
    for i in range(at + 1, at + 1 + BASE64_LEAST):
        c = np.int64(buf[i])
        letter = 0x61 <= c | 0x20 <= 0x7A
        if not (letter or 0x30 <= c <= 0x39 or c == 0x2B or c == 0x2F or c == 0x2D):
            return False
    return True


@inline
def _shared_zone(buf, first, zone, end, other, other_end):
    """Return where the labels of a name at ``first`` begin that another name ends with.

    ``zone`` is a label of it that is known to be in question; ``end`` where none is shared.
    """
    alike = 0
    while alike < end - zone and alike < other_end - other:
        a, b = np.int64(buf[end - 1 - alike]), np.int64(buf[other_end - 1 - alike])
        if a != b and (a | 0x20 != b | 0x20 or a | 0x20 < 0x61 or a | 0x20 > 0x7A):
            break
        alike += 1
    at = first
    while at < end - 1 and (at < zone or at < end - alike):
        at += 1 + np.int64(buf[at])
    return at


@inline
def _is_tunnel_zone(buf, zone, end):
    """Tell whether ``zone`` has two labels or more, the last of them neither local nor arpa."""
    labels, last = 0, zone
    while zone < end - 1:
        labels += 1
        last = zone
        zone += 1 + np.int64(buf[zone])
    if labels < 2 or end - last < 6:
        return labels >= 2
    word = be32(buf, last + 1) | 0x20202020
    return not (word == LOCAL and buf[last] == 5) and not (word == ARPA and buf[last] == 4)


@inline
def _judge(packets, payload, flow, hashes, hit):
    """Fill ``hit`` for the packets of a flow; return whether there was anything.

    ``hashes`` (PACKET_LIMIT,), scratch: of the different names asked.
    """
    hit[FIRST], hit[VALUE], hit[STARTS], hit[MEANING] = -1, 0, 0, 0
    raw_orig = raw_resp = n_names = n_long = n_data = n_rare = n_text = n_address = 0
    n_answers = matches = n_pings = 0
    unread = False
    ping = ping_row = first_ping = np.int64(-1)
    asked = np.int64(-1)
    query_wire = np.int64(0)
    first = end = zone = np.int64(0)
    for row in range(flow.packets_start, flow.packets_stop):
        p = packets[row]
        start, stop, wire = p.start, p.stop, np.int64(p.payload_bytes)
        if stop - start >= RAW_BYTES and be32(payload, start) >> 8 == RAW_MAGIC:
            command = np.int64(payload[start + 3]) >> 4
            if 1 <= command <= RAW_PING:
                raw_orig += p.direction == 0
                raw_resp += p.direction == 1
                if hit[FIRST] < 0:
                    hit[FIRST] = row
                hit[LAST] = row
                if raw_orig > 0 and raw_resp > 0:
                    hit[MEANING] = RAW_BOTH
                    return True
                continue
        kind = probe(payload, start, stop, wire)
        if kind <= 0:
            continue
        at = start + HEADER_BYTES
        name_end = _name_end(payload, at, stop)
        flags = be16(payload, start + 2)
        if flags & RESPONSE == 0:
            query_wire = wire
            if kind != PLAIN and hit[MEANING] == 0:
                hit[FIRST] = hit[LAST] = row
                hit[MEANING] = IODINE_ASKED if kind == VERSION else DNS2TCP_ASKED
                if kind == HEX:
                    hit[MEANING] = 0
                hit[STARTS] = row == flow.packets_start
            if kind == HEX and asked < 0:
                asked = np.int64(row)
            digest = np.int64(0)
            for i in range(at, name_end if name_end > 0 else stop):
                digest = (digest * 31 + np.int64(payload[i])) & 0xFFFFFFFFFFF
            known = False
            for k in range(n_names):
                known = known or hashes[k] == digest
            if known:
                continue
            now = _ping(payload, at, stop)
            if now >= 0:
                if now != ping:
                    rises = ping >= 0 and 0 < now - ping <= PING_STEP
                    n_pings = n_pings + 1 if rises else 1
                    first_ping = first_ping if rises else np.int64(row)
                ping, ping_row = now, np.int64(row)
            hashes[n_names] = digest
            n_names += 1
            n_long += (name_end if name_end > 0 else stop) - at > LONG_NAME
            if name_end > 0 and name_end + QUESTION_BYTES <= stop:
                asked_type = be16(payload, name_end)
                n_rare += asked_type == NULL or asked_type >= PRIVATE
                n_address += asked_type == A or asked_type == AAAA
                n_text += (
                    asked_type == TXT
                    or asked_type == CNAME
                    or asked_type == MX
                    or asked_type == SRV
                    or asked_type == KEY
                )
            if name_end > 0:
                if end == 0:
                    first, end, zone = at, name_end, at
                else:
                    zone = _shared_zone(payload, first, zone, end, at, name_end)
            continue
        if flags & RCODE != 0 or be16(payload, start + 6) == 0:
            n_answers += 1
            continue
        n_answers += 1
        unread = unread or ((kind == VERSION or kind == CONTROL) and stop - start < wire)
        n_data += wire - query_wire >= ANSWER_DATA
        if name_end <= 0:
            continue
        data = name_end + QUESTION_BYTES
        if kind == VERSION and _says_version(payload, data, stop):
            hit[MEANING], hit[LAST] = IODINE, row
            hit[FIRST] = row if hit[FIRST] < 0 else hit[FIRST]
            return True
        data = _answer_data(payload, data, stop)
        if data == 0:
            continue
        if kind == CONTROL and _is_base64(payload, data, stop):
            hit[MEANING], hit[LAST] = DNS2TCP, row
            hit[FIRST] = row if hit[FIRST] < 0 else hit[FIRST]
            return True
        if kind == HEX and data + DNSCAT_BYTES + 2 < stop:
            own = _hex_header(payload, _first_data(payload, at), stop) & 0xFFFF
            back = _hex_header(payload, _first_data(payload, data), stop)
            if back >= 0 and back & 0xFFFF == own and not _same_label(payload, at, data, stop):
                matches += 1
                hit[VALUE], hit[LAST] = own, row
                if hit[FIRST] < 0 or matches == 1:
                    hit[FIRST] = asked if asked >= 0 else row
                if matches >= 2:
                    hit[MEANING] = DNSCAT2
                    return True
    if matches > 0:
        hit[MEANING] = DNSCAT2_ONCE
        return True
    if max(raw_orig, raw_resp) >= 2:
        hit[MEANING] = RAW_ONE
        return True
    if n_pings >= PINGS_LEAST and n_answers > 0:
        hit[MEANING], hit[VALUE] = IODINE_PINGS, n_pings
        hit[STARTS], hit[FIRST], hit[LAST] = 0, first_ping, ping_row
        return True
    if hit[MEANING] != 0 and (n_answers == 0 or unread):
        return True
    hit[STARTS], hit[FIRST], hit[LAST] = 0, flow.packets_start, flow.packets_stop - 1
    if n_names < NAMES_LEAST or end == 0 or not _is_tunnel_zone(payload, zone, end):
        return False
    hit[VALUE] = n_names
    if n_rare >= LONG_LEAST and n_answers >= ANSWERS_LEAST:
        hit[MEANING] = RARE_TYPE
        return True
    hit[VALUE] = n_long
    if n_long < LONG_LEAST or n_data < ANSWERS_LEAST // 2:
        return False
    if n_text >= n_address and n_text >= 2 and n_data >= ANSWERS_LEAST:
        hit[MEANING] = LONG_NAMES
        return True
    hit[MEANING] = LONG_ADDRESSES
    return n_address > n_text


@kernel
def scan(flows, packets, payload, hits):
    """Look at the UDP flows of a batch.

    Parameters
    ----------
    flows, packets, payload : ndarray of FLOW, SERIES, uint8, read
    hits : ndarray of int64, shape (n_flows, 6), written
        See ``_findings``.

    Returns
    -------
    int
        Rows of ``hits`` that were filled.
    """
    n_hits = 0
    hashes = np.zeros(PACKET_LIMIT, np.int64)
    for f in range(flows.size):
        if flows[f].proto != UDP:
            continue
        hit = hits[n_hits]
        hit[FLOW_ROW] = f
        if _judge(packets, payload, flows[f], hashes, hit):
            n_hits += 1
    return n_hits


def _is_digit(text: NDArray[np.uint8]) -> NDArray[np.bool_]:
    low = text | 0x20
    return ((text >= 0x30) & (text <= 0x39)) | ((low >= 0x61) & (low <= 0x66))


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose DNS with several questions, or whose first label is one of those of the tunnels."""
    chosen = heads.starts_with(RAW_MAGIC.to_bytes(3, "big"))
    packets = np.minimum(heads.column("orig_packets"), heads.column("resp_packets"))
    several = packets >= ANSWERS_LEAST
    asks, tunnels = np.zeros((2, heads.size), np.bool_)
    for first, kept in ((heads.orig, heads.orig_kept), (heads.resp, heads.resp_kept)):
        dns = (kept > HEADER_BYTES + HEX_DIGITS) & (first[:, 2] & 0x78 == 0)
        dns &= (first[:, 4] == 0) & (first[:, 5] == 1) & (first[:, 12] <= LABEL_MOST)
        chosen |= dns & several
        rows = np.flatnonzero(dns & ~chosen)
        first = first[rows]
        version = (first[:, 12] == VERSION_LABEL) & (first[:, 13] | 0x20 == VERSION_LETTER)
        dnscat = (first[:, 13:19] | 0x20 == np.frombuffer(b"dnscat", np.uint8)).all(axis=1)
        hexadecimal = (first[:, 12] >= HEX_DIGITS) & _is_digit(first[:, 13:23]).all(axis=1)
        chosen[rows] = version | dnscat | hexadecimal
        ping = (first[:, 12] == PING_LABEL) & (first[:, 13] | 0x20 == PING_LETTER)
        ping &= (first[:, 14] | 0x20 <= BASE32_ZERO + 1) & (first[:, 14] > 0x40)
        version &= (first[:, 14:17] | 0x20 == BASE32_ZERO).all(axis=1)
        second = np.minimum(first[:, 12] + 14, HEAD_BYTES - 1)  # behind its length
        control = first[np.arange(rows.size), second] == EQUALS  # "=auth" or the like
        asks[rows], tunnels[rows] = True, version | ping | control
    if tunnels.any():  # a resolver asks each of a tunnel's questions in a flow of its own
        ends = [heads.column(f"{side}_lo") for side in ("orig", "resp")]
        chosen |= asks & np.logical_and(*(np.isin(end, end[tunnels]) for end in ends))
    return chosen


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find tunnels in DNS among the UDP flows of a batch."""
    hits = find_hits(batch, scan)
    found = worded(batch, DETECTOR.name, hits, _MEANINGS)
    named = set(hits[~np.isin(hits[:, MEANING], BY_BEHAVIOUR), FLOW_ROW].tolist())
    others = under_zones(batch, found, named, DETECTOR.name)
    return sorted([*found, *others], key=lambda evidence: evidence.flow)


DETECTOR = Detector("dns-tunnel", _FAMILY, (UDP,), 512, detect, select)
