"""Initial packets of QUIC made the other way round: frames in, protected packet out.

Written from RFC 9001 5 and RFC 9369 3 with the key derivation of the library ``cryptography``.
"""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

SALTS = {
    0x00000001: "38762cf7f55934b34d179ae6a4c80cadccbb7f0a",
    0x6B3343CF: "0dede3def700a6db819381be6e269dcbf9bd2ed9",
    0xFF00001D: "afbfec289993d24c9e9786f19c6111e04390a899",
    0xFF000020: "afbfec289993d24c9e9786f19c6111e04390a899",
    0xFF000017: "c3eef712c72ebb5a11a7d2432bb46365bef9f502",
    0xFF00001B: "c3eef712c72ebb5a11a7d2432bb46365bef9f502",
    0xFF000016: "7fbcdb0e7c66bbe9193a96cd21519ebd7a02644a",
    0xFF000022: "38762cf7f55934b34d179ae6a4c80cadccbb7f0a",
    0x54303531: "7a4edef4e7ccee5fa4506c19124fc8ccda6e033d",
}


def number(value: int) -> bytes:
    """Return a number of variable length (RFC 9000 16), two bytes or the fewest beyond."""
    if value < 1 << 14:
        return (value | 1 << 14).to_bytes(2)
    return (value | 2 << 30).to_bytes(4)


def expand(secret: bytes, label: str, size: int) -> bytes:
    text = b"tls13 " + label.encode()
    info = size.to_bytes(2) + bytes([len(text)]) + text + b"\0"
    return HKDFExpand(SHA256(), size, info).derive(secret)


def keys(version: int, identifier: bytes, side: str = "client") -> tuple[bytes, bytes, bytes]:
    """Return key, vector and header's key of a side's Initial packets."""
    extract = HMAC(bytes.fromhex(SALTS.get(version, SALTS[1])), SHA256())
    extract.update(identifier)
    secret = expand(extract.finalize(), f"{side} in", 32)
    prefix = "quicv2" if version == 0x6B3343CF else "quic"
    return tuple(  # type: ignore[return-value]
        expand(secret, f"{prefix} {name}", size) for name, size in (("key", 16), ("iv", 12), ("hp", 16))
    )  # fmt: skip


def seal(
    frames: bytes,
    identifier: bytes,
    *,
    version: int = 1,
    source: bytes = b"",
    token: bytes = b"",
    packet_number: int = 2,
    width: int = 4,
    keyed_by: bytes | None = None,
    side: str = "client",
) -> bytes:
    """Return a protected Initial packet.

    Parameters
    ----------
    frames : bytes
    identifier : bytes
        Destination's connection identifier.
    keyed_by : bytes, optional
        The identifier that the keys are made of, where that is another.
    """
    key, iv, hp = keys(version, identifier if keyed_by is None else keyed_by, side)
    kind = 1 if version == 0x6B3343CF else 0
    header = bytes([0xC0 | kind << 4 | (width - 1)]) + version.to_bytes(4)
    header += bytes([len(identifier)]) + identifier + bytes([len(source)]) + source
    header += (bytes([len(token)]) if len(token) < 64 else number(len(token))) + token
    header += number(width + len(frames) + 16)
    at = len(header)
    header += packet_number.to_bytes(width)
    nonce = bytes(a ^ b for a, b in zip(iv, packet_number.to_bytes(12), strict=True))
    packet = bytearray(header + AESGCM(key).encrypt(nonce, frames, header))
    mask = (
        Cipher(algorithms.AES(hp), modes.ECB()).encryptor().update(bytes(packet[at + 4 : at + 20]))
    )
    packet[0] ^= mask[0] & 0x0F
    for i in range(width):
        packet[at + i] ^= mask[1 + i]
    return bytes(packet)


def crypto(offset: int, data: bytes) -> bytes:
    """Return a CRYPTO frame (RFC 9000 19.6)."""
    return b"\x06" + (bytes([offset]) if offset < 64 else number(offset)) + number(len(data)) + data


def _take(data: bytes) -> tuple[int, bytes]:
    """Return the number of variable length that comes first, and what follows; IndexError if cut."""
    size = 2 ** (data[0] >> 6)
    if size > len(data):
        raise IndexError
    return int.from_bytes(data[:size]) % 2 ** (8 * size - 2), data[size:]


def pieces(frames: bytes) -> list[tuple[int, bytes]]:
    """Return offset and bytes of CRYPTO frames, up to the first frame that cannot be read."""
    found = []
    rest = frames
    try:
        while rest:
            kind, rest = rest[0], rest[1:]
            if kind in (2, 3):
                numbers = []
                while len(numbers) < 4 or len(numbers) < 4 + 2 * numbers[2] + 3 * (kind == 3):
                    value, rest = _take(rest)
                    numbers.append(value)
            elif kind in (6, 8):
                offset, rest = _take(rest)
                size, rest = _take(rest)
                found.append((offset, rest[:size]))
                rest = rest[size:]
            elif kind > 1:
                break
    except IndexError:
        pass
    return found


def joined(packets: list[bytes], most_pieces: int, most_bytes: int) -> bytes:
    """Return what CRYPTO frames hold from offset 0 on up to the first hole."""
    found = [piece for frames in packets for piece in pieces(frames) if piece[0] < most_bytes]
    stream = b""
    for offset, data in sorted(found[:most_pieces]):
        if offset > len(stream):
            break
        stream += data[len(stream) - offset :]
    return stream[:most_bytes]


def initials(datagram: bytes, versions: set[int]) -> list[tuple[int, int, int, int, int, int]]:
    """Return version, identifier (half-open), beginning, number and end of a datagram's packets."""
    found = []
    start = 0
    try:
        while len(datagram) - start >= 29 and datagram[start] >= 0xC0:
            version = int.from_bytes(datagram[start + 1 : start + 5])
            initial = (datagram[start] >> 4) % 4 == (version == 0x6B3343CF)
            reserved = all(version >> shift & 15 == 10 for shift in (0, 8, 16, 24))
            if start == 0 and not (initial and (reserved or version in versions)):
                break
            end = start + 6 + datagram[start + 5]
            at = end + 1 + datagram[end]
            retry = (datagram[start] >> 4) % 4 == 3 + (version == 0x6B3343CF)
            if initial:
                size, rest = _take(datagram[at:])
                at = len(datagram) - len(rest) + size
            size, rest = _take(datagram[at:])
            at = len(datagram) - len(rest)
            if retry or end - start - 6 > 20 or at + size > len(datagram):
                break
            if initial and size >= 20:
                found.append((version, start + 6, end, start, at, at + size))
            start = at + size
    except IndexError:
        pass
    return found
