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
read, of datagrams that the capture holds whole. On a two-core EPYC machine an ordinary flow takes 15
microseconds, half of them in the library, the worst that was made up 170. Kernels find the packets
and join the frames, for all flows at once; whose hello is not whole yet is read on and joined again.

Google's own versions up to Q046 do not encrypt the message that names the server, a list of tags
(QUIC Crypto, 2016); Q050 puts that message into CRYPTO frames.
"""

import functools
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors.applications._quic_kernels import (
    INITIAL_COLUMNS,
    MOST_BYTES,
    PLACE,
    VERSION_2,
    join_crypto,
    list_initials,
)
from classifier.tables import FlowBatch

__all__ = ["Keys", "Message", "client_keys", "read_messages"]

#: Packets of a flow that are decrypted, whether that succeeds or not.
MOST_PACKETS = 8
#: Sets of keys that are derived for a flow.
MOST_KEYS = 3

_TAG_BYTES = 16
_SAMPLE_AT, _SAMPLE_BYTES = 4, 16  # RFC 9001 5.4.2

_V1 = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")  # RFC 9001 5.2, draft-33
_V2 = bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9")  # RFC 9369 3.3.1
_DRAFT_29 = bytes.fromhex("afbfec289993d24c9e9786f19c6111e04390a899")  # draft-ietf-quic-tls-29
_DRAFT_23 = bytes.fromhex("c3eef712c72ebb5a11a7d2432bb46365bef9f502")  # draft-ietf-quic-tls-23
_DRAFT_22 = bytes.fromhex("7fbcdb0e7c66bbe9193a96cd21519ebd7a02644a")  # draft-ietf-quic-tls-22
# Google's: Wireshark, epan/dissectors/packet-quic.c
_Q050 = bytes.fromhex("504574efd066fe2f9d945cfcdbd3a7f0d3b56b45")
_T050 = bytes.fromhex("7ff579e5acd072915580304c43a2367c60488310")
_T051 = bytes.fromhex("7a4edef4e7ccee5fa4506c19124fc8ccda6e033d")

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


class Message(NamedTuple):
    """First message of a client as far as it is known: from its type on, without holes."""

    flow: int
    data: bytes


def _is_reserved(version: Any) -> Any:
    """Tell whether a version is one that makes servers offer theirs (RFC 9000 15)."""
    return (version & 0x0F0F0F0F) == 0x0A0A0A0A


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


class Packet(NamedTuple):
    """An Initial packet: places are in the payload of the batch."""

    place: int
    direction: int
    datagram: int
    version: int
    identifier: int
    identifier_stop: int
    start: int
    number: int  # place of the protected packet number
    stop: int


def find_packets(batch: FlowBatch, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the Initial packets of flows ``rows``: one row of ``list_initials`` for each."""
    given = batch.flows, batch.packets, batch.payload, rows, _VERSIONS
    found = np.empty((4 * rows.size, INITIAL_COLUMNS), np.int64)
    n = list_initials(*given, found)
    if n > found.shape[0]:
        found = np.empty((n, INITIAL_COLUMNS), np.int64)
        list_initials(*given, found)
    return found[:n]


@functools.cache
def _ciphers() -> tuple[Any, ...]:
    """Import what decrypts, once there is something to decrypt."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import ECB

    return InvalidTag, Cipher, AESGCM, AES, ECB()


def open_packet(data: memoryview, packet: Packet, keys: Keys) -> bytes | None:
    """Return the frames of a packet, None where these are not its keys."""
    invalid_tag, cipher, aead, aes, ecb = _ciphers()
    number, stop = packet.number, packet.stop
    sample = number + _SAMPLE_AT
    mask = cipher(aes(keys.hp), ecb).encryptor().update(data[sample : sample + _SAMPLE_BYTES])
    first = data[packet.start] ^ (mask[0] & 0x0F)
    size = (first & 3) + 1
    body = number + size
    if stop - body < _TAG_BYTES:
        return None
    value = int.from_bytes(data[number:body]) ^ int.from_bytes(mask[1 : 1 + size])
    clear = bytes(data[packet.start + 1 : number])
    header = b"%c%b%b" % (first, clear, value.to_bytes(size))
    # The vector and the packet number, which fills its last bytes
    tail = int.from_bytes(keys.iv[8:]) ^ value
    nonce = keys.iv[:8] + tail.to_bytes(4)
    try:
        frames: bytes = aead(keys.key).decrypt(nonce, data[body:stop], header)
    except invalid_tag:
        return None
    return frames


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
    """The client's side of a flow: its packets, keys known so far, what is left to spend, frames."""

    def __init__(self, data: memoryview, flow: int) -> None:
        self.data = data
        self.flow = flow
        self.packets: list[Packet] = []
        self.known: dict[tuple[int, bytes], list[Keys]] = {}
        self.right: Keys | None = None
        self.keys_left = MOST_KEYS
        self.packets_left = MOST_PACKETS
        self.side = -1
        self.next = 0
        self.frames: list[bytes] = []
        self.joined = b""

    def keys_of(self, packet: Packet) -> list[Keys]:
        """Return the keys that a packet's own identifier gives."""
        version = packet.version
        identifier = bytes(self.data[packet.identifier : packet.identifier_stop])
        if (version, identifier) not in self.known:
            salts = _SALTS.get(version, ())
            if _is_reserved(version):
                salts = (_V1, _DRAFT_29)
            salts = salts[: self.keys_left]
            self.keys_left -= len(salts)
            made = [client_keys(version, salt, identifier) for salt in salts]
            self.known[version, identifier] = made
        return self.known[version, identifier]

    def opened(self, packet: Packet, keys: Keys) -> bytes | None:
        """Return the frames of a packet, None where these are not its keys or enough was tried."""
        if self.packets_left == 0:
            return None
        self.packets_left -= 1
        return open_packet(self.data, packet, keys)

    def frames_of(self, packet: Packet) -> bytes | None:
        """Decrypt a packet with the keys that fitted before, then with those of its identifier."""
        right = self.right
        frames = self.opened(packet, right) if right is not None else None
        if frames is not None or self.packets_left == 0:
            return frames
        for keys in self.keys_of(packet):
            if keys is not right:
                frames = self.opened(packet, keys)
                if frames is not None:
                    self.right = keys
                    break
        return frames

    def goes_on(self) -> bool:
        """Decrypt up to the end of the next datagram that is the client's; tell whether one is."""
        mine = False
        datagram = -1
        for packet in self.packets[self.next :]:
            if packet.datagram != datagram:
                if mine:
                    break
                datagram = packet.datagram
            self.next += 1
            if self.side not in (-1, packet.direction):
                continue
            frames = self.frames_of(packet)
            if frames is not None:
                self.frames.append(frames)
                mine = True
        if mine:
            self.side = self.packets[self.next - 1].direction
        return mine


def _join(clients: list[_Client]) -> None:
    """Put together what was decrypted so far."""
    every = [frames for client in clients for frames in client.frames]
    spans = np.cumsum([0, *map(len, every)])
    borders = np.cumsum([0, *(len(client.frames) for client in clients)])
    joined = bytearray(len(clients) * MOST_BYTES)
    sizes = np.empty(len(clients), np.int64)
    data = np.frombuffer(bytearray(b"".join(every)), np.uint8)
    join_crypto(data, spans, borders, np.frombuffer(joined, np.uint8), sizes)
    for i, (client, size) in enumerate(zip(clients, sizes.tolist(), strict=True)):
        client.joined = bytes(joined[i * MOST_BYTES : i * MOST_BYTES + size])


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
    data = batch.payload.data
    clients = [_Client(data, flow) for flow in rows.tolist()]
    for packet in find_packets(batch, rows).tolist():
        clients[packet[PLACE]].packets.append(Packet._make(packet))
    unread = clients
    while unread := [client for client in unread if client.goes_on()]:
        _join(unread)
        unread = [client for client in unread if not is_whole(client.joined)]
    return [Message(client.flow, client.joined) for client in clients if client.joined]


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
