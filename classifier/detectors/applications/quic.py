"""Client hellos inside QUIC: Initial packets are decrypted with keys that anyone can derive.

How this works
--------------
An Initial packet (RFC 9000 17.2.2) is protected by keys made of a salt that the version fixes and
of the connection identifier that the client first sent (RFC 9001 5.2)::

    offset  bytes  field
    0       1      11, type 2 bits, 4 protected bits: reserved, length of the packet number less 1
    1       4      version
    5       1+n    destination's connection identifier, 20 bytes at most
    ..      1+n    source's connection identifier
    ..      v+n    token, after its length
    ..      v      bytes that follow: packet number and payload
    ..      1-4    packet number, protected
    ..      ..     frames, encrypted, and a tag of 16 bytes

Four bytes after its beginning the packet number is followed by the sample that takes the protection
off the header (RFC 9001 5.4). The hello lies in CRYPTO frames in any order (RFC 9000 19.6), over
several packets of a datagram and over several datagrams. After a Retry the client sends it again
under the identifier that the server chose.

Cost: whoever writes a capture may fill it with Initial packets, so for a flow no more than
``MOST_KEYS`` sets of keys are derived, ``MOST_PACKETS`` packets decrypted and ``MOST_PIECES`` frames
read, of datagrams that the capture holds whole. On a two-core EPYC machine an ordinary flow takes 30
microseconds, the worst that was made up 200.

Google's own versions up to Q046 do not encrypt the message that names the server, a list of tags
(QUIC Crypto, 2016); Q050 puts that message into CRYPTO frames.
"""

import functools
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors.applications.places import packets_of
from classifier.tables import FlowBatch

__all__ = ["Initials", "Keys", "Message", "client_keys", "read_messages"]

#: Packets of a flow that are decrypted, whether that succeeds or not.
MOST_PACKETS = 8
#: Sets of keys that are derived for a flow.
MOST_KEYS = 3
#: CRYPTO frames of a flow that are read; browsers that scatter a hello make some tens.
MOST_PIECES = 200
#: Bytes of a hello that are put together; two datagrams hold fewer.
MOST_BYTES = 4096

_IDENTIFIER_MOST = 20  # RFC 9000 17.2
_TAG_BYTES = 16
_SAMPLE_AT, _SAMPLE_BYTES = 4, 16  # RFC 9001 5.4.2
_LEAST_DATAGRAM = 5 + 2 + 2 + _SAMPLE_AT + _SAMPLE_BYTES

_V1 = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")  # RFC 9001 5.2, draft-33
_V2 = bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9")  # RFC 9369 3.3.1
_DRAFT_29 = bytes.fromhex("afbfec289993d24c9e9786f19c6111e04390a899")  # draft-ietf-quic-tls-29
_DRAFT_23 = bytes.fromhex("c3eef712c72ebb5a11a7d2432bb46365bef9f502")  # draft-ietf-quic-tls-23
_DRAFT_22 = bytes.fromhex("7fbcdb0e7c66bbe9193a96cd21519ebd7a02644a")  # draft-ietf-quic-tls-22
# Google's: Wireshark, epan/dissectors/packet-quic.c
_Q050 = bytes.fromhex("504574efd066fe2f9d945cfcdbd3a7f0d3b56b45")
_T050 = bytes.fromhex("7ff579e5acd072915580304c43a2367c60488310")
_T051 = bytes.fromhex("7a4edef4e7ccee5fa4506c19124fc8ccda6e033d")

VERSION_2 = 0x6B3343CF
_SALTS: dict[int, tuple[bytes, ...]] = {
    1: (_V1,),
    VERSION_2: (_V2,),
    **dict.fromkeys((0xFF000021, 0xFF000022), (_V1,)),
    **dict.fromkeys(range(0xFF00001D, 0xFF000021), (_DRAFT_29,)),
    **dict.fromkeys(range(0xFF000017, 0xFF00001D), (_DRAFT_23,)),
    0xFF000016: (_DRAFT_22,),
    0x51303530: (_Q050,),
    0x54303530: (_T050,),
    0x54303531: (_T051,),
    # Facebook's mvfst: an alias of a draft each, of which only the first two are documented
    0xFACEB001: (_DRAFT_22,),
    **dict.fromkeys((0xFACEB002, 0xFACEB00E, 0xFACEB010, 0xFACEB011), (_DRAFT_23, _DRAFT_29)),
}
_VERSIONS = np.array(sorted(_SALTS), np.int64)


class Keys(NamedTuple):
    """What protects Initial packets of one side: AEAD key object, its vector, header's key."""

    key: bytes
    iv: bytes
    hp: bytes


class Initials(NamedTuple):
    """Datagrams that begin with an Initial packet, ordered by flow. Arrays have shape (n,)."""

    flow: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    direction: NDArray[np.uint8]


class Message(NamedTuple):
    """First message of a client as far as it is known: from its type on, without holes."""

    flow: int
    data: bytes


def _is_reserved(version: Any) -> Any:
    """Tell whether a version is one that makes servers offer theirs (RFC 9000 15)."""
    return (version & 0x0F0F0F0F) == 0x0A0A0A0A


def find_initials(batch: FlowBatch, rows: NDArray[np.int64]) -> Initials:
    """Find the datagrams of flows ``rows`` that were kept whole and begin with an Initial packet.

    Returns
    -------
    Initials
        ``flow`` holds flow rows.
    """
    flow, packets = packets_of(batch, rows)
    start, stop = packets["start"], packets["stop"]
    size = stop - start
    whole = np.flatnonzero((size >= _LEAST_DATAGRAM) & (size == packets["payload_bytes"]))
    at, payload = start[whole], batch.payload
    version = np.zeros(whole.size, np.int64)
    for i in range(1, 5):
        version = version << 8 | payload[at + i]
    # Long header with the fixed bit, then the type: RFC 9000 17.2.2, RFC 9369 3.2
    kind = np.where(version == VERSION_2, 0xD0, 0xC0)
    known = np.isin(version, _VERSIONS) | _is_reserved(version)
    chosen = whole[known & (payload[at] & 0xF0 == kind)]
    return Initials(flow[chosen], start[chosen], stop[chosen], packets["direction"][chosen])


def _label(text: bytes, size: int) -> bytes:
    """Return what HKDF-Expand-Label (RFC 8446 7.1) hashes for its only block, without context."""
    text = b"tls13 " + text
    return size.to_bytes(2) + len(text).to_bytes(1) + text + b"\0\x01"


_CLIENT = _label(b"client in", 32)
_KEY, _IV, _HP = (
    _label(b"quic " + name, n) for name, n in ((b"key", 16), (b"iv", 12), (b"hp", 16))
)
_KEY_2, _IV_2, _HP_2 = (
    _label(b"quicv2 " + name, n) for name, n in ((b"key", 16), (b"iv", 12), (b"hp", 16))
)


# HMAC (RFC 2104) by hand: three keys are made of one secret, whose pads need not be made three times
_BLOCK_BYTES = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def _pads(key: bytes) -> tuple[bytes, bytes]:
    block = key.ljust(_BLOCK_BYTES, b"\0")
    return block.translate(_INNER), block.translate(_OUTER)


def _hmac(pads: tuple[bytes, bytes], text: bytes) -> bytes:
    inner, outer = pads
    return sha256(outer + sha256(inner + text).digest()).digest()


_SALT_PADS = {salt: _pads(salt) for salts in _SALTS.values() for salt in salts}


def client_keys(version: int, salt: bytes, identifier: bytes) -> Keys:
    """Derive the keys of a client's Initial packets (RFC 9001 5.2, RFC 9369 3.3.2)."""
    initial = _hmac(_SALT_PADS[salt], identifier)
    secret = _pads(_hmac(_pads(initial), _CLIENT))
    key, iv, hp = (_KEY_2, _IV_2, _HP_2) if version == VERSION_2 else (_KEY, _IV, _HP)
    return Keys(_hmac(secret, key)[:16], _hmac(secret, iv)[:12], _hmac(secret, hp)[:16])


_VALUE = {size: (1 << (8 * size - 2)) - 1 for size in (1, 2, 4, 8)}


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of variable length (RFC 9000 16); return it and where it ends.

    Raises
    ------
    IndexError
        If it is not all there.
    """
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + size]) & _VALUE[size], at + size


class Packet(NamedTuple):
    """Where things are in an Initial packet."""

    version: int
    identifier: bytes
    start: int
    number: int  # place of the protected packet number
    stop: int


def split_datagram(data: bytes) -> Iterator[Packet]:
    """Yield the Initial packets of a datagram, which may hold several packets (RFC 9000 12.2)."""
    start, end = 0, len(data)
    try:
        while start + _LEAST_DATAGRAM <= end and data[start] & 0xC0 == 0xC0:
            version = int.from_bytes(data[start + 1 : start + 5])
            at = start + 6 + data[start + 5]
            identifier = data[start + 6 : at]
            at += 1 + data[at]
            kind = (data[start] >> 4 & 3) - (version == VERSION_2)
            if kind == 0:
                size, at = _number(data, at)
                at += size
            size, at = _number(data, at)
            stop = at + size
            if kind == 3 or len(identifier) > _IDENTIFIER_MOST or stop > end:
                return
            if kind == 0 and size >= _SAMPLE_AT + _SAMPLE_BYTES:
                yield Packet(version, identifier, start, at, stop)
            start = stop
    except IndexError:
        return


@functools.cache
def _ciphers() -> tuple[Any, ...]:
    """Import what decrypts, once there is something to decrypt."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import ECB

    return InvalidTag, Cipher, AESGCM, AES, ECB()


def open_packet(data: bytes, packet: Packet, keys: Keys) -> bytes | None:
    """Return the frames of a packet, None where these are not its keys."""
    invalid_tag, cipher, aead, aes, ecb = _ciphers()
    sample = packet.number + _SAMPLE_AT
    mask = cipher(aes(keys.hp), ecb).encryptor().update(data[sample : sample + _SAMPLE_BYTES])
    first = data[packet.start] ^ (mask[0] & 0x0F)
    size = (first & 3) + 1
    body = packet.number + size
    if packet.stop - body < _TAG_BYTES:
        return None
    number = int.from_bytes(data[packet.number : body]) ^ int.from_bytes(mask[1 : 1 + size])
    header = b"%c%b%b" % (first, data[packet.start + 1 : packet.number], number.to_bytes(size))
    # The vector and the packet number, which fills its last bytes
    tail = int.from_bytes(keys.iv[8:]) ^ number
    nonce = keys.iv[:8] + tail.to_bytes(4)
    try:
        frames: bytes = aead(keys.key).decrypt(nonce, data[body : packet.stop], header)
    except invalid_tag:
        return None
    return frames


#: PADDING and PING, of which browsers strew many between the pieces of a hello.
_FILLING = re.compile(rb"[\0\x01]*")


def crypto_pieces(frames: bytes, most: int = MOST_PIECES) -> list[tuple[int, bytes]]:
    """Return offset and bytes of CRYPTO frames, up to the first frame that cannot be read."""
    at, end = 0, len(frames)
    pieces: list[tuple[int, bytes]] = []
    try:
        while len(pieces) < most:
            kind = frames[at]
            if kind <= 1:
                at = _FILLING.match(frames, at).end()  # type: ignore[union-attr]
            elif kind in (6, 8):  # CRYPTO; 8 in Google's versions
                # A call for each number would be half of the time: hellos come in many frames
                offset = frames[at + 1]
                if offset < 0x40:
                    at += 2
                elif offset < 0x80:
                    offset = (offset & 0x3F) << 8 | frames[at + 2]
                    at += 3
                else:
                    offset, at = _number(frames, at + 1)
                size = frames[at]
                if size < 0x40:
                    at += 1
                elif size < 0x80:
                    size = (size & 0x3F) << 8 | frames[at + 1]
                    at += 2
                else:
                    size, at = _number(frames, at)
                if offset < MOST_BYTES:
                    pieces.append((offset, frames[at : at + size]))
                at += size
            elif kind <= 3:  # ACK: largest, delay, ranges, first range, pairs, counts of ECN
                at += 1
                numbers = 4
                read = 0
                while read < numbers:
                    value, at = _number(frames, at)
                    read += 1
                    if read == 3:
                        numbers += 2 * min(value, end) + 3 * (kind == 3)
            else:
                break
    except IndexError:
        pass
    return pieces


def join_pieces(pieces: list[tuple[int, bytes]]) -> bytes:
    """Return the bytes from offset 0 on up to the first hole."""
    known = 0
    parts: list[bytes] = []
    for offset, data in sorted(pieces):
        if offset > known:
            break
        more = data[known - offset :] if offset < known else data
        parts.append(more)
        known += len(more)
    return b"".join(parts)[:MOST_BYTES]


def is_whole(message: bytes) -> bool:
    """Tell whether a handshake message is complete."""
    return len(message) >= 4 and len(message) - 4 >= int.from_bytes(message[1:4])


class _Client:
    """The client's side of a flow: keys known so far, what is left to spend, the hello's pieces."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, bytes], list[Keys]] = {}
        self.right: Keys | None = None
        self.keys_left = MOST_KEYS
        self.packets_left = MOST_PACKETS
        self.pieces: list[tuple[int, bytes]] = []

    def keys_of(self, packet: Packet) -> list[Keys]:
        """Return the keys that a packet's own identifier gives."""
        name = (packet.version, packet.identifier)
        if name not in self.known:
            salts = _SALTS.get(packet.version, ())
            if _is_reserved(packet.version):
                salts = (_V1, _DRAFT_29)
            salts = salts[: self.keys_left]
            self.keys_left -= len(salts)
            self.known[name] = [client_keys(packet.version, s, packet.identifier) for s in salts]
        return self.known[name]

    def opened(self, datagram: bytes, packet: Packet, keys: Keys) -> bytes | None:
        """Return the frames of a packet, None where these are not its keys or enough was tried."""
        if self.packets_left == 0:
            return None
        self.packets_left -= 1
        return open_packet(datagram, packet, keys)

    def frames_of(self, datagram: bytes, packet: Packet) -> bytes | None:
        """Decrypt a packet with the keys that fitted before, then with those of its identifier."""
        right = self.right
        frames = self.opened(datagram, packet, right) if right is not None else None
        if frames is not None or self.packets_left == 0:
            return frames
        for keys in self.keys_of(packet):
            if keys is not right:
                frames = self.opened(datagram, packet, keys)
                if frames is not None:
                    self.right = keys
                    break
        return frames

    def read(self, datagram: bytes) -> bool:
        """Decrypt a datagram's Initial packets; tell whether any was the client's."""
        mine = False
        for packet in split_datagram(datagram):
            frames = self.frames_of(datagram, packet)
            if frames is not None:
                self.pieces += crypto_pieces(frames, MOST_PIECES - len(self.pieces))
                mine = True
        return mine


def read_messages(batch: FlowBatch, rows: NDArray[np.int64]) -> list[Message]:
    """Read the first message of the clients of QUIC flows.

    Parameters
    ----------
    batch : FlowBatch
    rows : ndarray of int64
        Flow rows.

    Returns
    -------
    list of Message
        At most one for each flow, in their order.
    """
    found = find_initials(batch, rows)
    payload = batch.payload
    messages: list[Message] = []
    borders = np.flatnonzero(np.diff(found.flow, prepend=-1, append=-1))
    for first, last in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        client = _Client()
        side = -1
        joined = b""
        for k in range(first, last):
            if side not in (-1, found.direction[k]):
                continue
            if client.read(payload[found.start[k] : found.stop[k]].tobytes()):
                side = int(found.direction[k])
                joined = join_pieces(client.pieces)
                if is_whole(joined):
                    break
        if joined:
            messages.append(Message(int(found.flow[first]), joined))
    return messages


def google_name(data: bytes) -> bytes:
    """Return the server name of Google's own client hello (QUIC Crypto, 2016), empty where none.

    The message is ``CHLO``, a count of tags, two bytes, then a tag of four bytes and the offset of
    its value's end for each, least significant byte first, then the values.
    """
    at = data.find(b"CHLO")
    if at < 0:
        return b""
    count = int.from_bytes(data[at + 4 : at + 6], "little")
    values = at + 8 + 8 * count
    begin = 0
    for tag in range(at + 8, min(values, len(data) - 7), 8):
        end = int.from_bytes(data[tag + 4 : tag + 8], "little")
        if data[tag : tag + 4] == b"SNI\0":
            whole = begin < end and values + end <= len(data)
            return data[values + begin : values + end] if whole else b""
        begin = end
    return b""
