"""Messages of VPN protocols, written from their specifications; the secrets are seeded bytes."""

import random
import struct

_SECRETS = random.Random("messages of VPN protocols")


def secret(n: int) -> bytes:
    """Return what stands for a key, a nonce or ciphertext."""
    return _SECRETS.randbytes(n)


# WireGuard


def wg_initiation(sender: int) -> bytes:
    return struct.pack("<II", 1, sender) + secret(124) + bytes(16)


def wg_response(sender: int, receiver: int) -> bytes:
    return struct.pack("<III", 2, sender, receiver) + secret(64) + bytes(16)


def wg_cookie(receiver: int) -> bytes:
    return struct.pack("<II", 3, receiver) + secret(56)


def wg_data(receiver: int, counter: int, size: int = 32) -> bytes:
    return struct.pack("<IIQ", 4, receiver, counter) + secret(size - 16)


# OpenVPN: sid is 8 bytes; hmac 0 means no tls-auth


def ovpn_control(
    opcode: int,
    sid: bytes,
    *,
    acks: tuple[int, ...] = (),
    peer: bytes = b"",
    packet_id: int | None = 0,
    hmac: int = 0,
    replay: int = 1,
    body: bytes = b"",
    key_id: int = 0,
) -> bytes:
    head = bytes([opcode << 3 | key_id]) + sid
    if hmac:
        head += secret(hmac) + struct.pack(">II", replay, 1_700_000_000)
    head += bytes([len(acks)]) + b"".join(a.to_bytes(4, "big") for a in acks)
    head += peer if acks else b""
    if packet_id is not None:
        head += packet_id.to_bytes(4, "big")
    return head + body


def ovpn_crypt(opcode: int, sid: bytes, replay: int, encrypted: int, time: int = 1_700_000_000):
    return bytes([opcode << 3]) + sid + struct.pack(">II", replay, time) + secret(32 + encrypted)


def ovpn_data_v2(peer_id: int, packet_id: int, size: int = 100) -> bytes:
    return struct.pack(">II", 9 << 27 | peer_id, packet_id) + secret(size)


def ovpn_data_v1(packet_id: int, size: int = 100) -> bytes:
    return struct.pack(">BI", 6 << 3, packet_id) + secret(size)


def framed(*messages: bytes) -> bytes:
    """Return messages as OpenVPN sends them over TCP."""
    return b"".join(struct.pack(">H", len(m)) + m for m in messages)


# IPsec


def ike(
    initiator: bytes,
    responder: bytes = bytes(8),
    *,
    version: int = 0x20,
    exchange: int = 34,
    flags: int = 0x08,
    message_id: int = 0,
    following: int = 33,
    body: int = 40,
) -> bytes:
    content = struct.pack(">BBH", 0, 0, body) + secret(body - 4) if body else b""
    head = struct.pack(">BBBBI", following, version, exchange, flags, message_id)
    return initiator + responder + head + struct.pack(">I", 28 + body) + content


def esp(spi: int, sequence: int, size: int = 80) -> bytes:
    return struct.pack(">II", spi, sequence) + secret(size)


def ah(spi: int, sequence: int, content: bytes = b"x" * 20) -> bytes:
    return struct.pack(">BBHII", 6, 4, 0, spi, sequence) + secret(12) + content


# What encapsulations carry


def ipv4(body: bytes = b"payload!", proto: int = 17) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 7, 0, 64, proto, 0)
    return head + bytes([10, 0, 0, 1, 10, 0, 0, 2]) + body


def ipv6(
    body: bytes = b"payload!", source: str = "20010db8" + "0" * 23 + "1", proto: int = 17
) -> bytes:
    head = struct.pack(">IHBB", 6 << 28, len(body), proto, 64)
    return head + bytes.fromhex(source) + bytes.fromhex("20010db8" + "0" * 23 + "2") + body


def ethernet(packet: bytes, ethertype: int = 0x0800, tag: bytes = b"") -> bytes:
    return bytes.fromhex("020000000001020000000002") + tag + struct.pack(">H", ethertype) + packet
