"""Kernels that check a message beyond bytes at fixed places.

Each takes a message ``buf[start:stop]`` of ``wire`` bytes on the wire, of which the compiler only
knows that it has a byte, and returns ``NOT``, ``AGREES`` (well-formed as far as it goes: too little
to be sure) or ``SURE``.
"""

import numpy as np

from classifier._jit import inline
from classifier.detectors._reading import be16, be32

__all__ = ["AGREES", "NBNS", "NOT", "SURE", "check_dns", "check_records", "check_rtcp"]

NOT, AGREES, SURE = 0, 1, 2
#: A DNS message whose question is a NetBIOS name.
NBNS = 3

_RECORD_HEADER = 5  # RFC 8446 5.1: type, version, length
_DTLS_HEADER = 13  # RFC 6347 4.1: type, version, epoch, sequence number, length
_RECORD_MAX = 16384 + 2048  # RFC 5246 6.2.3
_HANDSHAKE = 22


@inline
def check_records(buf, start, stop, wire, dtls):
    """Check a chain of TLS (``dtls`` 0) or DTLS records; the signature has seen the first type."""
    header = _DTLS_HEADER if dtls else _RECORD_HEADER
    major = buf[start + 1]
    at = start
    records = 0
    while at + header <= stop:
        size = be16(buf, at + header - 2)
        kind = np.int64(buf[at])
        if kind < 20 or kind > 25 or buf[at + 1] != major or size == 0 or size > _RECORD_MAX:
            return NOT
        if kind == _HANDSHAKE and records == 0 and at + header + 4 <= stop:
            message = np.int64(buf[at + header])
            declared = (np.int64(buf[at + header + 1]) << 16) | be16(buf, at + header + 2)
            # A hello is at least version, random, session and one choice: 2 + 32 + 1 + 2 + 1.
            if (message == 1 or message == 2) and 38 <= declared < 65536:
                return SURE
        if dtls and at + header + size > start + wire:
            return NOT  # a record does not span datagrams
        records += 1
        at += header + size
    # A record that ends with the segment is no chance: type, version and length make 38 bits.
    if records >= 2 or at == start + wire:
        return SURE
    return AGREES if at > stop else NOT


@inline
def check_dns(buf, start, stop, wire):
    """Check header, first name, type and class of a DNS message (RFC 1035 4.1)."""
    if stop - start < 12 or wire < 12:
        return NOT
    flags = be16(buf, start + 2)
    opcode = (flags >> 11) & 15
    questions = be16(buf, start + 4)
    answers = be16(buf, start + 6)
    others = be16(buf, start + 8) + be16(buf, start + 10)
    # A question takes 5 bytes at least, a record 11.
    if opcode > 8 or (flags & 0x0F) > 11 or 12 + 5 * questions + 11 * (answers + others) > wire:
        return NOT
    if flags & 0x8000 == 0 and (questions == 0 or flags & 0x040F not in (0, 0x0400)):
        return NOT
    if questions + answers + others == 0:
        return AGREES if wire == 12 else NOT
    at = start + 12
    labels = 0
    odd = False  # bytes that no host name has
    encoded = False  # RFC 1001 14.1: a NetBIOS name is 32 letters A to P
    while at < stop and buf[at] != 0 and buf[at] < 0xC0:
        size = np.int64(buf[at])
        if size > 63 or at + size - start > 267:
            return NOT
        encoded = encoded or (labels == 0 and size == 32)
        for k in range(at + 1, min(at + 1 + size, stop)):
            odd = odd or buf[k] < 0x20 or buf[k] > 0x7E
            encoded = encoded and (labels > 0 or (0x41 <= buf[k] <= 0x50))
        labels += 1
        at += 1 + size
    at += 2 if at < stop and buf[at] >= 0xC0 else 1
    if at + 4 > stop:
        return NOT if at + 4 > start + wire else AGREES
    kind = be16(buf, at)
    family = be16(buf, at + 2) & 0x7FFF  # the top bit is mDNS's (RFC 6762 5.4, 10.2)
    # Types up to 263 and DNSSEC lookaside at 32768 are assigned; 65280 and above are private.
    if kind == 0 or 263 < kind < 32768 or 32769 < kind < 65280:
        return NOT
    if not (1 <= family <= 4 or family == 254 or family == 255 or opcode == 5 or questions == 0):
        return NOT
    if encoded and (kind == 32 or kind == 33):
        return NBNS
    if opcode > 5 or odd:
        return AGREES
    ends = questions != 1 or answers + others > 0 or at + 4 == start + wire
    return SURE if ends else AGREES


@inline
def check_rtcp(buf, start, stop, wire):
    """Check that RTCP packets fill the datagram (RFC 3550 6.1)."""
    at = start
    packets = 0
    while at + 4 <= stop:
        size = 4 * (be16(buf, at + 2) + 1)
        if (buf[at] & 0xC0) != 0x80 or not (200 <= buf[at + 1] <= 207):
            # SRTCP: all after the first packet's sender is ciphertext (RFC 3711 3.4).
            return AGREES if packets else NOT
        if at + size > start + wire:
            return NOT
        packets += 1
        at += size
    if at == start + wire:
        return SURE if packets > 1 or be32(buf, start + 4) != 0 else AGREES
    return AGREES if packets else NOT
