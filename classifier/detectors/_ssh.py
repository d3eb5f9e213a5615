"""The key exchange of SSH, which is in the clear, and what the ciphers chosen in it make of sizes."""

import functools
from typing import NamedTuple

__all__ = ["Sizes", "key_exchange", "sizes"]

LENGTH, PADDING_LENGTH, LEAST_PADDING = 4, 1, 4  # RFC 4253 6
KEXINIT, COOKIE, LISTS = 20, 16, 10  # RFC 4253 7.1
CIPHERS, MACS, COMPRESSIONS = 2, 4, 6  # client to server; server to client is the next list each

# Blocks: RFC 4253 6.3, RFC 4344 4, RFC 5647 7.3; OpenSSH's PROTOCOL.chacha20poly1305 pads to 8.
AEAD = {
    b"chacha20-poly1305@openssh.com": 8,
    b"aes128-gcm@openssh.com": 16,
    b"aes256-gcm@openssh.com": 16,
    b"AEAD_AES_128_GCM": 16,
    b"AEAD_AES_256_GCM": 16,
}
AEAD_TAG = 16
BLOCKS = {b"3des-cbc": 8} | {
    f"aes{bits}-{mode}".encode(): 16 for bits in (128, 192, 256) for mode in ("ctr", "cbc")
}
# RFC 4253 6.4, RFC 6668; UMAC: draft-miller-secsh-umac-01
TAGS = {
    b"hmac-sha1": 20,
    b"hmac-sha1-96": 12,
    b"hmac-md5": 16,
    b"hmac-md5-96": 12,
    b"hmac-sha2-256": 32,
    b"hmac-sha2-512": 64,
    b"umac-64": 8,
    b"umac-128": 16,
}


class Sizes(NamedTuple):
    """What encryption makes of a direction's messages."""

    block: int
    outside: int
    """Bytes of the length that stand before the blocks: with AEAD and encrypt-then-MAC."""
    tag: int

    def packet(self, payload: int) -> int:
        """Return the bytes of a packet with so much payload and the least padding (RFC 4253 6)."""
        body = LENGTH - self.outside + PADDING_LENGTH + payload + LEAST_PADDING
        return self.outside + -(-body // self.block) * self.block + self.tag

    def is_one(self, size: int) -> bool:
        """Tell whether so many bytes can be one packet."""
        return size >= self.packet(1) and (size - self.outside - self.tag) % self.block == 0


def key_exchange(head: bytes, lists: int = LISTS) -> tuple[bytes, ...]:
    """Return the first name lists of a KEXINIT after the banner (RFC 4253 6, 7.1), none where cut.

    Parameters
    ----------
    head : bytes
        What a side sent first.
    lists : int
        How many of the ten.
    """
    at = head.find(b"\n") + 1
    start = at + LENGTH + PADDING_LENGTH
    if at == 0 or head[start : start + 1] != bytes([KEXINIT]):
        return ()
    at = start + 1 + COOKIE
    found = []
    for _ in range(lists):
        stop = at + 4 + int.from_bytes(head[at : at + 4])
        if at + 4 > len(head) or stop > len(head):
            return ()
        found.append(head[at + 4 : stop])
        at = stop
    return tuple(found)


@functools.lru_cache(256)  # programs offer the same again and again
def sizes(client: tuple[bytes, ...], server: tuple[bytes, ...], side: int) -> Sizes | None:
    """Return the sizes of a direction by what both sides offer.

    Parameters
    ----------
    client, server : tuple of bytes
        Name lists of both key exchanges, up to the first compression's.
    side : int
        0 for what the client sends, 1 for what the server sends.

    Returns
    -------
    Sizes or None
        None where a size says nothing: if the client compresses, and of ciphers not known here. What
        the server compresses from the login on does not matter, as its messages until then do.
    """

    def chosen(place: int) -> bytes:
        # RFC 4253 7.1: the first of the client's that the server has too
        theirs = frozenset(server[place + side].split(b","))
        return next((name for name in client[place + side].split(b",") if name in theirs), b"")

    cipher, mac = chosen(CIPHERS), chosen(MACS)
    if side == 0 and chosen(COMPRESSIONS) != b"none":
        return None
    if cipher in AEAD:
        return Sizes(AEAD[cipher], LENGTH, AEAD_TAG)
    name = mac.removesuffix(b"@openssh.com")
    tag = TAGS.get(name.removesuffix(b"-etm"))
    if cipher not in BLOCKS or tag is None:
        return None
    return Sizes(BLOCKS[cipher], LENGTH if name.endswith(b"-etm") else 0, tag)
